"""Two tiers of clients in one masked round, between real processes: exact through kills, refused where unknown."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.storage.store import Store
from roughfed.tiers import part_of, ranges_of

from .federation import KILLED
from .masked import is_exact, masked_cluster, played, verdicts
from .trained import Trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

THIN = {"policy": {"tier": "thin"}}
SETTINGS = {
    "round": {"min_clients": 8, "quorum": 8},
    "tiers.thin": {"fraction": 0.0625},
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
        assert {one.tiers[name] for one in played(cluster) for name in thin} == {"thin"}
        assert set(verdicts(cluster)[rounds].values()) == {""}
        last = f"WHERE round = {rounds}"
        sizes = {row["client"]: row["size_bytes"] for row in cluster.rows(f"SELECT * FROM receipts {last}")}
        assert max(sizes[name] for name in thin) < 0.1 * min(sizes[name] for name in standard)
        (row,) = cluster.rows(f"SELECT summary FROM rounds {last}")
        told = json.loads(row["summary"])["tiers"]
        assert {name: (one["clients"], one["keep_one_in"]) for name, one in told.items()} == {
            "standard": (4, 1),
            "thin": (4, 16),
        }


@pytest.mark.slow
def test_a_class_that_there_is_not_is_refused_at_hello_with_the_classes_that_there_are(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=8, rounds=1, settings=SETTINGS) as cluster:
        cluster.start_server().ready()
        client = cluster.start_client("c0", tables={"policy": {"tier": "fat"}})
        assert client.wait() != 0
        assert client.find("no tier 'fat'")
        assert client.find("thin")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sees", ["updates", "sums"])
def test_clients_that_train_a_part_learn_with_the_others(tmp_path: Path, sees: str) -> None:
    """In the clear one of a tier is enough; masked, four, and those of the test above are not repeated."""
    few = ["thin", "heads"] if sees == "updates" else ["heads"] * 4
    names = [f"c{at}" for at in range(4 + len(few))]
    tiers = dict(zip(names[4:], few, strict=True))
    settings: dict[str, dict[str, object]] = {
        "privacy": {"server_sees": sees},
        "defence": {"rule": "none"},
        "round": {"deadline": "400s", "evaluate_every": 1},
        "model": {"keep_last": 10},
        "tiers.thin": {"fraction": 0.25},
        "tiers.heads": {"tensors": ["fc3.*"]},
    }
    with Trained(tmp_path, clients=len(names), rounds=3, settings=settings, partition="iid", tiers=tiers) as cluster:
        cluster.begin()
        digests = cluster.end()
        assert len(set(digests)) == 4
        head = part_of(cluster.shared(), ["fc3.*"]).size
        whole = cluster.shared().size
        sizes = {row["client"]: row["size_bytes"] for row in cluster.rows("SELECT * FROM receipts WHERE round = 3")}
        if sees == "updates":
            assert {sizes[name] for name in names[:4]} == {4 * whole}
            assert {sizes[name] for name, one in tiers.items() if one == "heads"} == {4 * head}
            assert all(sizes[name] <= whole + 4 for name, one in tiers.items() if one == "thin")
        first, last = cluster.version(digests[0]), cluster.version(digests[-1])
        assert all((first[start:stop] != last[start:stop]).any() for start, stop in ranges_of(cluster.shared(), ()))
        assert set(json.loads(cluster.rows("SELECT sets FROM rounds WHERE round = 3")[0]["sets"]).values()) == {""}
        with closing(Store(cluster.place.state)) as store:
            accuracy = [next(iter(store.evaluations(version).values())).accuracy for version in (0, 2)]
        assert accuracy[1] > accuracy[0] + 0.1
