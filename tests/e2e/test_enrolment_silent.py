"""Calls to the enrolment port that never bring their message: others enrol meanwhile, and members need no such port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import pytest

from roughfed.client.members import credential_files, enrol
from roughfed.crypto import join_line
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.deploy import agent
from roughfed.errors import IdentityError
from roughfed.server.members.authority import Authority

from .federation import Cluster
from .peer import Peer
from .peer import enrol as enrol_peer
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


@pytest.mark.alone
def test_newcomers_enrol_under_silent_calls(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2) as cluster:
        ports = cluster.start_server().ready()
        lines = {f"n{i}": cluster.invite(f"n{i}") for i in range(10)}
        took = list[float]()
        with silent_calls(f"127.0.0.1:{ports.enrolment}", (cluster.place.ca / "ca.pem").read_bytes()):
            for name, line in lines.items():
                (tmp_path / name).mkdir()
                began = time.monotonic()
                asyncio.run(agent.join(tmp_path / name, join_line.parse(line), policy="updates"))
                took.append(time.monotonic() - began)
        print(f"an enrolment took {sorted(took)[len(took) // 2]:.2f} s, at most {max(took):.2f} s")
        assert max(took) < ANSWER_S


def test_a_member_renews_over_the_federation_port(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2) as cluster:
        cluster.start_server().ready()
        papers = enrol_peer(cluster, "x0")
        own = papers.folder
        nowhere = {"address": "127.0.0.1:1"}
        assert asyncio.run(enrol.renew(own, **nowhere, force=True))
        assert asyncio.run(enrol.renew(own, **nowhere, new_key=True))
        renewed = credential_files.load(own)
        assert renewed.tls_key != papers.tls_key
        with Peer(cluster.address, renewed) as peer:
            peer.join()
        cluster.control(op="revoke", name="x0")
        Authority.open(cluster.place.ca).revoke("x0", now=datetime.now(UTC))
        with pytest.raises(IdentityError) as refused:
            asyncio.run(enrol.renew(own, **nowhere, force=True))
        assert refused.value.reason == "revoked"


def test_a_stranger_renews_nothing_there(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2) as cluster:
        cluster.start_server().ready()
        papers = enrol_peer(cluster, "x0")
        with Peer(cluster.address, papers, anonymous=True) as stranger:
            assert stranger.other("/roughfed.v1.Enrolment/Renew", b"")[0] == "UNAVAILABLE"
        with Peer(cluster.address, papers) as member:
            assert member.other("/roughfed.v1.Enrolment/Renew", b"")[0] == "PERMISSION_DENIED"
            assert member.other("/roughfed.v1.Enrolment/Enroll", b"")[0] == "UNIMPLEMENTED"


def test_where_the_federation_port_renews_nothing_the_enrolment_port_does(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2) as cluster:
        cluster.start_server().ready()
        papers = enrol_peer(cluster, "x0")
        assert asyncio.run(enrol.renew(papers.folder, server="127.0.0.1:1", force=True))
