"""`roughfed bench sessions` and `roughfed bench dispatch`: many connected clients on one server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roughfed.client.connection.rpc import SERVICE
from roughfed.deploy import aggregator
from roughfed.deploy.bench.crowd import READY, Ticket, channel, enrol, write_tickets
from roughfed.deploy.bench.launch import Bench, prepare, running
from roughfed.deploy.bench.measure import MIB, machine, own_bytes, percentile
from roughfed.deploy.cli import control
from roughfed.errors import ConfigError, RoughfedError
from roughfed.server.authority import Authority
from roughfed.wire.session import encode_get_model

PARAMS = 1000
CROWDS = 2
"""Processes that hold the sessions: few, since they compete with the server for the cores."""

CROWD = "roughfed.deploy.bench.crowd"

CALLS_PER_S = 50.0


@dataclass(frozen=True, slots=True)
class SessionsBenchOptions:
    """What to measure.

    Attributes:
        clients: sessions, each with its own certificate and connection.
        seconds: how long other calls are measured while the sessions are held.
    """

    clients: int = 500
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class DispatchBenchOptions:
    """What to measure.

    Attributes:
        clients: sessions that take jobs.
        rounds: rounds that are opened; every client refuses its job, so none of them commits.
    """

    clients: int = 200
    rounds: int = 10


def run_sessions_bench(options: SessionsBenchOptions) -> dict[str, object]:
    """Hold idle sessions and measure the server: its memory, and how long other calls take meanwhile.

    Returns:
        the figures; `call_*` is one GetModel of a 4 kB model over its own connection, at a steady rate.
    """
    if options.clients < 1 or options.seconds <= 0:
        raise ConfigError("there is nothing to measure", key="--clients", cure="give 1 or more, and some seconds")
    with crowded(options.clients, rounds=1, wait_for=options.clients + 2) as (bench, prober, port):
        pid = bench.server.pid if bench.server is not None else 0
        digest = first_model(bench)
        idle = asyncio.run(probe(prober, port, digest, seconds=1.0))
        before = own_bytes(pid)
        with ExitStack() as stack:
            began = time.perf_counter()
            gather(bench, options.clients, port, stack)
            connected = time.perf_counter() - began
            calls = asyncio.run(probe(prober, port, digest, seconds=options.seconds))
            after = own_bytes(pid)
    return {
        "bench": "sessions",
        "clients": options.clients,
        "connect_seconds": connected,
        "server_rss_mib_before": before / MIB,
        "server_rss_mib": after / MIB,
        "server_kib_per_session": (after - before) / 1024 / options.clients,
        "calls": len(calls),
        "call_p50_seconds": percentile(calls, 0.5),
        "call_p99_seconds": percentile(calls, 0.99),
        "call_max_seconds": max(calls),
        "call_p99_seconds_without_sessions": percentile(idle, 0.99),
        "machine": machine(),
    }


def run_dispatch_bench(options: DispatchBenchOptions) -> dict[str, object]:
    """Open rounds for many sessions and measure how long it takes until each client has its job.

    Returns:
        the figures; a dispatch is from the round's opening in the journal to the decoded job at the client.
    """
    if options.clients < 1 or options.rounds < 1:
        raise ConfigError("there is nothing to measure", key="--clients", cure="give 1 or more, and 1 round or more")
    with crowded(options.clients, rounds=options.rounds, wait_for=options.clients) as (bench, _, port):
        with ExitStack() as stack:
            crowds = gather(bench, options.clients, port, stack)
            play(bench, options.rounds)
            received = [json.loads(ask(crowd)) for crowd in crowds]
        opened = opening_times(bench)
    waits = [
        moment - opened[number] for crowd in received for number in opened for moment in crowd.get(str(number), ())
    ]
    if len(waits) != options.clients * options.rounds:
        raise RoughfedError(f"{len(waits)} jobs came in, {options.clients * options.rounds} were sent")
    return {
        "bench": "dispatch",
        "clients": options.clients,
        "rounds": options.rounds,
        "dispatch_p50_seconds": percentile(waits, 0.5),
        "dispatch_p99_seconds": percentile(waits, 0.99),
        "dispatch_max_seconds": max(waits),
        "machine": machine(),
    }


@contextmanager
def crowded(
    clients: int,
    *,
    rounds: int,
    wait_for: int,
    params: int = PARAMS,
    quorum: float = 1.0,
    server_sees: str = "updates",
) -> Iterator[tuple[Bench, Ticket, int]]:
    """A server, everybody's tickets on disk, and one more client for other calls."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        given = {"params": params, "clients": wait_for, "rounds": rounds}
        bench = prepare(Path(temporary), **given, server_sees=server_sees, quorum=quorum)
        authority = Authority.open(aggregator.Place(bench.server_folder).ca)
        prober = enrol(authority, "prober")
        for number in range(CROWDS):
            names = [name_of(i) for i in range(clients) if i % CROWDS == number]
            write_tickets(tickets_file(bench, number), [enrol(authority, name) for name in names])
        with running(bench) as ports:
            yield bench, prober, ports.federation


def name_of(number: int) -> str:
    """Of a client of a crowd."""
    return f"c{number:04d}"


def play(bench: Bench, rounds: int) -> None:
    """Let the server open so many rounds. The crowd refuses its jobs, so each is abandoned, and the run soon paused."""
    for status in control.watch(bench.server_folder):
        open_round = status["needed"] is not None
        if status["round"] >= rounds and not open_round:
            break
        if status["paused"]:
            control.ask(bench.server_folder, "resume")
    control.ask(bench.server_folder, "stop")
    if bench.server is not None:
        bench.server.wait(timeout=60.0)


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


def ask(crowd: subprocess.Popen[str]) -> str:
    """What a crowd received."""
    tell(crowd)
    return answer(crowd)


def tell(crowd: subprocess.Popen[str]) -> None:
    """Give a crowd the word that it waits for."""
    if crowd.stdin is not None:
        crowd.stdin.write("\n")
        crowd.stdin.flush()


def answer(crowd: subprocess.Popen[str]) -> str:
    """The next line of a crowd."""
    return crowd.stdout.readline().strip() if crowd.stdout is not None else ""


async def probe(ticket: Ticket, port: int, digest: bytes, *, seconds: float) -> Sequence[float]:
    """Seconds of each GetModel call; calls start at a steady rate, whether or not earlier ones are answered."""
    async with channel(ticket, port) as connection:
        get_model = connection.unary_stream(f"{SERVICE}/GetModel")

        async def once(after_s: float) -> float:
            await asyncio.sleep(after_s)
            began = time.perf_counter()
            async for _ in get_model(encode_get_model(digest, 0)):
                pass
            return time.perf_counter() - began

        await once(0.0)  # the handshake is not what is measured
        return await asyncio.gather(*(once(n / CALLS_PER_S) for n in range(int(seconds * CALLS_PER_S))))


def first_model(bench: Bench) -> bytes:
    """Digest of version 0."""
    return read(bench, "SELECT digest FROM models WHERE version = 0")[0][0]


def opening_times(bench: Bench) -> dict[int, float]:
    """Round -> when it was opened, Unix seconds."""
    return dict(read(bench, "SELECT round, opened_at FROM rounds"))


def read(bench: Bench, sql: str) -> list[Any]:
    """Rows of the server's journal."""
    with closing(sqlite3.connect(bench.server_folder / "state" / "journal.db")) as db:
        return db.execute(sql).fetchall()
