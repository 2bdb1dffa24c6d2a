"""`python -m roughfed.deploy.speed.masked_uploaders`: one process of many agents that upload when they are told to.

Each is a whole agent (`roughfed.client.app.Agent`) with its own certificate, connection, store and machine of a round:
keys, shares, codes and masks are made before the word to go, sketches and unmasking follow after the uploads.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from roughfed.client.app import Agent
from roughfed.client.connection.rpc import Connection
from roughfed.client.members.credential_files import Credentials
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.config import ClientConfig
from roughfed.config.load import build
from roughfed.config.schema import keys_of
from roughfed.config.sources import from_flags
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.simulate.seeded import Passport
from roughfed.deploy.speed.crowd import READY, ClientTicket, read_tickets
from roughfed.deploy.synthetic import SyntheticTrainer
from roughfed.types import Receipt, Signed


class UploadBarrier:
    """Holds uploads back until all of them could begin.

    Attributes:
        ready: set when everybody stands before it.
        go: set when they may begin.
        seconds: of each upload, from the word to go to its receipt.
    """

    def __init__(self, expected: int) -> None:
        """Nobody is here."""
        self.ready, self.go = asyncio.Event(), asyncio.Event()
        self.seconds: list[float] = []
        self._missing = expected

    async def pass_through(self) -> None:
        """Wait for the word."""
        self._missing -= 1
        if not self._missing:
            self.ready.set()
        await self.go.wait()


class Held(Connection):
    """An agent's connection, whose upload waits at the gate."""

    gate: UploadBarrier

    async def put_update(
        self, signed: Signed, path: Path, *, at: int, on_bytes: Callable[[int], None]
    ) -> tuple[Receipt, bytes]:
        """As of `Connection.put_update`."""
        await self.gate.pass_through()
        began = time.perf_counter()
        done = await super().put_update(signed, path, at=at, on_bytes=on_bytes)
        self.gate.seconds.append(time.perf_counter() - began)
        return done


async def take_part(ticket: ClientTicket, port: int, gate: UploadBarrier, *, params: int, folder: Path) -> None:
    """Be one client, to the end of the run."""
    keys = (ticket.tls_key.encode(), ticket.certificate.encode(), ticket.ca_certificate.encode())
    identity = IdentityKey.from_private_bytes(bytes.fromhex(ticket.identity))
    address = f"127.0.0.1:{port}"
    Passport(ticket.name, identity, *keys, bytes.fromhex(ticket.member)).write(folder / "papers", address=address)

    def connection(to: str, papers: Credentials) -> Connection:
        held = Held(to, papers)
        held.gate = gate
        return held

    given = {"client.name": ticket.name, "client.server": address, "http.enabled": "false"}
    given["policy.max_model_bytes"] = str(4 * params)
    config = build(ClientConfig, from_flags(given, keys_of(ClientConfig)))
    trainer, store = SyntheticTrainer(params), ClientStore(folder)
    setup = Setup(config, folder, folder / "papers", trainer, connection=connection)
    agent = Agent(setup, store, await trainer.describe())
    try:
        await agent.run()
    finally:
        await agent.close()
        store.close()


async def main(tickets: Sequence[ClientTicket], port: int, *, params: int, folder: Path) -> None:
    """Come as far as the upload, say so; upload at a line on standard input, and tell the seconds of each."""
    gate = UploadBarrier(len(tickets))
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            (place := folder / ticket.name).mkdir()
            group.create_task(take_part(ticket, port, gate, params=params, folder=place))
        await gate.ready.wait()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        gate.go.set()
    print(json.dumps(gate.seconds), flush=True)


if __name__ == "__main__":
    asyncio.run(
        main(read_tickets(Path(sys.argv[1])), int(sys.argv[2]), params=int(sys.argv[3]), folder=Path(sys.argv[4]))
    )
