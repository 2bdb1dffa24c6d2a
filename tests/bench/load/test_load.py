"""Load and what it leaves behind (`roughfed bench uploads`, `slow-sockets`, `soak`); the limits are what is reached."""

import pytest

from roughfed.deploy.speed.masked_uploads import run_masked_uploads_bench
from roughfed.deploy.speed.options import UploadsBenchOptions
from roughfed.deploy.speed.uploads import run_uploads_bench
from tests.bench.load.slow_sockets import SlowSocketsOptions, run_slow_sockets_bench
from tests.bench.load.soak import SoakOptions, run_soak_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_two_hundred_uploads_at_once_take_turns() -> None:
    figures = run_uploads_bench(UploadsBenchOptions())

    assert figures["seconds"] <= 60
    assert figures["server_peak_mib"] <= 120
    assert figures["peak_ratio_connected"] <= 1.15  # 10 and 200 of 200; 1.02 to 1.09 is reached
    assert figures["server_grown_mib"] <= 45


def test_two_hundred_masked_uploads_at_once_take_turns_and_their_round_commits() -> None:
    figures = run_masked_uploads_bench(UploadsBenchOptions())  # raises where its round does not commit

    assert figures["seconds"] <= 60
    assert figures["upload_bytes"] <= 1.001 * figures["params"]
    assert figures["server_peak_mib"] <= 300


def test_rounds_go_on_while_five_hundred_sockets_are_slow() -> None:
    figures = run_slow_sockets_bench(SlowSocketsOptions())  # raises where a round is not committed with everybody

    assert figures["server_grown_mib"] <= 100


def test_memory_does_not_grow_with_the_rounds() -> None:
    figures = run_soak_bench(SoakOptions(rounds=200, warm_up=60, clients=4))

    assert figures["server_kib_per_round"] <= 8  # the goal, 1 MiB a minute, is missed at 600 a minute
    assert figures["agent_kib_per_round"] <= 4
