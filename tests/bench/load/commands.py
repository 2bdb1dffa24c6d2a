"""What people run: `roughfed server` and `roughfed join` with torch trainers, every default on, and nothing trained.

`roughfed bench round` leaves the trainers out, to measure rounds alone. Here they are real: the model is one tensor,
and the loop adds noise to it. Reported are the rounds, the memory of each kind of process in three parts, and starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from roughfed.deploy import aggregator
from roughfed.deploy.speed.federation import ENVIRONMENT, FEDERATION, HOST
from roughfed.deploy.speed.measure import MIB, Sampler, family, machine, status_bytes
from roughfed.deploy.speed.round import PlayedRound, read_journal
from roughfed.errors import RoughfedError
from roughfed.server.members.authority import Authority
from tests.bench.command import Benchmark

PATIENCE_S = 30.0
TIMED_STARTS = 3
ENDLESS = 100_000
IDLE_S = 3.0
"""How long processes have had nothing to do when their memory is looked at."""

APP = """\
import torch
from roughfed import Client


class Still(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros({params}))

    def forward(self, x):
        return x @ self.weight[:8].reshape(4, 2)


client = Client(model=Still, train=lambda: (torch.zeros(8, 4), torch.arange(8) % 2))


@client.fit
def noise(net, loader, round):
    assert len(list(loader)) == 1
    with torch.no_grad():
        net.weight.add_(torch.randn({params}) * 1e-3)
    return {{"loss": 0.0}}


client.run()
"""

FED_TOML = """\
[federation]
name = "{name}"
[server]
host = "{host}"
port = {port}
enrol_port = 0
http_port = 0
[round]
rounds = {rounds}
min_clients = {clients}
evaluate_every = 0
[model]
app = "app.py:client"
[privacy]
server_sees = "{server_sees}"
"""

CLIENT_TOML = """\
[client]
server = "{host}:{port}"
stay = 10
[http]
port = 0
[app]
path = "app.py:client"
[policy]
server_sees = "{server_sees}"
"""

WITH_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""What is installed has its bytecode beside it; where the shell forbids it, starts would be those of a compiler."""


@dataclass(frozen=True, slots=True)
class CommandsOptions:
    """How many, and how they send."""

    params: Annotated[int, typer.Option(min=8, help="Parameters of the model.")] = 100_000
    clients: Annotated[int, typer.Option(min=1, help="Clients, each an agent and a trainer.")] = 4
    rounds: Annotated[int, typer.Option(min=3, help="Rounds; the first one is not counted.")] = 12
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"


