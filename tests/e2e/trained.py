"""A federation of real processes that learn (torch, digits), and what its clients keep between rounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from torch import Tensor

from roughfed.client.local.own_model import TRAINER_STATE
from roughfed.client.members import credential_files
from roughfed.client.storage.store import ClientStore
from roughfed.client.trainer.state import load_state
from roughfed.crypto.agreement import derive
from roughfed.params import Flat, read_flat
from roughfed.server.storage.store import Store
from roughfed.training import StatePlace, Turn
from roughfed.types import Spec

from .federation import Cluster, Process, environment, write_toml

ROUGHFED = [sys.executable, "-m", "roughfed.deploy.cli"]
BUSY_S = 180.0
"""On a busy machine everything takes much longer."""


def trainer_of(agent: Process) -> int:
    """Process id of an agent's child."""
    children = "".join(path.read_text() for path in Path(f"/proc/{agent.pid}/task").glob("*/children"))
    (pid,) = (int(p) for p in children.split() if b"roughfed.client.trainer" in Path(f"/proc/{p}/cmdline").read_bytes())
    return pid


class Trained(Cluster):
    """Clients of `roughfed join` on shares of digits, `hostile` ones of `python -m roughfed.deploy.attack`."""

    def __init__(
        self,
        folder: Path,
        *,
        clients: int,
        rounds: int,
        settings: Mapping[str, Mapping[str, object]],
        partition: str = "shards",
        hostile: Mapping[str, str] | None = None,
        limits: Mapping[str, Mapping[str, object]] | None = None,
        classes: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, clients=clients, rounds=rounds, settings=settings)
        self.model = str(self._settings["model"]["name"])
        self.partition, self.hostile, self.limits = partition, dict(hostile or {}), dict(limits or {})
        self.classes = dict(classes or {})
        self.agents: dict[str, Process] = {}
        self.crash_at: dict[str, str] = {}

    def __enter__(self) -> Trained:
        return self

    def start(self, crash_at: str = "") -> None:
        """Start the server; from its second start on at the ports that it had."""
        with suppress(FileNotFoundError):
            ports = json.loads(self.place.ports.read_text())
            self.configure({"server": {"port": ports["federation"], "enrol_port": ports["enrolment"]}})
        command = [*ROUGHFED, "server", "--dir", str(self.place.folder)]
        self.process = Process("server", command, environment(crash_at))
        self.processes.append(self.process)
        self.process.wait_line("listening federation", timeout_s=BUSY_S)

    def begin(self, *, paused: bool = False, crash_at: str = "") -> None:
        """Start everybody; with `paused`, no round begins before `roughfed resume`. `crash_at`: the server's."""
        self.start(crash_at)
        if paused:
            command = [*ROUGHFED, "pause", "--dir", str(self.place.folder)]
            subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=BUSY_S)
        for name in self.names:
            self.join(name)

    def join(self, name: str) -> None:
        """Start a client, the first time with an invite, and only once where it is to die."""
        folder, env = self.client_folder(name), environment(self.crash_at.pop(name, ""))
        if not folder.exists():
            folder.mkdir()
            data = {"name": "digits", "clients": len(self.names), "index": self.names.index(name)}
            tables = {"data": data | {"partition": self.partition}, "model": {"name": self.model}}
            tables |= {"device": {"name": "cpu", "threads": 1}, "limits": dict(self.limits.get(name, {}))}
            tables |= {"policy": {"tier": self.classes.get(name, "")}}
            write_toml(folder / "client.toml", self.agreed(tables))
            env["ROUGHFED_JOIN"] = self.invite(name)
        self.agents[name] = Process(name, [*self.command(name), "--dir", str(folder)], env)
        self.processes.append(self.agents[name])

    def command(self, name: str) -> list[str]:
        """What starts a client."""
        if name in self.hostile:
            return [sys.executable, "-m", "roughfed.deploy.attack", *self.hostile[name].split()]
        return [*ROUGHFED, "join"]

    def kill_agent(self, name: str) -> None:
        """kill -9 of the agent (its trainer dies with it), and start it again."""
        self.agents[name].kill()
        self.join(name)

    def kill_trainer(self, name: str) -> None:
        os.kill(trainer_of(self.agents[name]), signal.SIGKILL)

    def end(self) -> list[str]:
        """Digest of every version, once the run is over and everybody has gone."""
        assert self.process.wait(timeout_s=BUSY_S) == 0, self.process.report("failed")
        for agent in self.agents.values():
            assert agent.wait(timeout_s=BUSY_S) == 0, agent.report("failed")
            assert not agent.find("is lost")
        return self.model_digests()

    def shared(self) -> Spec:
        """What travels, as the journal says."""
        return self.known()[1]

    def version(self, digest: str) -> Flat:
        return np.array(read_flat(self.place.state / "models" / f"{digest}.safetensors"))

    def state(self, name: str, spec: Spec) -> dict[str, dict[str, Tensor]]:
        """What a client's trainer kept in the last round; `spec`: of the whole model."""
        state = StatePlace(*self.state_place(name))
        return load_state(Turn(1000, run=self.known()[0], state=state), spec.digest)

    def state_place(self, name: str) -> tuple[Path, bytes]:
        """Where a client's trainer keeps its state, and under which key."""
        folder = self.client_folder(name) / "state"
        return folder / "trainer", derive(
            credential_files.load(folder / "papers").identity.private_bytes(), TRAINER_STATE, b""
        )

    def said(self, name: str) -> dict[int, float]:
        """Rounds in which a client counted -> the share of its update that the clip let through."""
        with closing(ClientStore(self.client_folder(name) / "state")) as store:
            return store.counted_shares(self.known()[0], before=1000)

    def known(self) -> tuple[str, Spec]:
        """The run, as the journal says."""
        with closing(Store(self.place.state)) as store:
            known = store.run()
        assert known is not None
        return known
