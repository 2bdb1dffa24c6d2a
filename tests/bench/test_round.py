"""What a round costs when nothing is trained (`roughfed bench round`).

The limits are what is reached on two busy cores; where the goal is stricter, docs/benchmarks.md says by how much.
"""

import pytest

from roughfed.deploy.speed.options import RoundBenchOptions
from roughfed.deploy.speed.round import run_round_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODEL_10M_MIB = 4e7 / 2**20
MEMORY_BUDGET_MIB = 3 * MODEL_10M_MIB + 300


@pytest.mark.parametrize("clients", [4, 16])
def test_a_small_model_takes_a_fifth_of_a_second(clients: int) -> None:
    figures = run_round_bench(RoundBenchOptions(params=100_000, clients=clients, rounds=12))

    assert figures["sum_exact"] is True
    assert figures["payload_ratio"] <= 2.05
    assert figures["seconds_per_round"] <= 0.2
    assert figures["cpu_seconds_per_client_round"] <= 0.05


def test_eight_clients_with_ten_million_parameters() -> None:
    figures = run_round_bench(RoundBenchOptions(params=10_000_000, clients=8, rounds=8))

    assert figures["sum_exact"] is True
    assert figures["payload_ratio"] <= 2.05
    assert figures["floor_cpu_ratio"] <= 3.5  # the goal is 2 in seconds: missed
    assert figures["cpu_seconds_per_client_round"] <= 0.4  # the goal is 0.3; 0.29 at best


def test_server_memory_grows_by_transfers_and_not_by_updates() -> None:
    few, many = (
        run_round_bench(RoundBenchOptions(params=10_000_000, clients=clients, rounds=3, floor=False))
        for clients in (4, 32)
    )

    assert few["sum_exact"] is many["sum_exact"] is True
    assert few["server_peak_rss_mib"] <= MEMORY_BUDGET_MIB
    # The goal is the same (10 %) for both, within the budget. Missed: gRPC buffers some MiB for each transfer.
    assert many["server_peak_rss_mib"] - few["server_peak_rss_mib"] <= 28 * 12


def test_a_model_larger_than_the_memory_that_it_may_use() -> None:
    """2.5 GiB down and up, server and agent each under 1 GiB resident."""
    figures = run_round_bench(RoundBenchOptions(params=671_088_640, clients=1, rounds=2, floor=False, timeout_s=800))

    assert figures["sum_exact"] is True
    for name in ("server_peak_rss_mib", "agent_peak_rss_mib", "server_vm_hwm_mib", "agent_vm_hwm_mib"):
        assert figures[name] < 1024, name
