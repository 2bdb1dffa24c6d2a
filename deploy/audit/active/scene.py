"""A federation that an attack is played in: the CA, the server that cheats, members that collude, and real agents.

The CA is here because somebody has to enrol the clients; the server gets its certificate and roster entry of it, and
nothing else. Clients enrol by a join line and keep the settings that a client has by default.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import grpc
import numpy as np

from roughfed.client import runner
from roughfed.client.members.credential_files import Credentials
from roughfed.client.setup import Setup
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy import agent
from roughfed.deploy.audit.active.member import Colluder
from roughfed.deploy.audit.active.server import ActiveServer, Flat
from roughfed.deploy.audit.active.trainer import EPOCH, NUM_CLASSES, SPEC, DigitsTrainer, Learning, part_of, update_of
from roughfed.server.members.authority import Authority
from roughfed.server.members.server_credentials import from_authority
from roughfed.server.transport import enrolment

VICTIM = "a-victim"
FEDERATION = "audited"


class AttackedClient(Protocol):
    """An agent, in this process or one of its own."""

    async def ended(self) -> str:
        """Wait until it ends; why."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


Start = Callable[[Path, int, Learning, JoinLine], AttackedClient]
"""Folder, index, learning, join line -> the client, started."""


class Inside:
    """A real agent in this process, over a real connection."""

    def __init__(self, folder: Path, index: int, learning: Learning, line: JoinLine) -> None:
        """Enrol and run."""
        self._stop = asyncio.Event()
        self._task = asyncio.ensure_future(self._live(folder, DigitsTrainer(index, learning, truth_of(folder)), line))

    async def _live(self, folder: Path, trainer: DigitsTrainer, line: JoinLine) -> str:
        await enrol(folder, line)
        place = agent.ClientFiles(folder)
        setup = Setup(agent.load(folder, {}), place.state, place.papers, trainer)
        return await runner.run(setup, stopped=self._stop)

    async def ended(self) -> str:
        """Wait until it ends; why."""
        await asyncio.wait({self._task})
        if (error := self._task.exception()) is not None:
            return str(error)
        return self._task.result()

    async def stop(self) -> None:
        """End it."""
        self._stop.set()
        await self.ended()


async def enrol(folder: Path, line: JoinLine) -> Credentials:
    """Make a directory a member's."""
    return await agent.join(folder, line, policy=agent.policy_of(folder))


def truth_of(folder: Path) -> Path:
    """Where a client's trainer keeps what its updates truly were."""
    return folder / "truth"


@dataclass
class AttackScene:
    """What an attack is given.

    Attributes:
        server: the one that cheats.
        clients: names of the honest ones; the first is attacked.
        members: who colludes.
        folder: of everything.
        learning: of the clients.
    """

    server: ActiveServer
    clients: Sequence[str]
    members: Sequence[Colluder]
    folder: Path
    learning: Learning

    @property
    def others(self) -> list[str]:
        """The honest ones but the victim."""
        return [name for name in self.clients if name != VICTIM]

    def truth(self, name: str) -> Flat | None:
        """A client's last true update; None before its first. Models of one scene hardly differ."""
        files = list(truth_of(self.folder / name).iterdir())
        newest = max(files, key=lambda path: int(path.name), default=None)
        return None if newest is None else np.frombuffer(newest.read_bytes(), dtype=np.float32)

    def usual_norm(self) -> float:
        """Norm of an update, as whoever attacks finds it on images of its own."""
        own = part_of(1_000, self.learning)
        return float(np.linalg.norm(update_of(model(), own, self.learning, 0)))


def model(step: int = 0, stride: float = 0.0) -> Flat:
    """Fresh parameters, moved: float32 [D].

    Args:
        step: how often.
        stride: how far each time, L2; all biases of the classes together, which no training notices: a softmax stays as
            it is. 0: by one unit in the last place of one parameter.
    """
    params = np.zeros(SPEC.size, dtype=np.float32)
    params[0] = np.float32(1.0)
    params[-NUM_CLASSES:] = np.float32(step * stride / NUM_CLASSES**0.5)
    for _ in range(0 if stride else step):
        params[0] = np.nextafter(params[0], np.float32(2.0))
    return params


@asynccontextmanager
async def scene(
    folder: Path, *, honest: int, colluders: int = 0, learning: Learning = EPOCH, start: Start = Inside
) -> AsyncGenerator[AttackScene]:
    """Enrol everybody, and start the clients.

    Args:
        folder: of everything; empty.
        honest: clients, the victim among them.
        colluders: members that the server plays itself.
        learning: of the clients.
        start: starts one.
    """
    authority = Authority.create(folder / "ca", FEDERATION, now=datetime.now(UTC))
    papers = await from_authority(authority, folder / "server", "server")()
    server = ActiveServer(papers, SPEC)
    port = await server.listen()
    service = enrolment.EnrolmentService(authority, f"127.0.0.1:{port}", enrolment.default_limit())
    credentials = grpc.ssl_server_credentials([(papers.tls_key, papers.certificate)])
    door, enrol_port = await enrolment.serve(service, "127.0.0.1:0", credentials=credentials)

    def line(name: str) -> JoinLine:
        secret = authority.invite(name, now=datetime.now(UTC))
        return JoinLine("127.0.0.1", enrol_port, secret, authority.fingerprint, "sketches")

    names = [VICTIM, *(f"honest-{number}" for number in range(1, honest))]
    members = [Colluder(await enrol(folder / f"x-{n}", line(f"x-{n}"))) for n in range(1, colluders + 1)]
    clients: dict[str, AttackedClient] = {}
    watching: list[asyncio.Task[None]] = []
    try:
        for index, name in enumerate(names):
            place = folder / name
            place.mkdir()
            (place / "client.toml").write_text("[http]\nenabled = false\n")
            clients[name] = start(place, index, learning, line(name))
            watching.append(asyncio.create_task(_watch(server, name, clients[name])))
        await server.joined(names)
        server.listed = authority.member_list(now=datetime.now(UTC))
        yield AttackScene(server, names, members, folder, learning)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*(client.stop() for client in clients.values()), return_exceptions=True)
        await asyncio.gather(*watching, return_exceptions=True)
        await server.close()
        await door.stop(0.2)


async def _watch(server: ActiveServer, name: str, client: AttackedClient) -> None:
    server.gone(name, await client.ended())
