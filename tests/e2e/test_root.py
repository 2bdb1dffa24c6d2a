"""Defences with rows of the server's own between real processes: a root update, and the last step."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.storage.store import Store

from .federation import KILLED, Cluster, Process, environment
from .trained import BUSY_S, ROUGHFED, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT, ROUNDS = 200, 2
COMMON_TEST = 359
"""Of digits (`roughfed.data.digits`)."""

FLTRUST = {"rule": "fltrust", "f": 1, "root": ROOT}


@pytest.mark.parametrize(
    ("server_sees", "clients"), [pytest.param("updates", 4, marks=pytest.mark.slow), ("sketches", 5)]
)
def test_the_root_update_tells_an_attacker_from_the_others(tmp_path: Path, server_sees: str, clients: int) -> None:
    """It pulls ten times as hard the other way; undefended, nothing is learned."""
    settings = {
        "round": {"evaluate_every": 1},
        "privacy": {"server_sees": server_sees},
        "trainer": {"epochs": 2, "lr": 0.1},
        "defence": FLTRUST,
    }
    federation = Trained(
        tmp_path, clients=clients, rounds=ROUNDS, settings=settings, partition="iid", hostile={"c2": "sign-flip-10"}
    )
    with federation:
        federation.begin()
        federation.process.wait(timeout_s=2 * BUSY_S)
        federation.end()
        rows = federation.rows("SELECT sets, outcome FROM rounds")
        assert [row["outcome"] for row in rows] == ["committed"] * ROUNDS
        for row in rows:
            assert json.loads(row["sets"]) == dict.fromkeys(federation.names, "") | {"c2": "fltrust"}
        with closing(Store(federation.place.state)) as store:
            found = store.evaluations(ROUNDS)[""]
        assert found.num_examples == COMMON_TEST - ROOT
        assert found.accuracy is not None
        assert found.accuracy > 0.7
        assert list((federation.place.state / "extras").iterdir()) == []


def test_a_server_without_enough_data_of_its_own_says_so_before_the_first_round(tmp_path: Path) -> None:
    with Trained(tmp_path, clients=3, rounds=1, settings={"defence": FLTRUST | {"root": 5000}}) as federation:
        server = Process("server", [*ROUGHFED, "server", "--dir", str(federation.place.folder)], environment())
        federation.processes.append(server)
        assert server.wait(timeout_s=BUSY_S) == 2, server.report("went on")
        assert server.find("defence.root: the server has"), server.report("said something else")
        assert server.find("write 340 or less"), server.report("said something else")
        assert federation.rows("SELECT * FROM rounds") == []


@pytest.mark.parametrize(
    ("rule", "point"),
    [
        ("fltrust", "sets-journaled:2"),
        pytest.param("fltrust", "jobs-sent:2", marks=pytest.mark.slow),
        pytest.param("centered-clipping", "model-written:2", marks=pytest.mark.slow),
    ],
)
def test_a_killed_server_ends_with_the_bytes_of_the_undisturbed_run(tmp_path: Path, rule: str, point: str) -> None:
    settings = {"defence": {"rule": rule, "f": 1, **({"root": 10} if rule == "fltrust" else {})}}
    digests: list[list[str]] = []
    for crash_at in ("", point):
        with Cluster(tmp_path / ("killed" if crash_at else "whole"), clients=5, rounds=3, settings=settings) as cluster:
            server = cluster.start_server(crash_at=crash_at)
            server.ready()
            clients = cluster.start_clients()
            if crash_at:
                assert server.wait(timeout_s=BUSY_S) == KILLED
                cluster.restart_server()
            assert cluster.server.wait(timeout_s=BUSY_S) == 0, cluster.server.report("failed")
            for client in clients:
                assert client.wait(timeout_s=BUSY_S) == 0, client.report("failed")
            digests.append(cluster.model_digests())
    assert len(digests[0]) == 4
    assert digests[0] == digests[1]
