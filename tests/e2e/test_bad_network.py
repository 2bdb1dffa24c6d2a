"""Rounds over a long, narrow line that is cut again and again: every one commits with everybody, to the bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.deploy import aggregator
from roughfed.deploy.chaos.faults import Faults
from roughfed.deploy.chaos.proxy import Counts
from roughfed.deploy.chaos.threaded_proxy import bad_line
from tests.bench.load.bad_network import LINE, BadNetworkOptions, run_bad_network_bench

from .federation import Cluster
from .masked import is_exact, masked_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@contextmanager
def over(cluster: Cluster, faults: Faults, *, seed: int = 0) -> Iterator[tuple[str, Counts]]:
    """The server of a cluster, started, and the address at which a bad line to it begins."""
    cluster.start_server().ready()
    port = aggregator.known_ports(cluster.place.folder).federation
    with bad_line((cluster.host, port), faults, seed=seed) as (near, counts):
        yield f"{cluster.host}:{near}", counts


@pytest.mark.slow  # 15 s; that short connections come to an end is held by tests/unit/deploy/chaos/test_chaos_proxy.py
def test_masked_rounds_commit_with_everybody_where_every_connection_is_cut(tmp_path: Path) -> None:
    faults = Faults(latency_s=0.05, bytes_per_s=1e6, cut_after=100_000)
    settings = {"defence": {"rule": "none"}}  # updates are drawn at random here, and may look odd
    with (
        masked_cluster(tmp_path, params=30_000, settings=settings) as cluster,
        over(cluster, faults) as (address, counts),
    ):
        clients = cluster.start_clients(tables={"client": {"server": address}})

        assert [process.wait(timeout_s=60) for process in (cluster.server, *clients)] == [0] * 5
        assert cluster.accepted() == {1: cluster.names, 2: cluster.names}
        assert is_exact(cluster)
        assert counts.cut >= 4  # each client's first model is longer than a connection lives


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("sees", "rounds"), [("sketches", 4), ("updates", 2)])
def test_a_long_narrow_line_of_which_one_connection_in_a_hundred_is_cut_is_full(sees: str, rounds: int) -> None:
    options = BadNetworkOptions(server_sees=sees, rounds=rounds, faults=LINE, seed=25, beside=False)
    figures = run_bad_network_bench(options)  # raises where a round is not committed with everybody

    assert figures["cut"] == 1  # by the seed, one of the first two
    for side in ("up", "down"):
        assert float(str(figures[f"{side}_goodput"])) >= 0.85


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rounds_commit_with_everybody_where_each_connection_is_cut_again_and_again() -> None:
    faults = replace(LINE, cut_share=0.0, cut_after=500_000)
    figures = run_bad_network_bench(BadNetworkOptions(rounds=2, faults=faults, beside=False))

    assert int(str(figures["cut"])) >= 60
    assert float(str(figures["down_goodput"])) >= 0.6
