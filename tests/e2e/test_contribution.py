"""Scores of contributions between real processes: by the worker's evaluations, and from sketches behind masks."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from roughfed.server.extensions.contribution import replay

from .federation import KILLED, Cluster, Process, environment
from .trained import BUSY_S, ROUGHFED, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.slow]

ROUNDS = 3


def contributions(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(row["summary"])["contribution"] for row in rows]


def totals_follow_from_the_rounds(method: str, found: list[dict[str, Any]]) -> None:
    """What the summary of the last judged round says of everybody, out of the rounds' parts alone."""
    rounds = [
        {name: {p: v for p, v in parts.items() if p != "total"} for name, parts in one["scores"].items()}
        for one in found
    ]
    again = replay(method, [{name: parts for name, parts in one.items() if "round" in parts} for one in rounds])
    last = [one for one in found if "skipped" not in one][-1]
    assert again.totals == {name: parts["total"] for name, parts in last["scores"].items()}


def start(federation: Trained, crash_at: str = "") -> None:
    """Start the server; from its second start on at the ports that it had."""
    with suppress(FileNotFoundError):
        ports = json.loads(federation.place.ports.read_text())
        federation.configure({"server": {"port": ports["federation"], "enrol_port": ports["enrolment"]}})
    command = [*ROUGHFED, "server", "--dir", str(federation.place.folder)]
    federation.process = Process("server", command, environment(crash_at))
    federation.processes.append(federation.process)
    federation.process.wait_line("listening federation", timeout_s=BUSY_S)


def test_the_worker_scores_single_updates_and_a_killed_server_scores_alike(tmp_path: Path) -> None:
    settings = {
        "trainer": {"epochs": 2, "lr": 0.1},
        "contribution": {"method": "gtg-shapley", "budget": 30, "examples": 100},
    }
    runs: list[list[dict[str, Any]]] = []
    for crash_at in ("", "committed:2"):
        folder = tmp_path / (crash_at or "whole")
        with Trained(folder, clients=5, rounds=ROUNDS, settings=settings, partition="iid") as federation:
            start(federation, crash_at)
            for name in federation.names:
                federation.join(name)
            if crash_at:
                assert federation.process.wait(timeout_s=BUSY_S) == KILLED
                start(federation)
            federation.process.wait(timeout_s=2 * BUSY_S)
            federation.end()
            runs.append(contributions(federation.rows("SELECT summary FROM rounds ORDER BY round")))
            assert not (federation.place.state / "contribution").exists()
    for found in runs:
        assert "skipped" not in found[0]  # one that comes while another is being scored is not judged
        totals_follow_from_the_rounds("gtg-shapley", found)
    for one, other in zip(*runs, strict=True):
        if "skipped" in one or "skipped" in other:
            continue
        assert 2 <= one["evaluations"] == other["evaluations"] <= 30
        for name, parts in one["scores"].items():
            assert parts.keys() == {"round", "total", "balanced-accuracy", "accuracy", "loss", "cosine"}
            assert {p: v for p, v in parts.items() if p != "total"} == {
                p: v for p, v in other["scores"][name].items() if p != "total"
            }


@pytest.mark.parametrize("crash_at", ["committed:2", "announced:2"])
def test_sketches_are_scored_behind_masks_and_a_kill_loses_nothing(tmp_path: Path, crash_at: str) -> None:
    settings = {"privacy": {"server_sees": "sketches"}, "contribution": {"method": "cgsv"}}
    with Cluster(tmp_path, clients=5, rounds=ROUNDS, settings=settings) as cluster:
        cluster.start_server(crash_at=crash_at).ready()
        clients = cluster.start_clients()
        assert cluster.server.wait(timeout_s=BUSY_S) == KILLED
        cluster.restart_server()
        assert cluster.server.wait(timeout_s=BUSY_S) == 0, cluster.server.report("failed")
        for client in clients:
            assert client.wait(timeout_s=BUSY_S) == 0, client.report("failed")
        found = contributions(cluster.rows("SELECT summary FROM rounds ORDER BY round"))
    assert [one["method"] for one in found] == ["cgsv"] * ROUNDS
    for one in found:
        assert one["evaluations"] == 0
        for parts in one["scores"].values():
            assert -1 <= parts["others"] <= parts["round"] <= 1
    totals_follow_from_the_rounds("cgsv", found)
