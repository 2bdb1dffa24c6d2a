"""A member that sends what will be refused: the server keeps none of it, and others do not notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.types import Signed
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import encode_client_message
from roughfed.wire.updates import encode_update_status_request

from .federation import Cluster, value
from .peer import Peer, enrol
from .process import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CALLERS = 4
GROWTH_MIB = 16
SLOW_S = 0.2
WHO = encode_update_status_request("", 0, bytes(32))
UNLIMITED = {"server": {"strikes": 0}}


def statement(size: int) -> bytes:
    """A statement of about so many bytes, of numbers of one byte each, under no signature."""
    numbers = ten.UpdateStatement.Statistic(name="label-count", values=[1] * (size - 100))
    body = ten.UpdateStatement(run="r", round=1, client="x", statistics=[numbers]).SerializeToString()
    return encode_chunk(0, b"", Signed(body, bytes(64), ""))


def codecs(peer: Peer, size: int) -> bytes:
    """A hello of so many bytes, of empty names of codecs."""
    hello = fed.ClientMessage.FromString(encode_client_message(peer.hello())).hello
    hello.codecs.extend([""] * (size // 2))
    return fed.ClientMessage(hello=hello).SerializeToString()


def rss_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def honest_calls(peer: Peer) -> Iterator[list[float]]:
    """Seconds that a small call takes, one after the other, for as long as the block lasts."""
    took, over = list[float](), threading.Event()

    def ask() -> None:
        while not over.is_set():
            began = time.monotonic()
            assert isinstance(peer.ask("UpdateStatus", WHO), bytes)
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask, name="honest")
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(PATIENCE_S)


def refused(cluster: Cluster, call: Callable[[int], object], honest: Peer, calls: int) -> tuple[float, float]:
    """Growth of the server in MiB after so many calls; the 99th percentile of an honest call's seconds meanwhile."""
    for _ in range(20):
        honest.ask("UpdateStatus", WHO)
    before = rss_mib(cluster.server.pid)
    with honest_calls(honest) as took, ThreadPoolExecutor(CALLERS) as pool:
        said = list(pool.map(call, range(calls)))
    assert all(isinstance(answer, tuple) and answer[0] not in ("OK", "UNKNOWN", "INTERNAL") for answer in said), said
    deadline = time.monotonic() + PATIENCE_S
    while (grown := rss_mib(cluster.server.pid) - before) > GROWTH_MIB and time.monotonic() < deadline:
        honest.ask("UpdateStatus", WHO)
    return grown, float(np.quantile(took, 0.99))


SIZES = {"4 MiB": (4 << 20) - 1024, "1 MiB": (1 << 20) - 1024}


def attempts(peer: Peer, size: int) -> dict[str, Callable[[int], object]]:
    """Calls with a message of that size."""
    said, piece, hello = statement(size), encode_chunk(0, bytes(size), Signed(b"", bytes(64), "")), codecs(peer, size)
    return {
        "statement": lambda _: peer.put([said]),
        "chunk": lambda _: peer.put([piece]),
        "hello": lambda _: peer.one_session(hello),
        "status": lambda _: peer.ask("UpdateStatus", bytes(size)),
    }


@pytest.mark.alone
@pytest.mark.parametrize("calls", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_what_is_refused_is_not_kept_and_holds_nobody_up(tmp_path: Path, calls: int) -> None:
    with Cluster(tmp_path, clients=2, settings=UNLIMITED) as cluster:
        cluster.start_server().ready()
        papers, other = enrol(cluster, "x0"), enrol(cluster, "x1")
        with Peer(cluster.address, papers) as peer, Peer(cluster.address, other) as honest:
            for about, size in SIZES.items():
                for kind, call in attempts(peer, size).items():
                    grown, p99 = refused(cluster, call, honest, calls)
                    print(f"{kind} of {about}: {grown:.1f} MiB, p99 {p99 * 1000:.0f} ms")
                    assert grown <= GROWTH_MIB, f"{kind} of {about}"
                    assert p99 < SLOW_S, f"{kind} of {about}"


def test_a_member_that_sends_nothing_else_is_cut_and_heard_again(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2, settings={"server": {"strikes": 10}}) as cluster:
        cluster.start_server().ready()
        papers, other = enrol(cluster, "x0"), enrol(cluster, "x1")
        with Peer(cluster.address, papers) as peer, Peer(cluster.address, other) as honest:
            peer.join()
            honest.join()
            stale = encode_update_status_request("another", 1, bytes(32))
            assert {honest.ask("UpdateStatus", stale)[0] for _ in range(30)} == {"FAILED_PRECONDITION"}
            assert {peer.ask("UpdateStatus", b"\xff") for _ in range(10)} == {("INVALID_ARGUMENT", "schema")}
            assert peer.end() == ("RESOURCE_EXHAUSTED", "strikes")
            assert peer.ask("UpdateStatus", WHO) == ("RESOURCE_EXHAUSTED", "strikes")
            assert isinstance(honest.ask("UpdateStatus", WHO), bytes)
            assert value(cluster.page("/metrics"), "roughfed_refusals_total", reason="strikes") >= 2
        cluster.server.wait_line("x0 sent too many calls that were refused", timeout_s=PATIENCE_S)
