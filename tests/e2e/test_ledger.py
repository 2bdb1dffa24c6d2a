"""The ledger of real federations: killed and resumed it has neither gap nor double, and free-riders are in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from roughfed.server.extensions.ledger import hash_chain

from .attacks import HostileCluster
from .federation import KILLED, PATIENCE_S, Cluster
from .ledger import is_accounted_for
from .masked import is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

POINTS = ["ledger-written:2", *(pytest.param(p, marks=pytest.mark.slow) for p in ("ledger-journaled", "announced"))]


@pytest.mark.parametrize("point", POINTS)
def test_a_masked_federation_is_killed_and_its_ledger_goes_on(point: str, tmp_path: Path) -> None:
    settings = {"contribution": {"method": "cgsv"}, "reward": {"levels": [0.5, 1.0]}}
    with masked_cluster(tmp_path, rounds=3, settings=settings) as cluster:
        server = cluster.start_server(crash_at=point)
        server.ready()
        clients = cluster.start_clients()
        assert server.wait() == KILLED
        cluster.restart_server()
        assert [p.wait() for p in (cluster.server, *clients)] == [0, 0, 0, 0, 0]
        assert is_exact(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2, 3)}
        assert is_accounted_for(cluster)
        lines = entries(cluster)
        last = [entry for entry in lines if entry["kind"] == "client" and entry["round"] == 3]
        assert sum(entry["share"] for entry in last) in (0.0, pytest.approx(1.0))
        assert all({"parts", "total", "tier", "weight"} <= entry.keys() for entry in last)
        (summary,) = (json.loads(r["summary"]) for r in cluster.rows("SELECT summary FROM rounds WHERE round = 3"))
        assert summary["contribution"]["levels"] == {entry["client"]: entry["tier"] for entry in last}
        assert summary["contribution"]["free_riders"] == {}


def entries(cluster: Cluster) -> list[Mapping[str, object]]:
    return list(hash_chain.read((cluster.place.state / "ledger.jsonl").read_bytes()).entries)  # type: ignore[return-value]


RIDERS = {"zero": "free-zero", "step": "free-replay-global", "own": "free-replay-own"}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["flag", "exclude"])
def test_free_riders_are_in_the_ledger(what: str, tmp_path: Path) -> None:
    settings = {
        "privacy": {"server_sees": "updates"},
        "defence": {"rule": "none"},
        "contribution": {"free_riders": what},
    }
    crowd = {f"h{i}": "none" for i in range(6)} | RIDERS
    with HostileCluster(tmp_path, crowd, rounds=5, settings=settings) as cluster:
        server = cluster.start_paused_server()
        cluster.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == 0, server.report("failed")
        lines = entries(cluster)
        flags = {
            number: {e["client"]: e["flag"] for e in lines if e["kind"] == "client" and e["round"] == number}
            for number in range(1, 6)
        }
        assert {name for name, kind in flags[4].items() if kind} == set(RIDERS)
        assert {name: flags[4][name] for name in RIDERS} == {"zero": "zero", "step": "last-step", "own": "own-old"}
        out = set(RIDERS) if what == "exclude" else set()
        assert {name for name, why in cluster.journal()[5]["sets"].items() if why == "free-rider"} == out
        assert is_accounted_for(cluster)
