"""The operator keeps a client out of masked rounds, and lets it in again, while its process stays connected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli

from .federation import is_connected, state_of
from .masked import is_exact, masked_cluster, verdicts
from .relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_who_is_quarantined_is_not_waited_for_and_takes_part_after_its_release(tmp_path: Path) -> None:
    settings = {"round": {"min_clients": 4, "deadline": "90s", "patience": 0}}
    with masked_cluster(tmp_path, clients=5, rounds=4, settings=settings) as cluster:
        cluster.start_server().ready()
        where = ["--dir", str(cluster.place.folder)]
        with cluster.watch() as watch:
            cluster.control(op="pause")
            clients, odd = cluster.start_clients(*cluster.names[:4], pace_s=0.3), cluster.start_client("c4", pace_s=3.0)
            watch.until(lambda s: all(is_connected(s, name) for name in cluster.names))
            cluster.control(op="resume")
            watch.until(lambda s: s["round"] == 1 and state_of(s, "c4") == "training")
            assert cli.run(["quarantine", "c4", "--because", "odd losses", *where]) == 0
            held = watch.until(lambda s: s["round"] == 3)
            assert held["quarantined"] == {"c4": "by the operator: odd losses"}
            assert is_connected(held, "c4")
            assert cli.run(["release", "c4", *where]) == 0
            assert watch.until(lambda s: s["round"] == 4)["quarantined"] == {}
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        for client in (*clients, odd):
            assert client.wait() == 0, client.report("failed")
            assert client.find('"level": "ERROR"') == []
        assert odd.find("keeps this client out of the rounds")
        assert odd.find("has released this client")

        found = verdicts(cluster)
        assert found[1]["c4"] == "quarantined"
        cohorts = {row["round"]: json.loads(row["cohort"]) for row in cluster.rows("SELECT round, cohort FROM rounds")}
        assert ["c4" in cohorts[number] for number in (1, 2, 3, 4)] == [True, False, False, True]
        assert all(found[number][name] == "" for number in found for name in cluster.names[:4])
        assert found[4]["c4"] == ""
        assert is_exact(cluster)


def test_who_is_quarantined_after_its_upload_helps_to_take_the_masks_off(tmp_path: Path) -> None:
    """Four of four are needed for a sum: a client that stopped at once would make the round void, after a minute."""
    with masked_cluster(tmp_path, rounds=1) as cluster:
        cluster.start_server().ready()
        where = ["--dir", str(cluster.place.folder)]
        with Relay(cluster, *cluster.names) as relay, cluster.watch() as watch:
            relay.hold("c3", "sketch", 1)
            clients = cluster.start_clients()
            relay.reached("c3", "sketch", 1)
            assert cli.run(["quarantine", "c3", "--because", "odd losses", *where]) == 0
            watch.until(lambda s: "c3" in s["quarantined"])
            assert not clients[3].find("keeps this client out of the rounds")
            relay.release("c3", "sketch", 1)
            assert cluster.server.wait() == 0, cluster.server.report("failed")
        assert [client.wait() for client in clients] == [0] * 4
        assert verdicts(cluster)[1] == dict.fromkeys(cluster.names, "")
        assert is_exact(cluster)
        told = clients[3].find("keeps this client out of the rounds") + clients[3].find("round 1 committed")
        assert ["committed" in line for line in sorted(told, key=clients[3].lines.index)] == [True, False]