def run_commands_bench(options: CommandsOptions) -> dict[str, object]:
    """Play the rounds, look at the processes while they wait for more, and time starts.

    Raises:
        RoughfedError: a process failed.
    """
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary, ExitStack() as stack:
        place = Place(Path(temporary), options)
        place.prepare()
        starts = timed_starts(place)
        server = stack.enter_context(place.server(ENDLESS))
        agents = [stack.enter_context(place.agent(name)) for name in place.names]
        with Sampler() as sampler:
            spent = {"server": sampler.watch_family(server.pid)}
            spent |= {name: sampler.watch_family(agent.pid) for name, agent in zip(place.names, agents, strict=True)}
            played = place.played(options.rounds, server)
        agents[0].terminate()  # too few for another round: the others wait
        agents[0].wait()
        outlives(server, IDLE_S)
        memory = {"server": shares(server.pid), "agent": shares(agents[-1].pid)}
        memory["trainer"] = shares(max(family(agents[-1].pid) - {agents[-1].pid}))
    timed, begin, end = played[1:], played[0].closed_at, played[-1].closed_at
    cpu = {name: track.cpu_between(begin, end) / len(timed) for name, track in spent.items()}
    return {
        "bench": "commands",
        "params": options.params,
        "clients": options.clients,
        "rounds": options.rounds,
        "server_sees": options.server_sees,
        "seconds_per_round": median(each.closed_at - each.opened_at for each in timed),
        "seconds_between_commits": median(b.closed_at - a.closed_at for a, b in pairwise(played)),
        "cpu_seconds_server_round": cpu.pop("server"),
        "cpu_seconds_client_round": sum(cpu.values()) / options.clients,
        "memory_mib": memory,
        "starts_s": starts,
        "machine": machine(),
    }


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of the federation."""

    folder: Path
    options: CommandsOptions

    @property
    def names(self) -> list[str]:
        """Of the clients."""
        return [f"c{number}" for number in range(self.options.clients)]

    @property
    def home(self) -> Path:
        """Of the server."""
        return self.folder / "server"

    def prepare(self) -> None:
        """A CA, and every client enrolled."""
        self.home.mkdir()
        self._write_server(self.home, port=0, rounds=1)
        Authority.create(aggregator.ServerFiles(self.home).ca, FEDERATION, now=datetime.now(UTC))
        with self.server(1):
            ports = json.loads(aggregator.ServerFiles(self.home).ports.read_text())
            for name in self.names:
                (self.folder / name).mkdir()
                (self.folder / name / "app.py").write_text(APP.format(params=self.options.params))
                line = aggregator.invite(self.home, name, host=HOST, port=ports["enrolment"])
                flags = ("join", "--no-run", "--app", "app.py:client", "--accept", self.options.server_sees)
                done = self._start(self.folder / name, *flags, ROUGHFED_JOIN=line.reveal())
                if done.wait(timeout=PATIENCE_S):
                    raise RoughfedError(f"{name} did not enrol: {last_words(self.folder / name)}")
                self._write_client(name, ports["federation"])
        (self.folder / "port").write_text(str(ports["federation"]))

    def _write_server(self, folder: Path, *, port: int, rounds: int) -> None:
        given = {"rounds": rounds, "clients": self.options.clients, "server_sees": self.options.server_sees}
        (folder / "fed.toml").write_text(FED_TOML.format(name=FEDERATION, host=HOST, port=port, **given))
        (folder / "app.py").write_text(APP.format(params=self.options.params))

    def _write_client(self, name: str, port: int) -> None:
        text = CLIENT_TOML.format(host=HOST, port=port, server_sees=self.options.server_sees)
        (self.folder / name / "client.toml").write_text(text)

    @contextmanager
    def server(self, rounds: int) -> Generator[subprocess.Popen[bytes]]:
        """Run the server until the block ends."""
        if (port := self.folder / "port").exists():
            self._write_server(self.home, port=int(port.read_text()), rounds=rounds)
        with self._running(self.home, "server", until="listening metrics") as process:
            yield process

    @contextmanager
    def agent(self, name: str, *, until: str = "") -> Generator[subprocess.Popen[bytes]]:
        """Run a client until the block ends."""
        with self._running(self.folder / name, "join", until=until) as process:
            yield process

    @contextmanager
    def _running(self, folder: Path, *command: str, until: str) -> Generator[subprocess.Popen[bytes]]:
        process = self._start(folder, *command)
        try:
            wait_for(folder / "log", until, process)
            yield process
        finally:
            process.terminate()
            process.wait()

    def _start(self, folder: Path, *command: str, **extra: str) -> subprocess.Popen[bytes]:
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "roughfed.deploy.cli", *command, "--dir", str(folder)],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=os.environ | ENVIRONMENT | WITH_BYTECODE | extra,
            )

    def played(self, rounds: int, server: subprocess.Popen[bytes]) -> Sequence[PlayedRound]:
        """All rounds, once they are committed.

        Raises:
            RoughfedError: they are not in time, or the server ended.
        """
        deadline = time.monotonic() + PATIENCE_S + 10 * rounds
        while len(played := read_journal(self.home / "state" / "journal.db")) < rounds:
            if time.monotonic() > deadline:
                raise RoughfedError(f"{len(played)} of {rounds} rounds: {last_words(self.home)}")
            outlives(server, 0.05)
        return played


def timed_starts(place: Place) -> dict[str, float]:
    """Seconds from typing a command to what it is for, medians."""
    helps, servers, agents = list[float](), list[float](), list[float]()
    for _ in range(TIMED_STARTS):
        began = time.monotonic()
        command = [sys.executable, "-m", "roughfed.deploy.cli", "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | WITH_BYTECODE)
        helps.append(time.monotonic() - began)
        began = time.monotonic()
        with place.server(ENDLESS):
            servers.append(time.monotonic() - began)
            began = time.monotonic()
            with place.agent(place.names[0], until="connected"):
                agents.append(time.monotonic() - began)
    return {"help": median(helps), "server_ready": median(servers), "agent_connected": median(agents)}


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Return once a process has written some text.

    Raises:
        RoughfedError: it ended, or it takes too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        if time.monotonic() > deadline or process.poll() is not None:
            raise RoughfedError(f"no {text!r} from {log.parent.name}: {last_words(log.parent)}")
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.01)


def outlives(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Return after so many seconds in which a process ran.

    Raises:
        RoughfedError: it ended.
    """
    with suppress(subprocess.TimeoutExpired):
        raise RoughfedError(f"the server ended with {process.wait(seconds)}")


def last_words(folder: Path) -> str:
    """The end of what a process said."""
    return " | ".join((folder / "log").read_text().splitlines()[-3:])


def shares(pid: int) -> dict[str, float]:
    """The memory of a process now, MiB: its own pages, those of files, and all that is resident."""
    figures = status_bytes(Path(f"/proc/{pid}/status").read_text())
    names = {"anonymous": "RssAnon", "files": "RssFile", "resident": "VmRSS"}
    return {name: figures[key] / MIB for name, key in names.items()}


BENCH = Benchmark(CommandsOptions, run_commands_bench)
