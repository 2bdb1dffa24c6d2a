"""Calls to the enrolment port that never bring their message: others enrol meanwhile, and members need no such port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from roughfed.crypto import join_line
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.deploy import agent

from .federation import Cluster
from .process import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CALLS, EACH, CHANNELS = 1_000, 2, 500
ANSWER_S = 2.0


@contextmanager
def silent_calls(address: str, root: bytes) -> Iterator[None]:
    """So many calls without a message, each made again as soon as it ends, for as long as the block lasts."""
    loop, made = asyncio.new_event_loop(), threading.Event()
    options = (
        ("grpc.ssl_target_name_override", SERVER_HOST),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    )
    begun = 0

    async def keep_calling(call: grpc.aio.StreamUnaryMultiCallable) -> None:
        nonlocal begun
        while True:
            silent = call(timeout=60)
            begun += 1
            if begun == CALLS:
                made.set()
            await silent.code()
            await asyncio.sleep(0.1)

    async def siege() -> None:
        credentials = grpc.ssl_channel_credentials(root)
        channels = [grpc.aio.secure_channel(address, credentials, options=options) for _ in range(CHANNELS)]
        calls = [channel.stream_unary("/roughfed.v1.Enrolment/GetAuthority") for channel in channels]
        await asyncio.gather(*(keep_calling(call) for call in calls for _ in range(EACH)))

    task = loop.create_task(siege())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            loop.run_until_complete(loop.shutdown_asyncgens())

    thread = threading.Thread(target=run, name="siege")
    thread.start()
    try:
        assert made.wait(PATIENCE_S)
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(PATIENCE_S)
        loop.close()


def test_newcomers_enrol_under_silent_calls(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2) as cluster:
        ports = cluster.start_server().ready()
        lines = {f"n{i}": cluster.invite(f"n{i}") for i in range(10)}
        took = list[float]()
        with silent_calls(f"127.0.0.1:{ports.enrolment}", (cluster.place.ca / "ca.pem").read_bytes()):
            for name, line in lines.items():
                (tmp_path / name).mkdir()
                began = time.monotonic()
                asyncio.run(agent.join(tmp_path / name, join_line.parse(line)))
                took.append(time.monotonic() - began)
        print(f"an enrolment took {sorted(took)[len(took) // 2]:.2f} s, at most {max(took):.2f} s")
        assert max(took) < ANSWER_S
