"""Many connected clients on one server (`python -m tests.bench sessions`, `python -m tests.bench dispatch`)."""

import pytest

from tests.bench.load.sessions import (
    DispatchBenchOptions,
    SessionsBenchOptions,
    run_dispatch_bench,
    run_sessions_bench,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_five_hundred_idle_sessions_leave_other_calls_fast() -> None:
    figures = run_sessions_bench(SessionsBenchOptions(clients=500, seconds=10.0))

    assert figures["calls"] == 500
    assert figures["call_p99_seconds"] <= 0.2
    assert figures["server_kib_per_session"] <= 256  # 1,000 sessions within 250 MiB


def test_two_hundred_clients_have_their_job_within_a_tenth_of_a_second() -> None:
    figures = run_dispatch_bench(DispatchBenchOptions(clients=200, rounds=10))

    assert figures["dispatch_p99_seconds"] <= 0.1
