"""Many connected clients on one server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.client.connection.rpc import SERVICE
from roughfed.deploy.speed.crowd import ClientTicket, channel
from roughfed.deploy.speed.crowds import answer, crowded, gather, read, tell
from roughfed.deploy.speed.federation import Bench
from roughfed.deploy.speed.measure import MIB, machine, own_bytes, percentile
from roughfed.errors import ConfigError, RoughfedError
from roughfed.transport import control_socket
from roughfed.wire.session import encode_get_model
from tests.bench.command import Benchmark

CALLS_PER_S = 50.0


@dataclass(frozen=True, slots=True)
class SessionsBenchOptions:
    """How many are connected, and for how long other calls are measured."""

    clients: Annotated[int, typer.Option(min=1, help="Idle sessions, each with its own certificate.")] = 500
    seconds: Annotated[float, typer.Option(min=0.1, help="How long other calls are measured meanwhile.")] = 10.0


@dataclass(frozen=True, slots=True)
class DispatchBenchOptions:
    """How many wait for a job, and how often they get one."""

    clients: Annotated[int, typer.Option(min=1, help="Sessions that take jobs.")] = 200
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are opened; every client refuses its job.")] = 10


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


def play(bench: Bench, rounds: int) -> None:
    """Let the server open so many rounds. The crowd refuses its jobs, so each is abandoned, and the run soon paused."""
    for status in control_socket.watch(bench.server_folder):
        open_round = status["needed"] is not None
        if status["round"] >= rounds and not open_round:
            break
        if status["paused"]:
            control_socket.ask(bench.server_folder, "resume")
    control_socket.ask(bench.server_folder, "stop")
    if bench.server is not None:
        bench.server.wait(timeout=60.0)


def ask(crowd: subprocess.Popen[str]) -> str:
    """What a crowd received."""
    tell(crowd)
    return answer(crowd)


async def probe(ticket: ClientTicket, port: int, digest: bytes, *, seconds: float) -> Sequence[float]:
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


SESSIONS = Benchmark(SessionsBenchOptions, run_sessions_bench)
DISPATCH = Benchmark(DispatchBenchOptions, run_dispatch_bench)
