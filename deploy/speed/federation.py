"""A whole federation of bench processes in one directory: CA, server, enrolled clients, all on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from roughfed.codec.plan import plan_lanes
from roughfed.config import check_federation
from roughfed.deploy import aggregator
from roughfed.errors import ConfigError, LocalProtocolError, RoughfedError
from roughfed.masked_round import largest_group
from roughfed.secagg.groups import SMALLEST
from roughfed.server.app import Ports
from roughfed.server.defence.check import check_rule
from roughfed.server.members.authority import Authority

FEDERATION = "bench"
HOST = "127.0.0.1"
SECRET_SEED = 0
"""The clients' secrets follow from it, so that a bench can compute the sums again."""

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}

FED_TOML = """\
[federation]
name = "{name}"
[server]
host = "{host}"
port = 0
enrol_port = 0
connections = 100000
http = false
[round]
rounds = {rounds}
min_clients = {clients}
quorum = {quorum}
deadline = 600
evaluate_every = 0
[model]
name = "mlp"
[data]
name = "digits"
[privacy]
server_sees = "{server_sees}"
"""

CLIENT_TOML = """\
[client]
server = "{server}"
[http]
enabled = false
[policy]
server_sees = "updates"
max_model_bytes = {model_bytes}
"""


@dataclass
class Bench:
    """The directory and the running processes.

    Attributes:
        ways: where clients connect, if not to the server itself.
        client_log: level of the clients' logs.
    """

    folder: Path
    params: int
    server: subprocess.Popen[str] | None = None
    ports: Ports | None = None
    clients: dict[str, subprocess.Popen[str]] = field(default_factory=dict[str, "subprocess.Popen[str]"])
    ways: Ports | None = None
    client_log: str = "INFO"

    @property
    def server_folder(self) -> Path:
        """Where fed.toml is."""
        return self.folder / "server"


def prepare(
    folder: Path, *, params: int, clients: int, rounds: int, server_sees: str = "updates", quorum: float = 1.0
) -> Bench:
    """Write fed.toml and the CA of a new federation.

    Args:
        folder: a new directory.
        params: D.
        clients: no round begins before so many are connected.
        rounds: how many rounds.
        server_sees: the mode.
        quorum: the share of them that a round needs.

    Raises:
        ConfigError: the settings are refused (an unknown mode, too few clients for a masked one).
    """
    if server_sees in ("sketches", "sums") and clients < SMALLEST:  # fed.toml would say so of a key that nobody wrote
        cause = f"{clients} clients are too few to hide in: masked, a sum has {SMALLEST} or more"
        raise ConfigError(cause, key="--clients", cure=f"{SMALLEST} or more, or --server-sees updates")
    bench = Bench(folder, params)
    bench.server_folder.mkdir(parents=True)
    given = {"rounds": rounds, "clients": clients, "server_sees": server_sees, "quorum": quorum}
    text = FED_TOML.format(name=FEDERATION, host=HOST, **given)
    (bench.server_folder / "fed.toml").write_text(text)
    config = aggregator.load(bench.server_folder, {})
    check_federation(config)
    check_rule(config)
    if config.privacy.masked:  # here, once: else every client would compile the kernels, all at once
        from roughfed.codec.chain import warm

        warm(plan_lanes(largest_group(clients)))
    Authority.create(aggregator.ServerFiles(bench.server_folder).ca, FEDERATION, now=datetime.now(UTC))
    return bench


@contextmanager
def running(bench: Bench) -> Generator[Ports]:
    """The server; at the end every process that still runs is killed.

    Raises:
        RoughfedError: it did not start.
    """
    with ExitStack() as stack:
        stack.callback(_end, bench)
        bench.server = _start(bench, "server", bench.server_folder)
        line = bench.server.stdout.readline() if bench.server.stdout is not None else ""
        word, _, ports = line.partition(" ")
        if word != "listening":
            raise RoughfedError(f"the bench's server did not start: {_last_words(bench.server_folder)}")
        bench.ports = Ports(**json.loads(ports))
        yield bench.ports


def add_client(bench: Bench, name: str, *, pace_s: float = 0.0) -> subprocess.Popen[str]:
    """Enrol and start one agent, whose trainings take so long at least."""
    if bench.ports is None:
        raise LocalProtocolError("a client before the server runs: use `running`")
    folder = bench.folder / name
    folder.mkdir()
    ways = bench.ways or bench.ports
    text = CLIENT_TOML.format(server=f"{HOST}:{ways.federation}", model_bytes=4 * bench.params)
    (folder / "client.toml").write_text(text)
    line = aggregator.invite(bench.server_folder, name, host=HOST, port=ways.enrolment)
    extra = {"ROUGHFED_JOIN": line.reveal(), "ROUGHFED_LOG": bench.client_log}
    bench.clients[name] = process = _start(bench, "client", folder, extra, "--pace", str(pace_s))
    return process


def wait_for_end(bench: Bench, *, timeout_s: float) -> None:
    """Wait until the run is over and every process has left by itself.

    Raises:
        RoughfedError: one of them failed, or it took too long.
    """
    processes = {"server": bench.server, **bench.clients}
    for name, process in processes.items():
        if process is None:
            continue
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise RoughfedError(f"the bench's {name} did not end within {timeout_s:.0f} s") from None
        if code:
            raise RoughfedError(f"the bench's {name} ended with {code}: {_last_words(bench.folder / name)}")


def _start(
    bench: Bench, role: str, folder: Path, extra: dict[str, str] | None = None, *arguments: str
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "roughfed.deploy.speed.process", role, "--dir", str(folder), *arguments]
    if role == "client":
        command += ["--secret-seed", str(SECRET_SEED)]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [*command, "--params", str(bench.params)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | ENVIRONMENT | (extra or {}),
        )


def _end(bench: Bench) -> None:
    for process in (bench.server, *bench.clients.values()):
        if process is None:
            continue
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _last_words(folder: Path) -> str:
    with suppress(OSError, IndexError):
        return (folder / "log").read_text().splitlines()[-1]
    return "it said nothing"
