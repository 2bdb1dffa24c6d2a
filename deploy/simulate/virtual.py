"""One virtual client: asleep on a session that costs a few objects, awake, as a whole agent, while it has a job."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from roughfed import __version__, file_pool
from roughfed.client.app import Agent
from roughfed.client.local.learning_settings import check_app_settings
from roughfed.client.members import credential_files
from roughfed.client.rules.checks import CODECS
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import ClientConfig
from roughfed.deploy.simulate.complaints import Complaints
from roughfed.deploy.simulate.dropouts import Fate, is_of
from roughfed.deploy.simulate.link import NO_CONTEXT, SimulatedLink
from roughfed.deploy.simulate.pool import Pool, PoolTrainer
from roughfed.deploy.simulate.seeded import Passport, round_secret, training_seed
from roughfed.errors import ConfigError, RoughfedError, TrainerError
from roughfed.messages import (
    PROTOCOL,
    ClientMessage,
    EvaluationReport,
    Finished,
    Hello,
    JobUpdate,
    Reconnect,
    RoundClosed,
    ServerMessage,
    Welcome,
)
from roughfed.server.transport.interceptors import CALLER
from roughfed.server.transport.rpc import FederationService
from roughfed.types import Job
from roughfed.wire.session import decode_server_message, encode_client_message

log = logging.getLogger(__name__)

AGAIN_S = 0.05
"""Before a session that broke is opened anew."""


@dataclass(frozen=True, slots=True)
class World:
    """What all virtual clients of a simulation share.

    Attributes:
        service: the server's.
        pool: who trains.
        config: client.toml of them all, without a name.
        folder: each has a folder in it, from its first job on.
        seed: of everything.
        complaints: hear of clients that fail.
        device: where the pool trains, for the server's list.
        fate: who is lost, and when; None = nobody.
    """

    service: FederationService
    pool: Pool
    config: ClientConfig
    folder: Path
    seed: int
    complaints: Complaints
    device: str = "cpu"
    fate: Fate | None = None


class Virtual:
    """One client."""

    def __init__(self, world: World, passport: Passport, index: int) -> None:
        """Client number `index`, from 0."""
        self._world, self._passport, self._index = world, passport, index
        self._trainer = PoolTrainer(world.pool, index)
        self._outbox: asyncio.Queue[ClientMessage | None] = asyncio.Queue()
        self._welcome: Welcome | None = None
        self._missed: RoundClosed | None = None
        self._lost_before = ""
        self._lost = False
        self._waking: asyncio.Queue[ServerMessage] | None = None
        self._awake: asyncio.Task[None] | None = None

    async def live(self) -> None:
        """Stay until the run is over."""
        CALLER.set(self._passport.name)  # of this task, and of all that it starts
        try:
            for _ in count():
                if await self._session_of_its_own():
                    return
                if self._lost and self._world.fate is not None:
                    await self._stay_away(self._world.fate)
                else:
                    await asyncio.sleep(AGAIN_S)
        finally:
            if self._awake is not None:
                self._awake.cancel()
                await asyncio.gather(self._awake, return_exceptions=True)

    async def _session_of_its_own(self) -> bool:
        """As of `_one_session`, in a task: the server cancels that of a session which it has closed."""
        session = asyncio.create_task(self._one_session())
        try:
            await asyncio.wait({session})
        finally:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
        return not session.cancelled() and session.result()

    async def _one_session(self) -> bool:
        """Until it ends; whether the run is over."""
        self._outbox = asyncio.Queue()
        self._outbox.put_nowait(Hello(__version__, PROTOCOL, self._passport.member, b"", CODECS, self._world.device))
        try:
            async with aclosing(self._world.service.session(self._outgoing(), NO_CONTEXT)) as stream:
                async for raw in stream:
                    message = decode_server_message(raw)
                    if isinstance(message, Finished):
                        return True
                    if isinstance(message, Reconnect):
                        return False
                    self._hear(message)
        except RoughfedError as error:
            log.warning("%s: %s", self._passport.name, error)
        return False

    async def _outgoing(self) -> AsyncIterator[bytes]:
        while (message := await self._outbox.get()) is not None:
            yield encode_client_message(message)

    def _hear(self, message: ServerMessage) -> None:
        if isinstance(message, Welcome):
            self._welcome = message
        elif self._waking is not None:
            self._waking.put_nowait(message)
        elif isinstance(message, RoundClosed):  # of a round that ended while this client was away
            self._missed = message
        elif isinstance(message, Job):
            self._waking = asyncio.Queue()
            self._waking.put_nowait(message)
            self._awake = asyncio.create_task(self._work(self._waking))

    async def _work(self, inbox: asyncio.Queue[ServerMessage]) -> None:
        """Be an agent until the server says how the round ended."""
        world, name = self._world, self._passport.name
        try:
            description = await self._trainer.describe()
            check_app_settings(world.config, description.settings)
        except (ConfigError, TrainerError) as error:
            world.complaints.broke(name, self._index, error)
            return
        folder = world.folder / name
        papers = folder / "papers"
        if not papers.exists():
            self._passport.write(papers)
        store = ClientStore(folder)
        closed = asyncio.Event()
        self._lost, self._lost_before = False, "" if world.fate is None else world.fate.stage(name)

        def connection(_address: str, own: credential_files.Credentials) -> SimulatedLink:
            heard = self._relay(inbox, closed)
            return SimulatedLink(
                world.service, own, heard, partial(self._say, closed), before_upload=self._before_upload
            )

        config = world.config.model_copy(update={"client": world.config.client.model_copy(update={"name": name})})
        setup = Setup(
            config,
            folder,
            papers,
            self._trainer,
            round_secret(world.seed, name),
            connection=connection,
            training_seed=training_seed(world.seed, name),
        )
        agent = Agent(setup, store, description)
        staying, ended = asyncio.create_task(agent.run()), asyncio.create_task(closed.wait())
        try:
            await asyncio.wait({staying, ended}, return_when=asyncio.FIRST_COMPLETED)
            if staying.done() and not closed.is_set() and (error := staying.exception()) is not None:
                world.complaints.broke(name, self._index, error)
        finally:
            for task in (staying, ended):
                task.cancel()
            await asyncio.gather(staying, ended, return_exceptions=True)
            await agent.close()
            store.close()
            for kept in ("models", file_pool.FOLDER):  # the next round it is asked in may be long after
                shutil.rmtree(folder / kept, ignore_errors=True)
            self._waking = None
            goes_on = not (self._away or world.complaints.broken)
            while goes_on and not inbox.empty():  # the next job may have come before this agent was gone
                self._hear(inbox.get_nowait())

    @property
    def _away(self) -> bool:
        """Whether it is lost together with its session."""
        return self._lost and self._world.fate is not None and not self._world.fate.silent

    def _lose(self) -> None:
        """Say nothing more in this round; where the loss is not silent, the session ends."""
        self._lost = True
        if (fate := self._world.fate) is not None and fate.silent:
            fate.vanished(self._passport.name)
        else:
            self._outbox.put_nowait(None)

    async def _stay_away(self, fate: Fate) -> None:
        """The session broke, and what this client did ends with it; until the round is over."""
        fate.vanished(self._passport.name)
        if self._awake is not None:
            self._awake.cancel()
            await asyncio.gather(self._awake, return_exceptions=True)
        await fate.round_over()
        self._lost = False

    async def _before_upload(self) -> None:
        if self._lost_before == "upload" and not self._lost:
            self._lose()
        if self._lost:
            await asyncio.Event().wait()  # until the agent is ended

    def _say(self, closed: asyncio.Event, message: ClientMessage) -> None:
        if self._lost_before and not self._lost and is_of(message, self._lost_before):
            self._lose()
        if self._lost:
            return
        self._outbox.put_nowait(message)
        if isinstance(message, JobUpdate):
            self._world.complaints.said(self._passport.name, self._index, message)
        if isinstance(message, EvaluationReport):  # of a job that is nothing but an evaluation: no round ends after it
            closed.set()

    async def _relay(self, inbox: asyncio.Queue[ServerMessage], closed: asyncio.Event) -> AsyncIterator[ServerMessage]:
        """What the agent hears: the welcome of the session that is open, then what comes, to the end of its round."""
        if self._welcome is None:
            raise AssertionError("a job before a welcome")
        yield self._welcome
        if (missed := self._missed) is not None:
            self._missed = None
            yield missed
        while True:
            message = await inbox.get()
            yield message
            if isinstance(message, RoundClosed):  # the agent asks for more: it has taken this in
                closed.set()
                await asyncio.Event().wait()  # what comes now is for the next agent
