"""A federation of real processes for the tests in this folder: one server, some torch-free clients, mutual TLS.

    with Cluster(tmp_path, rounds=2) as cluster:
        cluster.start_server().ready()
        cluster.start_clients()
        assert cluster.server.wait() == 0

Nothing here sleeps: a test waits for a line that a process prints, for a status that the server sends through its
control socket, or for the end of a process. Whatever is still running when the block ends is killed.
"""

from __future__ import annotations

import json
import operator
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np

from roughfed.client.members import credential_files
from roughfed.client.members.credential_files import Credentials
from roughfed.deploy import aggregator
from roughfed.deploy.aggregator import ServerFiles
from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive
from roughfed.server.members.authority import Authority

from .forked import importing
from .process import PATIENCE_S, Process, Server

PARAMS = 300_000
"""1.2 MB: an update takes two chunks."""


class Cluster:
    """One server directory and its clients'; every process that was started from here."""

    def __init__(
        self,
        folder: Path,
        *,
        clients: int = 3,
        rounds: int = 2,
        params: int = PARAMS,
        settings: Mapping[str, Mapping[str, object]] | None = None,
        secret_seed: int | None = None,
    ) -> None:
        """Write fed.toml and make the CA; nothing is started.

        `settings` are tables of fed.toml that win; from `secret_seed` the clients' secrets of masked rounds follow.
        """
        self.folder, self.params, self.rounds = folder, params, rounds
        self.place, self.host = ServerFiles(folder / "server"), "127.0.0.1"
        self.names = [f"c{i}" for i in range(clients)]
        self.seed, self.secret_seed = 7, secret_seed
        self.family = ""  # of all clients (roughfed.deploy.synthetic)
        self.processes: list[Process] = []
        self.examples: dict[str, int] = {}
        self._settings: dict[str, dict[str, object]] = {
            "federation": {"name": "e2e", "seed": self.seed},
            "server": {"host": "127.0.0.1", "port": 0, "enrol_port": 0, "http_port": 0, "drain_s": 5.0},
            "round": {
                "rounds": rounds, "min_clients": clients, "quorum": 1.0, "deadline": "60s", "evaluate_every": 0,
            },
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "privacy": {"server_sees": "updates"},
        }  # fmt: skip
        self.configure(settings or {})
        Authority.create(self.place.ca, "e2e", now=datetime.now(UTC))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for process in self.processes:
            process.close()
            if kind is not None:  # pytest shows what was printed beside the failure
                print(process.report(f"({process.pid})"))

    def configure(self, settings: Mapping[str, Mapping[str, object]]) -> None:
        """Change fed.toml; the server reads it at its next start."""
        for table, values in settings.items():
            self._settings.setdefault(table, {}).update(values)
        self.place.folder.mkdir(parents=True, exist_ok=True)
        write_toml(self.place.folder / "fed.toml", self._settings)

    # -- processes -----------------------------------------------------------------------------------------------------

    def start_server(
        self,
        *,
        crash_at: str = "",
        env: Mapping[str, str] | None = None,
        claims: Sequence[str] = (),
        afresh: bool = False,
    ) -> Server:
        """Start the server; from its second start on at the ports that it had. `claims`: more arguments."""
        with suppress(FileNotFoundError):
            ports = json.loads(self.place.ports.read_text())
            self.configure({"server": {"port": ports["federation"], "enrol_port": ports["enrolment"]}})
        args = [*BENCH, "server", "--dir", str(self.place.folder), "--params", str(self.params), *claims]
        env = environment(crash_at) | dict(env or {})
        self.server = Server("server", self.placed("server", args), env, afresh=afresh)
        self.processes.append(self.server)
        return self.server

    def placed(self, _name: str, args: Sequence[str]) -> Sequence[str]:
        """What starts a process of this name where it belongs; here, all are on one machine."""
        return args

    def restart_server(self, *, afresh: bool = False) -> float:
        """Start the server again; returns the seconds from the start of the process until it serves.

        Those in which it only waited for a processor are left out: other processes had it.
        """
        server = self.start_server(afresh=afresh)
        server.ready()
        return time.monotonic() - server.started - server.queued_s

    def client_folder(self, name: str) -> Path:
        return self.folder / name

    def papers(self, name: str) -> Credentials:
        """An enrolled client's own papers."""
        return credential_files.load(self.client_folder(name) / "state" / "papers")

    def start_client(
        self,
        name: str,
        *,
        pace_s: float = 0.0,
        examples: int = 1,
        crash_at: str = "",
        http: bool = False,
        claims: Sequence[str] = (),
        tables: Mapping[str, Mapping[str, object]] | None = None,
        afresh: bool = False,
    ) -> Process:
        """Start one client; at its first start it joins with an invite.

        `claims`: more arguments of the bench's; `tables`: of client.toml, written at the first start.
        """
        folder = self.client_folder(name)
        env = environment(crash_at)
        if not folder.exists():
            folder.mkdir()
            write_toml(folder / "client.toml", {"http": {"enabled": http}, **self.agreed(tables or {})})
            env["ROUGHFED_JOIN"] = self.invite(name)
        self.examples[name] = examples
        args = [*BENCH, "client", "--dir", str(folder), "--params", str(self.params)]
        args += ["--pace", str(pace_s), "--examples", str(examples), *claims]
        args += ["--family", self.family] if self.family else []
        if self.secret_seed is not None:
            args += ["--secret-seed", str(self.secret_seed)]
        process = Process(name, self.placed(name, args), env, afresh=afresh)
        self.processes.append(process)
        return process

    def agreed(self, tables: Mapping[str, Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
        """Tables of a client.toml whose owner agrees to what this federation's server sees, unless they say else."""
        return {
            **tables,
            "policy": {"server_sees": self._settings["privacy"]["server_sees"], **tables.get("policy", {})},
        }

    def start_clients(self, *names: str, **options: Any) -> list[Process]:
        """Start these clients, or all."""
        return [self.start_client(name, **options) for name in names or self.names]

    def invite(self, name: str) -> str:
        """A join line."""
        ports = aggregator.known_ports(self.place.folder)
        return aggregator.invite(self.place.folder, name, host=self.host, port=ports.enrolment).reveal()

    @property
    def address(self) -> str:
        """host:port of the federation port."""
        return f"{self.host}:{aggregator.known_ports(self.place.folder).federation}"

    def watch(self) -> Watch:
        """The server's status, pushed by it; closes by itself when the server ends."""
        return Watch(self.place.state / "control.sock")

    def control(self, **request: object) -> dict[str, Any]:
        """One request through the control socket."""
        with closing(connect(self.place.state / "control.sock")) as link:
            link.sendall(json.dumps(request).encode() + b"\n")
            with link.makefile() as lines:
                return json.loads(lines.readline())

    def page(self, path: str, *, port: int | None = None) -> str:
        """A page of the server's (or another local) HTTP port."""
        port = port or aggregator.known_ports(self.place.folder).http
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()

    # -- what was written ----------------------------------------------------------------------------------------------

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the server's journal."""
        return read_rows(self.place.state / "journal.db", sql)

    def model_digests(self) -> list[str]:
        """Digest of each version, from 0 on."""
        return [row["digest"].hex() for row in self.rows("SELECT digest FROM models ORDER BY version")]

    def accepted(self) -> dict[int, list[str]]:
        """Of each committed round, whose updates are in the sum."""
        rounds = self.rows("SELECT round, sets FROM rounds WHERE outcome = 'committed' ORDER BY round")
        return {r["round"]: sorted(n for n, why in json.loads(r["sets"]).items() if why == "") for r in rounds}

    def expected_digests(
        self, accepted: Mapping[int, Sequence[str]] | None = None, *, step: Callable[..., Any] = operator.add
    ) -> list[str]:
        """Digest of each version, computed again from the seeds: means in float32, in order of the names.

        `step`: (params, mean) -> params', the server optimizer; FedAvg's adds.
        """
        params = np.zeros(self.params, dtype=np.float32)
        digests = [content_digest(memoryview(params).cast("B")).hex()]
        everybody = {number: sorted(self.names) for number in range(1, self.rounds + 1)}
        for number, names in (accepted or everybody).items():
            weights = [np.float32(self.examples.get(name, 1)) for name in names]
            total = np.zeros_like(params)
            for name, weight in zip(names, weights, strict=True):
                seed = derive(self.seed, "client", name, number)
                total += np.concatenate(list(pieces(self.params, seed))) * weight
            params = step(params, total / np.float32(sum(weights)))
            digests.append(content_digest(memoryview(params).cast("B")).hex())
        return digests


class Watch:
    """The stream of status lines from a control socket."""

    def __init__(self, path: Path) -> None:
        self._link = connect(path)
        self._link.sendall(b'{"op": "watch"}\n')
        self._news = threading.Condition()
        self._seen: deque[dict[str, Any]] = deque(maxlen=1000)
        self._over = False
        self._reader = threading.Thread(target=self._read, name="watch")
        self._reader.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._reader.join(PATIENCE_S)
        self._link.close()

    def _read(self) -> None:
        with suppress(OSError), self._link.makefile() as lines:
            for line in lines:
                with self._news:
                    self._seen.append(json.loads(line))
                    self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    @property
    def latest(self) -> dict[str, Any]:
        """The newest status."""
        return self._seen[-1]

    def until(self, holds: Callable[[dict[str, Any]], bool], *, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first status from now on (the latest included) for which `holds` is true."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while not (self._seen and holds(self._seen[-1])):
                last = self._seen[-1] if self._seen else None
                assert not self._over, f"the server ended; its last status: {last}"
                assert self._news.wait(max(0.0, deadline - time.monotonic())), f"not in {timeout_s} s: {last}"
            return self._seen[-1]


def state_of(status: Mapping[str, Any], name: str) -> str:
    """What the server knows of a client: "gone", or what it does."""
    return next((c["state"] for c in status["clients"] if c["name"] == name), "gone")


def is_connected(status: Mapping[str, Any], name: str) -> bool:
    return any(c["name"] == name and c["connected"] for c in status["clients"])


def value(page: str, name: str, **labels: str) -> float:
    """The sum of a family's samples that have these labels, from a /metrics page; nan if there is none."""
    found = [
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items())
    ]
    return sum(found) if found else float("nan")


BENCH = [sys.executable, "-m", "tests.e2e.synthetic_process"]
KILLED = -signal.SIGKILL


def environment(crash_at: str = "") -> dict[str, str]:
    """One thread for numeric code, and no setting from outside."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("ROUGHFED_")}
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **importing()}
    return env | ({"ROUGHFED_CRASH_AT": crash_at} if crash_at else {})


def write_toml(path: Path, tables: Mapping[str, Mapping[str, object]]) -> None:
    """Texts, numbers and truth values look the same in TOML and in JSON."""
    lines: list[str] = []
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")


def connect(path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(path))
    return link


def read_rows(path: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of an SQLite file that another process may be writing."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]
