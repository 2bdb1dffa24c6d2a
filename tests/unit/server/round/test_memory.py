"""What would stay in a server: of transfers, pages and read buffers; of each round, a little here and there."""

import asyncio
import os
import platform
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.crypto.names import subject_of
from roughfed.journal import CACHE_KIB, connect
from roughfed.server.context.round_state import RoundState
from roughfed.server.round.updates import reference_updates
from roughfed.server.storage.store import RoundRow
from roughfed.server.trace.recent import MOST, WINDOW_S, RecentEvents
from roughfed.types import Signed

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FREED_BETWEEN = """
from roughfed.allocator import give_back, keep_pages
from roughfed.deploy.speed.measure import MIB, own_bytes
import os

assert keep_pages()
chunks = [(b"x" * (1 << 20), bytes(4096)) for _ in range(48)]
stay = [small for _, small in chunks]
del chunks
before = own_bytes(os.getpid())
assert give_back()
print((before - own_bytes(os.getpid())) / MIB)
"""

CONNECTIONS, CHUNKS = 32, 6

RECEIVER = """
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

from roughfed.transport.options import SERVER_OPTIONS


def take(requests, context):
    for _ in requests:
        pass
    return b""


server = grpc.server(ThreadPoolExecutor(2), options=SERVER_OPTIONS)
handler = grpc.method_handlers_generic_handler("t", {"Take": grpc.stream_unary_rpc_method_handler(take)})
server.add_generic_rpc_handlers((handler,))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
from roughfed.allocator import give_back
from roughfed.deploy.speed.measure import MIB, own_bytes
import gc, os

for line in sys.stdin:  # measured before, and after
    gc.collect()
    give_back()
    print(own_bytes(os.getpid()) / MIB, flush=True)
server.stop(0)
"""

SENDER = """
import sys

import grpc

from roughfed.transport.options import CLIENT_OPTIONS

port, count, chunks = sys.argv[1:]
options = (*CLIENT_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(int(count))]
takes = [channel.stream_unary("/t/Take") for channel in channels]
for take in takes:
    take(iter([b"hello"]), wait_for_ready=True)
print("connected", flush=True)
sys.stdin.readline()
for take in takes:
    take(iter([b"x" * (1 << 20)] * int(chunks)))
print("sent", flush=True)
sys.stdin.readline()
"""


def started(script: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def answer(process: subprocess.Popen[str], word: str = "") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    if word:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


@linux
def test_pages_between_what_stays_are_given_back() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("needs glibc: no other C library has malloc_trim")
    done = subprocess.run([sys.executable, "-c", FREED_BETWEEN], capture_output=True, text=True, timeout=60, check=True)

    assert float(done.stdout) > 24  # of 48


@linux
def test_a_connection_keeps_no_buffers_of_what_it_has_sent() -> None:
    with started(RECEIVER) as receiver:
        with started(SENDER, answer(receiver), str(CONNECTIONS), str(CHUNKS)) as sender:
            assert answer(sender) == "connected"
            before = float(answer(receiver, "measure"))
            assert answer(sender, "send") == "sent"
            after = float(answer(receiver, "measure"))
            answer(sender, "end")
        assert receiver.stdin is not None
        receiver.stdin.close()

    assert (after - before) / CONNECTIONS < 0.25  # MiB; 0.1 is reached, 0.9 where reads grow with what comes


def test_a_window_keeps_the_newest_events_and_needs_no_more_memory_for_them() -> None:
    moment = 0.0
    window = RecentEvents[str](clock=lambda: moment)
    events = [f"event {number}" for number in range(MOST)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MOST + 10):
            moment = float(number) / 100
            window.note(events[number % MOST])
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert window.all() == events[10:] + events[:10]
    assert grown < 4096  # a tuple and a time for each of them took 200 KiB
    moment = (MOST + 5) / 100 + WINDOW_S
    assert window.all() == events[5:10]


def test_a_journal_keeps_few_pages_of_its_own(tmp_path: Path) -> None:
    db = connect(tmp_path / "journal.db")
    assert db.execute("PRAGMA cache_size").fetchone()[0] == -CACHE_KIB
    db.close()


def test_files_of_a_round_are_deleted_by_a_pattern_that_is_the_same_in_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, patterns, found = tmp_path / "extras", set[str](), Path.glob
    folder.mkdir()
    monkeypatch.setattr(Path, "glob", lambda path, pattern: patterns.add(pattern) or found(path, pattern))
    ctx: Any = SimpleNamespace(store=SimpleNamespace(folder=tmp_path))
    names = [f"0000000{number}-{name}" for number in (1, 2) for name in ("root", "previous", "previous-small")]
    for name in names:
        (folder / name).touch()
    one, two = (RoundState(RoundRow(number, Signed(b"", b"", ""), (), 1, 0.0, None, None, None)) for number in (1, 2))
    asyncio.run(reference_updates.forget(ctx, one))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names[3:])
    asyncio.run(reference_updates.forget(ctx, two))
    assert not list(folder.iterdir())
    assert len(patterns) == 1  # Python keeps the last 256, compiled


def test_a_name_that_is_read_in_every_call_is_in_memory_once() -> None:
    name = f"c{random.getrandbits(40):x}"
    one, two = (subject_of([f"spiffe://fed/client/{name}"]).name for _ in range(2))
    assert one is two
