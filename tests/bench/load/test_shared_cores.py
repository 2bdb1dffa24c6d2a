"""Six trainers on one machine take as long as with one thread each (`python -m tests.bench shared-cores`)."""

import pytest

from tests.bench.load.shared_cores import SharedCoresOptions, run_shared_cores_bench


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trainers_that_share_a_machine_do_not_fight_for_its_cores() -> None:
    ratios = run_shared_cores_bench(SharedCoresOptions(repeats=1))["times_one_thread"]
    assert isinstance(ratios, dict)
    assert ratios["shared"] <= 1.3
    assert ratios["all"] >= 2, "this machine shows nothing: the other way is as fast"
