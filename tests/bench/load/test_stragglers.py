"""What clients cost that are ten times slower than the rest (`python -m tests.bench stragglers`)."""

import pytest

from tests.bench.load.stragglers import StragglerOptions, run_straggler_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("server_sees", ["updates", "sketches"])
def test_a_fifth_that_is_ten_times_slower_costs_less_than_a_third(server_sees: str) -> None:
    figures = run_straggler_bench(StragglerOptions(server_sees=server_sees))

    assert figures["all_others_came"] is True
    assert figures["left_behind"] == 2
    assert figures["cost"] <= 1.3
    assert figures["cost_of_the_first"] <= 3.2  # nobody is known yet
