"""Connections that say half of something and then nothing, while a round is played.

On the federation and the enrolment port: a TCP connection that says nothing, half a TLS ClientHello, a TLS session (on
the enrolment port, which asks for no certificate) with half of HTTP/2's preface; on the HTTP port half a request. All
are held by this process until the rounds are over; one that the server ends is opened again.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.speed.federation import HOST, Bench, add_client, prepare, running, wait_for_end
from roughfed.deploy.speed.measure import MIB, Sampler, machine, own_bytes
from roughfed.deploy.speed.round import read_journal
from roughfed.errors import ConfigError, RoughfedError
from roughfed.server.app import Ports
from tests.bench.command import Benchmark

CLIENT_HELLO = bytes.fromhex("160301020001000120030350") + bytes(64)
"""The beginning of a TLS record that announces 512 bytes."""
PREFACE = b"PRI * HTTP/2.0\r\n"
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
PATIENCE_S = 5.0
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class SlowSocketsOptions:
    """How many say half of something, and what goes on meanwhile."""

    sockets: Annotated[int, typer.Option(min=1, help="Connections that are held, in equal parts of each kind.")] = 500
    clients: Annotated[int, typer.Option(min=1, help="Honest clients, which enrol and play meanwhile.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that they play.")] = 5
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 100_000


def run_slow_sockets_bench(options: SlowSocketsOptions) -> dict[str, object]:
    """Play the same rounds with a calm server, and with one that the sockets are held on.

    Returns:
        the figures; `enrol_and_play_seconds` is from the first client's start to the end of the run.
    """
    if min(options.sockets, options.clients, options.rounds) < 1:
        raise ConfigError("there is nothing to measure", key="--sockets", cure="give 1 or more of each")
    calm, slow = once(options, 0), once(options, options.sockets)
    return {
        "bench": "slow-sockets",
        "sockets": options.sockets,
        "clients": options.clients,
        "rounds": options.rounds,
        **slow,
        **{f"{name}_without": value for name, value in calm.items() if name != "reopened"},
        "machine": machine(),
    }


def once(options: SlowSocketsOptions, sockets: int) -> dict[str, float]:
    """One run.

    Raises:
        RoughfedError: a round did not commit.
    """
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        bench = prepare(Path(temporary), params=options.params, clients=options.clients, rounds=options.rounds)
        listen_for_http(bench)
        with Sampler() as sampler, running(bench) as ports, ExitStack() as stack:
            if bench.server is None:
                raise RoughfedError("the bench has no server")
            track, before = sampler.watch(bench.server.pid), own_bytes(bench.server.pid)
            crowd = stack.enter_context(Crowd(ports, sockets))
            began = time.perf_counter()
            for number in range(options.clients):
                add_client(bench, f"c{number:03d}")
            wait_for_end(bench, timeout_s=300.0)
            took = time.perf_counter() - began
        played = read_journal(bench.server_folder / "state" / "journal.db")
    if len(played) != options.rounds or any(len(r.accepted) < options.clients for r in played):
        raise RoughfedError(f"{len(played)} of {options.rounds} rounds were committed with everybody")
    return {
        "enrol_and_play_seconds": took,
        "longest_round_seconds": max(r.closed_at - r.opened_at for r in played),
        "server_peak_mib": track.peak_own / MIB,
        "server_grown_mib": (track.peak_own - before) / MIB,
        "reopened": float(crowd.reopened),
    }


def listen_for_http(bench: Bench) -> None:
    """Let the server of a bench serve HTTP, too."""
    path = bench.server_folder / "fed.toml"
    path.write_text(path.read_text().replace("http = false", "http = true\nhttp_port = 0"))


class Crowd:
    """So many connections, each with half of something sent; one that the server ends is opened again.

    Attributes:
        reopened: how often that was.
    """

    def __init__(self, ports: Ports, count: int) -> None:
        """Open them all."""
        self._kinds = list(islice(cycle(kinds(ports)), count))
        self._held = [make() for make in self._kinds]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="slow-sockets", daemon=True)
        self.reopened = 0

    def __enter__(self) -> Crowd:
        """Keep them open from now on."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self._done.set()
        self._thread.join()
        for one in self._held:
            one.close()

    def _keep(self) -> None:
        while not self._done.wait(LOOK_S):
            for place, one in enumerate(self._held):
                if not self._done.is_set() and not is_open(one):
                    one.close()
                    with suppress(OSError):  # the server is gone: the run is over
                        self._held[place] = self._kinds[place]()
                        self.reopened += 1


def kinds(ports: Ports) -> list[Callable[[], socket.socket]]:
    """What opens one connection of each kind."""
    return [
        lambda: said(ports.federation, b""),
        lambda: said(ports.federation, CLIENT_HELLO),
        lambda: said(ports.enrolment, CLIENT_HELLO),
        lambda: greeted(ports.enrolment),
        lambda: said(ports.http, REQUEST),
    ]


def said(port: int, data: bytes) -> socket.socket:
    """A connection on which this was sent."""
    connection = socket.create_connection((HOST, port), timeout=PATIENCE_S)
    connection.sendall(data)
    return connection


def greeted(port: int) -> socket.socket:
    """A TLS session with half of HTTP/2's preface; where the handshake is not finished in time, what there is of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a stranger, who need not know whom it bothers
    context.set_alpn_protocols(["h2"])
    wrapped = context.wrap_socket(said(port, b""), do_handshake_on_connect=False)
    with suppress(OSError):  # in time or not, something is there
        wrapped.do_handshake()
        wrapped.sendall(PREFACE)
    return wrapped


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not hung up yet; reads what it sent."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


BENCH = Benchmark(SlowSocketsOptions, run_slow_sockets_bench)
