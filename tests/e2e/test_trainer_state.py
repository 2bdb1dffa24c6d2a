"""`kill -9` of agents and trainers of clients that remember: the run ends with the models of the undisturbed run.

Real trainers, two tasks, wrong labels, and a method with much to remember: targets by the example's id (elr) and a
memory of what has gone (der++). Every update is needed (quorum 1), so that each killed client must come back with the
very update that it would have sent.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .federation import Cluster, Process, environment, write_toml

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROUGHFED = [sys.executable, "-m", "roughfed.deploy.cli"]
BUSY_S = 120.0
"""On a busy machine everything takes much longer."""
ROUNDS = 4
METHOD = "elr+reservoir(size=60)+der++"
EPOCHS = 50
"""A second or more of training: time to meet it in the middle."""

Status = dict[str, Any]


def trainer_of(agent: Process) -> int:
    """Process id of an agent's child."""
    children = "".join(path.read_text() for path in Path(f"/proc/{agent.pid}/task").glob("*/children"))
    (pid,) = (int(p) for p in children.split() if b"roughfed.client.trainer" in Path(f"/proc/{p}/cmdline").read_bytes())
    return pid


class Remembering(Cluster):
    """Three clients whose data come in two tasks, two rounds each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        trainer = {"method": METHOD, "epochs": EPOCHS}
        tables: dict[str, dict[str, object]] = {"trainer": trainer, "round": {"deadline": "400s"}}
        super().__init__(folder, clients=3, rounds=ROUNDS, settings=tables)
        self.agents: dict[str, Process] = {}

    def begin(self) -> None:
        args = [*ROUGHFED, "server", "--dir", str(self.place.folder)]
        self.process = Process("server", args, environment())
        self.processes.append(self.process)
        self.process.wait_line("listening federation", timeout_s=BUSY_S)
        for name in self.names:
            self.join(name)

    def join(self, name: str) -> None:
        """Start a client, the first time with an invite."""
        folder, env = self.client_folder(name), environment()
        if not folder.exists():
            folder.mkdir()
            data = {"name": "digits", "clients": 3, "index": self.names.index(name), "partition": "iid"}
            rough = {"tasks": 2, "rounds_per_task": 2, "noise": 0.2}
            write_toml(
                folder / "client.toml",
                self.agreed({"data": data | rough, "model": {"name": "mlp"}, "device": {"name": "cpu", "threads": 1}}),
            )
            env["ROUGHFED_JOIN"] = self.invite(name)
        self.agents[name] = Process(name, [*ROUGHFED, "join", "--dir", str(folder)], env)
        self.processes.append(self.agents[name])

    def kill_agent(self, name: str) -> None:
        """kill -9 of the agent (its trainer dies with it), and start it again."""
        self.agents[name].kill()
        self.join(name)

    def kill_trainer(self, name: str) -> None:
        os.kill(trainer_of(self.agents[name]), signal.SIGKILL)

    def end(self) -> list[str]:
        """Digest of every version."""
        assert self.process.wait(timeout_s=BUSY_S) == 0, self.process.report("failed")
        for agent in self.agents.values():
            assert agent.wait(timeout_s=BUSY_S) == 0, agent.report("failed")
            assert not agent.find("is lost")
        assert self.accepted() == dict.fromkeys(range(1, ROUNDS + 1), self.names)
        return self.model_digests()


def training(name: str, number: int) -> Callable[[Status], bool]:
    """A client is in the middle of the training of a round."""

    def holds(status: Status) -> bool:
        inside = any(c["name"] == name and c["state"] == "training" and c["progress"] > 0 for c in status["clients"])
        return status["round"] == number and inside

    return holds


def done(name: str, number: int) -> Callable[[Status], bool]:
    """A client's part in a round is over, and others still train."""

    def holds(status: Status) -> bool:
        states = {c["name"]: c["state"] for c in status["clients"]}
        return status["round"] == number and states.get(name) not in (None, "training", "downloading", "uploading")

    return holds


def test_agents_and_trainers_are_killed_and_the_model_is_the_same_to_the_bit(tmp_path: Path) -> None:
    with Remembering(tmp_path / "calm") as calm:
        calm.begin()
        wanted = calm.end()
    assert len(set(wanted)) == ROUNDS + 1

    with Remembering(tmp_path / "rough") as rough:
        rough.begin()
        with rough.watch() as watch:
            watch.until(training("c0", 1), timeout_s=BUSY_S)
            rough.kill_trainer("c0")
            watch.until(training("c1", 2), timeout_s=BUSY_S)
            rough.kill_agent("c1")
            watch.until(training("c1", 2), timeout_s=BUSY_S)  # so that the others have long sent theirs
            watch.until(done("c2", 2), timeout_s=BUSY_S)
            rough.kill_agent("c2")
            watch.until(training("c0", 3), timeout_s=BUSY_S)  # the second task begins
            rough.kill_agent("c0")
            watch.until(training("c1", 4), timeout_s=BUSY_S)
            rough.kill_trainer("c1")
        assert rough.end() == wanted
        states = [list((rough.client_folder(name) / "state" / "trainer").glob("*.state")) for name in rough.names]
        assert [len(found) for found in states] == [2, 2, 2]
