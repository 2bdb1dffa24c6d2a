"""A server on a folder without gRPC, and clients that are functions: what the tests of rounds and runs play with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from roughfed.config.federation import Defence, FederationConfig, Model, Privacy, RoundSettings
from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import RoughfedError
from roughfed.messages import EvaluationReport, Hello, JobUpdate, RoundClosed
from roughfed.params import place_durably, read_flat, write_model
from roughfed.server.context.server import ServerContext
from roughfed.server.members.sessions import ClientSession
from roughfed.server.model.trainer_interface import TrainerInterface
from roughfed.server.round.engine import run_round
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.run import run_rounds
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation, Job, Receipt, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement
from tests.server_context import context

T = TypeVar("T")

SPEC = Spec((TensorSpec("w", (500,)),))
NAMES = ("alpha", "beta", "gamma")
KEYS = {name: IdentityKey.from_private_bytes(bytes([i]) * 32) for i, name in enumerate((*NAMES, "server"))}
DELTAS = {name: np.full(SPEC.size, i + 1.0, dtype="<f4") for i, name in enumerate(NAMES)}
"""The same in every round; their mean is 2."""


class Rig:
    """A server on a folder, and its clients."""

    def __init__(
        self,
        folder: Path,
        executor: ThreadPoolExecutor,
        *,
        worker: TrainerInterface | None = None,
        num_classes: int = 0,
        model: Mapping[str, Any] | None = None,
        defence: Mapping[str, Any] | None = None,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        """`model`, `defence` and `settings` are of [model], [defence] and [round], `tables` are others by name."""
        self.store = Store(folder)
        config = FederationConfig(
            round=RoundSettings(**({"quorum": 2, "deadline": 20.0} | settings)),
            model=Model(**(model or {})),
            privacy=Privacy(server_sees="updates"),
            defence=Defence(**(defence or {})),
            **{name: dict(values) for name, values in (tables or {}).items()},  # pyright: ignore[reportArgumentType]
        )
        server = KEYS["server"]
        self.ctx = context(config, self.store, server, executor, SPEC, worker=worker, num_classes=num_classes)
        self.events = RoundEvents(self.ctx)
        self.closed: dict[str, RoundClosed] = {}
        self.jobs: list[tuple[str, Job]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def create(self) -> None:
        """Journal the run and a model of zeros."""
        path = self.store.folder / "models" / "first.safetensors"
        digest = write_model(path, SPEC, [np.zeros(SPEC.size, dtype=np.float32)])
        place_durably(path, self.store.model_path(digest))
        await self.store.create_run("run-1", SPEC, digest, 1.0)

    async def play(self, behave: Mapping[str, str], order: Sequence[str] = NAMES) -> RoundRow:
        """One round."""
        return await self._among_clients(run_round, behave, order)

    async def run(self, behave: Mapping[str, str]) -> str:
        """The whole run."""
        return await self._among_clients(lambda ctx: run_rounds(ctx, self.events), behave, NAMES)

    async def _among_clients(
        self, engine: Callable[[ServerContext], Awaitable[T]], behave: Mapping[str, str], order: Sequence[str]
    ) -> T:
        for name in order:
            session = ClientSession(
                name, KEYS[name].public_key, content_digest(name.encode()), Hello("1", 1, b"", b"", ("identity",), "")
            )
            self.ctx.clients.join(session)
            self.tasks.append(asyncio.create_task(self._client(session, behave.get(name, "honest"))))
        try:
            result = await engine(self.ctx)
            for session in self.ctx.clients.all():
                session.close("done")
            await asyncio.gather(*self.tasks)
            return result
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.store.close()

    async def _client(self, session: ClientSession, behaviour: str) -> None:
        while (message := await session.queue.get()) is not None:
            if isinstance(message, RoundClosed):
                self.closed[session.name] = message
            elif isinstance(message, Job):
                self.jobs.append((session.name, message))
                await self._work(session, message, behaviour)

    async def _work(self, session: ClientSession, job: Job, behaviour: str) -> None:
        if not job.train:
            header = decode_header(job.header.body)
            self.events.on_message(
                session, EvaluationReport(header.round, Evaluation(header.model_digest, 10, 5.0, (6, 4), (3, 2)))
            )
            return
        match behaviour:
            case "honest":
                await self._upload(session.name, job.header, DELTAS[session.name])
            case "poison":
                await self._upload(session.name, job.header, np.full(SPEC.size, np.nan, dtype="<f4"))
            case "absurd":
                await self._upload(session.name, job.header, np.full(SPEC.size, 1e30, dtype="<f4"))
            case "fails":
                failed = JobUpdate(decode_header(job.header.body).round, "failed", "user-code")
                self.events.on_message(session, failed)
            case "leaves":
                self.ctx.clients.leave(session)
                session.close("left")

    async def _upload(self, name: str, header: Signed, delta: np.ndarray) -> None:
        data, number = delta.tobytes(), decode_header(header.body).round
        statement = UpdateStatement("run-1", number, name, header.digest, content_digest(data), len(data), 10)
        body = encode_statement(statement)
        try:
            upload = await self.ctx.intake.begin(name, Signed(body, KEYS[name].sign(UPDATE_DOMAIN, body), ""))
            if isinstance(upload, Receipt):
                return
            for at in range(upload.position, len(data), 400):
                await self.ctx.intake.write(name, upload, offset=at, data=memoryview(data)[at : at + 400])
            await self.ctx.intake.finish(name, upload)
        except RoughfedError:
            return  # refused or late; the round says so


def scene(folder: Path, behave: Mapping[str, str] | None = None, **options: Any) -> tuple[RoundRow, Rig]:
    """One round on a folder, the run made first if need be."""
    return _scene(folder, lambda rig: rig.play(behave or {}), **options)


def whole_run(folder: Path, behave: Mapping[str, str] | None = None, **options: Any) -> tuple[str, Rig]:
    """A whole run on a folder, or the rest of it."""
    return _scene(folder, lambda rig: rig.run(behave or {}), **options)


def _scene(folder: Path, do: Callable[[Rig], Awaitable[T]], **options: Any) -> tuple[T, Rig]:
    async def scenario() -> tuple[T, Rig]:
        with ThreadPoolExecutor(2) as executor:
            rig = Rig(folder, executor, **options)
            if rig.store.run() is None:
                await rig.create()
            return await do(rig), rig

    return asyncio.run(scenario())


def newest(folder: Path) -> tuple[int, np.ndarray]:
    """(version, parameters) of the newest model; the file's digest is the journal's."""
    store = Store(folder)
    version, digest = store.latest_model()
    flat = read_flat(store.model_path(digest))
    assert content_digest(flat.tobytes()) == digest
    store.close()
    return version, flat
