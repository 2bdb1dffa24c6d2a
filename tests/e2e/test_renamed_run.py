"""A server that begins a run of another name: clients are asked for their consent, and tell nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .federation import PATIENCE_S, Cluster, read_rows
from .masked import masked_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

COUNTS = {"c0": "3,5", "c1": "2,0", "c2": "1,7", "c3": "4,4", "c4": "6,1"}


def start(cluster: Cluster, *names: str, runs: int = 1) -> None:
    """Start clients whose owners agreed to so many runs."""
    for name in names:
        cluster.start_client(
            name, claims=["--counts", COUNTS[name]], tables={"client": {"stay": runs}, "policy": {"max_differences": 0}}
        )


def forget(cluster: Cluster) -> str:
    """Take the server's journal away: it begins a run of another name. Returns the name of the one before."""
    (row,) = cluster.rows("SELECT id FROM run")
    for path in (*cluster.place.state.glob("journal.db*"), *cluster.place.state.glob("ledger.jsonl*")):
        path.unlink()
    return row["id"]


def sums(cluster: Cluster) -> dict[str, list[int]]:
    """What the server has learnt in sums, of all rounds."""
    rows = cluster.rows("SELECT sums FROM rounds WHERE outcome = 'committed' ORDER BY round")
    found: dict[str, list[int]] = {}
    for row in rows:
        found |= json.loads(row["sums"] or "{}")
    return found


def five(folder: Path) -> Cluster:
    """Five clients, one round."""
    settings = {"round": {"min_clients": 5}}
    return masked_cluster(folder, clients=5, rounds=1, sees="sums", settings=settings)


def play_first(cluster: Cluster) -> None:
    """The first run, of clients whose owners agreed to two; they wait for the next one."""
    cluster.start_server().ready()
    start(cluster, *cluster.names, runs=2)
    assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == 0, cluster.server.report("failed")
    assert sums(cluster)["class-count"] == [16, 17]
    assert sums(cluster)["examples"] == [5]


def test_what_was_told_in_one_run_is_not_told_in_another(tmp_path: Path) -> None:
    """Or else the counts of somebody are the difference of two runs, with and without it."""
    with five(tmp_path) as cluster:
        play_first(cluster)
        first = forget(cluster)
        cluster.start_server().ready()
        assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == 0, cluster.server.report("failed")
        (row,) = cluster.rows("SELECT id FROM run")
        assert row["id"] != first
        assert cluster.accepted() == {1: cluster.names}
        assert (sums(cluster)["class-count"], sums(cluster)["examples"]) == ([0, 0], [0])


def test_a_sum_without_somebody_on_the_same_model_is_not_opened(tmp_path: Path) -> None:
    """Two runs begin with one model; the difference of their first sums would be the update of who is missing."""
    with five(tmp_path) as cluster:
        play_first(cluster)
        forget(cluster)
        next(process for process in cluster.processes if process.name == "c0").close()
        cluster.configure({"round": {"min_clients": 4}})
        cluster.start_server().ready()
        for agent in cluster.processes[2:6]:
            agent.wait_line("differs from an earlier one on this model by 1 clients", timeout_s=2 * PATIENCE_S)
        assert cluster.rows("SELECT * FROM rounds WHERE outcome = 'committed'") == []
        assert len(cluster.model_digests()) == 1


def test_a_run_of_another_name_is_refused_by_whoever_did_not_agree(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=4, rounds=1) as cluster:
        cluster.start_server().ready()
        start(cluster, *cluster.names)
        assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == 0, cluster.server.report("failed")
        assert [process.wait() for process in cluster.processes[1:]] == [0] * 4
        forget(cluster)
        cluster.start_server().ready()
        for name in cluster.names:  # a client that starts again: nobody could send one in another way, either
            agent = cluster.start_client(name)
            assert agent.wait(timeout_s=PATIENCE_S) == 1, agent.report("ended otherwise")
            assert agent.find("roughfed join --runs 2")
        assert cluster.rows("SELECT * FROM rounds WHERE outcome = 'committed'") == []
        runs = read_rows(cluster.client_folder("c0") / "state" / "client.db", "SELECT run FROM ledger_runs")
        assert len(runs) == 1
