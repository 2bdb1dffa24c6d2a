"""Transfers wait for their turn: all get through a narrow gate, and revoke reaches who waits."""

import asyncio
import time
from pathlib import Path

import grpc
import pytest

from roughfed.deploy.speed.crowd import ClientTicket, enrol
from roughfed.deploy.speed.uploaders import Uploader
from roughfed.deploy.synthetic import pieces
from roughfed.params import digest_file
from roughfed.server.members.authority import Authority

from .federation import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

CLIENTS = 12


def tickets(cluster: Cluster, count: int) -> list[ClientTicket]:
    authority = Authority.open(cluster.place.ca)
    return [enrol(authority, f"u{i:02d}") for i in range(count)]


def test_twelve_clients_get_through_a_gate_for_two(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=CLIENTS, rounds=1, settings={"server": {"transfers": 2}}) as cluster:
        found = tickets(cluster, CLIENTS)
        port = cluster.start_server().ready().federation
        path = tmp_path / "update"
        path.write_bytes(b"".join(piece.tobytes() for piece in pieces(cluster.params, 1)))

        async def play() -> list[bool]:
            clients = [Uploader(ticket, port) for ticket in found]
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.hold())
                await asyncio.gather(*(client.asked() for client in clients))
                digest = digest_file(path)
                await asyncio.gather(*(client.upload(path, digest, 4 * cluster.params) for client in clients))
            return [client.line.paced for client in clients]

        assert asyncio.run(play()) == [True] * CLIENTS
        assert cluster.server.wait() == 0
        received = cluster.rows("SELECT client FROM receipts ORDER BY client")
        assert [row["client"] for row in received] == [ticket.name for ticket in found]


def test_a_place_frees_itself_and_a_client_that_waits_is_cut_when_it_is_revoked(tmp_path: Path) -> None:
    settings = {"server": {"transfers": 1}, "round": {"quorum": 0.3}}  # else the round ends with who is revoked
    with Cluster(tmp_path, clients=3, rounds=1, settings=settings) as cluster:
        found, statement = tickets(cluster, 3), (bytes(32), 4 * cluster.params)
        port = cluster.start_server().ready().federation

        async def play() -> None:
            clients = [Uploader(ticket, port) for ticket in found]
            holding = [asyncio.create_task(client.hold()) for client in clients]
            await asyncio.gather(*(client.asked() for client in clients))
            silent = clients[0].line.begin(clients[0].signed(*statement))
            await silent.initial_metadata()  # its turn has come, and it says nothing more
            began = time.monotonic()
            second = clients[1].line.begin(clients[1].signed(*statement))
            await second.initial_metadata()
            assert time.monotonic() - began > 0.5  # as long as nothing is known of the first one's rate
            revoked = clients[2].line.begin(clients[2].signed(*statement))
            await asyncio.to_thread(cluster.control, op="revoke", name=found[2].name)
            began = time.monotonic()
            assert await revoked.code() is grpc.StatusCode.PERMISSION_DENIED
            assert time.monotonic() - began < 5.0
            for task in (*holding, silent, second):
                task.cancel()
            await asyncio.gather(*holding, return_exceptions=True)

        asyncio.run(play())
