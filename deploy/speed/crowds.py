"""A server with many clients, and the processes that hold these: for benches of what a crowd costs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from roughfed.deploy import aggregator
from roughfed.deploy.speed.crowd import READY, ClientTicket, enrol, write_tickets
from roughfed.deploy.speed.federation import Bench, prepare, running
from roughfed.errors import RoughfedError
from roughfed.server.members.authority import Authority

PARAMS = 1000
CROWDS = 2
"""Processes that hold the sessions: few, since they compete with the server for the cores."""

CROWD = "roughfed.deploy.speed.crowd"


@contextmanager
def crowded(
    clients: int,
    *,
    rounds: int,
    wait_for: int,
    params: int = PARAMS,
    quorum: float = 1.0,
    server_sees: str = "updates",
) -> Generator[tuple[Bench, ClientTicket, int]]:
    """A server, everybody's tickets on disk, and one more client for other calls."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        given = {"params": params, "clients": wait_for, "rounds": rounds}
        bench = prepare(Path(temporary), **given, server_sees=server_sees, quorum=quorum)
        authority = Authority.open(aggregator.ServerFiles(bench.server_folder).ca)
        prober = enrol(authority, "prober")
        for number in range(CROWDS):
            names = [name_of(i) for i in range(clients) if i % CROWDS == number]
            write_tickets(tickets_file(bench, number), [enrol(authority, name) for name in names])
        with running(bench) as ports:
            yield bench, prober, ports.federation


def name_of(number: int) -> str:
    """Of a client of a crowd."""
    return f"c{number:04d}"


def tickets_file(bench: Bench, number: int) -> Path:
    """Where the tickets of one crowd are."""
    return bench.folder / f"crowd-{number}.json"


def log_file(bench: Bench, number: int) -> Path:
    """What one crowd has to complain of."""
    return bench.folder / f"crowd-{number}.log"


def gather(
    bench: Bench, clients: int, port: int, stack: ExitStack, *more: str, module: str = CROWD
) -> list[subprocess.Popen[str]]:
    """Start the crowds and wait until every session is open; the stack ends them. `more`: arguments of the module."""
    crowds: list[subprocess.Popen[str]] = []
    for number in range(min(CROWDS, clients)):
        command = [sys.executable, "-m", module, str(tickets_file(bench, number)), str(port), *more]
        log = stack.enter_context(log_file(bench, number).open("w"))
        crowd = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        )
        stack.callback(crowd.kill)
        crowds.append(crowd)
    for crowd in crowds:
        if answer(crowd) != READY:
            logs = [log_file(bench, number).read_text() for number in range(len(crowds))]
            raise RoughfedError("the sessions did not open: " + "".join(logs)[-1000:])
    return crowds


def tell(crowd: subprocess.Popen[str]) -> None:
    """Give a crowd the word that it waits for."""
    if crowd.stdin is not None:
        crowd.stdin.write("\n")
        crowd.stdin.flush()


def answer(crowd: subprocess.Popen[str]) -> str:
    """The next line of a crowd."""
    return crowd.stdout.readline().strip() if crowd.stdout is not None else ""


def read(bench: Bench, sql: str) -> list[Any]:
    """Rows of the server's journal."""
    with closing(sqlite3.connect(bench.server_folder / "state" / "journal.db")) as db:
        return db.execute(sql).fetchall()
