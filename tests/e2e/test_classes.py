"""Two classes of clients in one masked round, between real processes: exact through kills, refused where unknown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .federation import KILLED
from .masked import is_exact, masked_cluster, played, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

THIN = {"policy": {"client_class": "thin"}}
SETTINGS = {
    "round": {"min_clients": 8, "quorum": 8},
    "classes.thin": {"fraction": 0.0625},
    "sketch": {"dim": 64},
    "defence": {"rule": "none"},
}


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["calm", "killed"])
def test_two_classes_are_one_exact_model_through_kills_of_either_side(tmp_path: Path, killed: bool) -> None:
    """The server dies when the sets are decided, a thin client when its masked bytes are written."""
    rounds = 2 if killed else 1
    with masked_cluster(tmp_path, clients=8, rounds=rounds, settings=SETTINGS) as cluster:
        server = cluster.start_server(crash_at="judged-decided" if killed else "")
        server.ready()
        standard, thin = cluster.names[:4], cluster.names[4:]
        clients = cluster.start_clients(*standard) + cluster.start_clients(*thin[1:], tables=THIN)
        clients.append(cluster.start_client(thin[0], crash_at="masked-written" if killed else "", tables=THIN))
        if killed:
            assert clients.pop().wait() == KILLED
            clients.append(cluster.start_client(thin[0]))
            assert server.wait() == KILLED
            cluster.restart_server()
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        for client in clients:
            assert client.wait() == 0, client.report("failed")
        assert is_exact(cluster)
        assert {one.classes[name] for one in played(cluster) for name in thin} == {"thin"}
        assert set(verdicts(cluster)[rounds].values()) == {""}
        last = f"WHERE round = {rounds}"
        sizes = {row["client"]: row["size_bytes"] for row in cluster.rows(f"SELECT * FROM receipts {last}")}
        assert max(sizes[name] for name in thin) < 0.1 * min(sizes[name] for name in standard)
        (row,) = cluster.rows(f"SELECT summary FROM rounds {last}")
        told = json.loads(row["summary"])["classes"]
        assert {name: (one["clients"], one["keep_one_in"]) for name, one in told.items()} == {
            "standard": (4, 1),
            "thin": (4, 16),
        }


@pytest.mark.slow
def test_a_class_that_there_is_not_is_refused_at_hello_with_the_classes_that_there_are(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=8, rounds=1, settings=SETTINGS) as cluster:
        cluster.start_server().ready()
        client = cluster.start_client("c0", tables={"policy": {"client_class": "fat"}})
        assert client.wait() != 0
        assert client.find("no class 'fat'")
        assert client.find("thin")
