"""The floor: what a bare gRPC stream of the same bytes costs on this machine, right now.

K client processes each download and then upload `size_bytes` in 1 MiB chunks over grpc.aio: no TLS, no schema, no hash,
nothing stored, every chunk cut from a vector in memory. A federation cannot be faster than this with gRPC in Python;
the ratio to it says what we add.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from roughfed.deploy.speed.measure import cpu_seconds
from roughfed.errors import RoughfedError

CHUNK = 1 << 20
HELD_BYTES = 64 << 20  # of the vector; more than the caches hold, so that a chunk comes from memory
READY, DONE = "ready", "done"
OPTIONS = (("grpc.max_receive_message_length", 2 * CHUNK), ("grpc.so_reuseport", 0))


@dataclass(frozen=True, slots=True)
class Floor:
    """The best try: seconds from the start of all downloads to the end of all uploads, and processor seconds."""

    seconds: float
    cpu_seconds: float


def measure_floor(clients: int, size_bytes: int, *, best_of: int = 3) -> Floor:
    """Play the bare stream a few times.

    Args:
        clients: client processes.
        size_bytes: bytes down, and again up, for each of them.
        best_of: tries.
    """
    with ExitStack() as stack:
        server = stack.enter_context(_process("server", str(size_bytes)))
        port = _read(server)
        peers = [stack.enter_context(_process("client", str(size_bytes), port)) for _ in range(clients)]
        for peer in peers:
            _expect(peer, READY)
        tries = [_once(server, peers) for _ in range(best_of)]
        return min(tries, key=lambda floor: floor.seconds)


def _once(server: subprocess.Popen[str], peers: list[subprocess.Popen[str]]) -> Floor:
    spent = sum(cpu_seconds(process.pid) for process in (server, *peers))
    began = time.perf_counter()
    for peer in peers:
        _say(peer)
    for peer in peers:
        _expect(peer, DONE)
    seconds = time.perf_counter() - began
    return Floor(seconds, sum(cpu_seconds(process.pid) for process in (server, *peers)) - spent)


async def serve(size_bytes: int) -> None:
    """The bare server: sends from memory, drops what it gets; ends with its standard input."""
    data = os.urandom(min(HELD_BYTES, size_bytes))

    async def download(request: bytes, context: Any) -> AsyncIterator[bytes]:
        del request, context
        for piece in pieces(data, size_bytes):
            yield piece

    async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
        del context
        received = 0
        async for piece in requests:
            received += len(piece)
        return str(received).encode()

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Down": grpc.unary_stream_rpc_method_handler(download),
        "Up": grpc.stream_unary_rpc_method_handler(upload),
    }
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Floor", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.stop(0)


async def play(size_bytes: int, port: int) -> None:
    """One bare client: a line on standard input starts a round, the end of it ends the process."""
    data = os.urandom(min(HELD_BYTES, size_bytes))

    async def outgoing() -> AsyncIterator[bytes]:
        for piece in pieces(data, size_bytes):
            yield piece

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        await channel.channel_ready()
        download: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/Floor/Down")
        upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary("/Floor/Up")
        print(READY, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            received = 0
            async for piece in download(b""):
                received += len(piece)
            if received != size_bytes or int(await upload(outgoing())) != size_bytes:
                raise RoughfedError("the bare stream lost bytes")
            print(DONE, flush=True)


def pieces(data: bytes, size_bytes: int) -> Iterator[bytes]:
    """`size_bytes` in chunks, each its own copy; a vector longer than `data` goes round in it."""
    for offset in range(0, size_bytes, CHUNK):
        at = offset % HELD_BYTES
        yield data[at : at + min(CHUNK, size_bytes - offset)]


@contextmanager
def _process(*args: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "roughfed.deploy.speed.bare_stream", *args]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
        process.communicate(timeout=10.0)  # closes its standard input, which ends it
    finally:
        process.kill()
        process.wait()


def _say(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.write("\n")
        process.stdin.flush()


def _read(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline().strip() if process.stdout is not None else ""
    if not line:
        raise RoughfedError("a process of the bare stream ended early")
    return line


def _expect(process: subprocess.Popen[str], word: str) -> None:
    if (line := _read(process)) != word:
        raise RoughfedError(f"the bare stream's process said {line!r}, want {word!r}")


def main() -> None:
    """`python -m roughfed.deploy.speed.bare_stream server SIZE | client SIZE PORT`."""
    match sys.argv[1:]:
        case ["server", size]:
            asyncio.run(serve(int(size)))
        case ["client", size, port]:
            asyncio.run(play(int(size), int(port)))
        case _:
            sys.exit("usage: floor server SIZE | floor client SIZE PORT")


if __name__ == "__main__":
    main()
