"""More attackers than the defence holds against, masks on: what they make of the model is taken back."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.storage.store import Store

from .federation import KILLED, environment
from .trained import BUSY_S, ROUGHFED, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HONEST, ROUNDS, CLIENTS = 3, 8, 10
TURNED = ("c4", "c5", "c6", "c7", "c8", "c9")
KILLS = ("taken-back",)


def told(folder: Path, *command: str) -> str:
    """What a command says of a server's directory."""
    whole = [*ROUGHFED, *command, "--dir", str(folder)]
    return subprocess.run(whole, env=environment(), capture_output=True, text=True, check=True, timeout=BUSY_S).stdout


def test_most_clients_turn_the_server_dies_and_the_model_stays_as_good_as_it_was(tmp_path: Path) -> None:
    settings = {
        "round": {"evaluate_every": 1, "min_clients": CLIENTS - len(TURNED), "quorum": 0.5},
        "privacy": {"server_sees": "sketches"},
        "trainer": {"epochs": 2, "lr": 0.1},
        "defence": {"rollback": 0.05},
    }
    attack = f"sign-flip --factor 3 --after {HONEST}"
    federation = Trained(
        tmp_path,
        clients=CLIENTS,
        rounds=ROUNDS,
        settings=settings,
        partition="iid",
        hostile=dict.fromkeys(TURNED, attack),
    )
    with federation:
        federation.begin(paused=True, crash_at=KILLS[0])
        for name in federation.names:
            federation.agents[name].wait_line("connected to", timeout_s=BUSY_S)
        told(federation.place.folder, "resume")
        assert federation.process.wait(timeout_s=2 * BUSY_S) == KILLED
        federation.start()
        federation.process.wait_line("(taken-back: accuracy ", timeout_s=2 * BUSY_S)
        alerts = json.loads(told(federation.place.folder, "status", "--json"))["alerts"]
        assert "VersionTakenBack" in {each["name"] for each in alerts}
        for name in TURNED:
            told(federation.place.folder, "quarantine", name)

        assert federation.process.wait(timeout_s=2 * BUSY_S) == 0, federation.process.report("failed")
        rows = federation.rows("SELECT outcome, reason FROM rounds ORDER BY round")
        assert [row["outcome"] for row in rows[:HONEST]] == ["committed"] * HONEST
        lost = [row["reason"] for row in rows if row["outcome"] != "committed"]
        taken_back = [reason for reason in lost if reason.startswith("taken-back: accuracy ")]
        assert len(taken_back) >= 2
        assert len(lost) - len(taken_back) <= 1  # the round that was open while the operator held most of its clients
        with closing(Store(federation.place.state)) as store:
            shares = [store.evaluations(version)[""].accuracy for version in range(1, ROUNDS + 1)]
        known = [share for share in shares if share is not None]
        assert len(known) == ROUNDS
        assert known[-1] > max(known[:HONEST]) - 0.05
        assert known[-1] > 0.8
