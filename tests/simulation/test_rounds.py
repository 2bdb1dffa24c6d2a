"""Whole rounds without gRPC, cut at every crash point: the bytes of the next model are always the same."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed import crash
from roughfed.config.federation import FederationConfig, Round
from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import RoughfedError
from roughfed.messages import Hello, JobUpdate, RoundClosed
from roughfed.params import place_durably, read_flat, write_model
from roughfed.server.collect import Collection
from roughfed.server.federation import Federation
from roughfed.server.membership import Session
from roughfed.server.metrics import ServerMetrics
from roughfed.server.round import judge, run_round
from roughfed.server.store import RoundRow, Store
from roughfed.types import Job, Receipt, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.session import decode_header
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement

SPEC = Spec((TensorSpec("w", (500,)),))
NAMES = ("alpha", "beta", "gamma")
KEYS = {name: IdentityKey.from_private_bytes(bytes([i]) * 32) for i, name in enumerate((*NAMES, "server"))}
DELTAS = {name: np.full(SPEC.size, i + 1.0, dtype="<f4") for i, name in enumerate(NAMES)}


class Killed(BaseException):
    """What a kill -9 is to the code: nothing catches it."""


class Rig:
    """A server on a folder, and clients that are functions."""

    def __init__(self, folder: Path, executor: ThreadPoolExecutor, **settings: Any) -> None:
        self.store = Store(folder)
        config = FederationConfig(round=Round(**({"quorum": 2, "deadline": 20.0} | settings)))
        server = KEYS["server"]
        self.fed = Federation(config, self.store, server, "server", b"", ServerMetrics(), executor, "run-1", SPEC)
        self.closed: dict[str, RoundClosed] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def create(self) -> None:
        path = self.store.folder / "models" / "first.safetensors"
        digest = write_model(path, SPEC, [np.zeros(SPEC.size, dtype=np.float32)])
        place_durably(path, self.store.model_path(digest))
        await self.store.create_run("run-1", SPEC, digest, 1.0)

    async def play(self, behave: dict[str, str], order: Sequence[str] = NAMES) -> RoundRow:
        for name in order:
            session = Session(
                name, KEYS[name].public_key, content_digest(name.encode()), Hello("1", 1, b"", b"", (), "")
            )
            self.fed.members.join(session)
            self.tasks.append(asyncio.create_task(self.client(session, behave.get(name, "honest"))))
        try:
            row = await run_round(self.fed)
            for session in self.fed.members.all():
                session.close("done")
            await asyncio.gather(*self.tasks)
            return row
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.store.close()

    async def client(self, session: Session, behaviour: str) -> None:
        while (message := await session.queue.get()) is not None:
            if isinstance(message, RoundClosed):
                self.closed[session.name] = message
            elif isinstance(message, Job):
                await self.work(session, message, behaviour)

    async def work(self, session: Session, job: Job, behaviour: str) -> None:
        match behaviour:
            case "honest":
                await self.upload(session.name, job.header, DELTAS[session.name])
            case "poison":
                await self.upload(session.name, job.header, np.full(SPEC.size, np.nan, dtype="<f4"))
            case "fails":
                self.fed.job_update(session, JobUpdate(decode_header(job.header.body).round, "failed", "user-code"))
            case "leaves":
                self.fed.members.leave(session)
                session.close("left")

    async def upload(self, name: str, header: Signed, delta: np.ndarray) -> None:
        data, number = delta.tobytes(), decode_header(header.body).round
        statement = UpdateStatement("run-1", number, name, header.digest, content_digest(data), len(data), 10)
        body = encode_statement(statement)
        try:
            upload = await self.fed.intake.begin(name, Signed(body, KEYS[name].sign(UPDATE_DOMAIN, body), ""))
            if isinstance(upload, Receipt):
                return
            for at in range(upload.position, len(data), 400):
                await self.fed.intake.write(name, upload, offset=at, data=memoryview(data)[at : at + 400])
            await self.fed.intake.finish(name, upload)
        except RoughfedError:
            return  # refused or late; the round says so


def scene(folder: Path, behave: dict[str, str] | None = None, **settings: Any) -> tuple[RoundRow, Rig]:
    async def scenario() -> tuple[RoundRow, Rig]:
        with ThreadPoolExecutor(2) as executor:
            rig = Rig(folder, executor, **settings)
            if rig.store.run() is None:
                await rig.create()
            return await rig.play(behave or {}), rig

    return asyncio.run(scenario())


def newest(folder: Path) -> tuple[int, np.ndarray]:
    store = Store(folder)
    version, digest = store.latest_model()
    flat = read_flat(store.model_path(digest))
    assert content_digest(flat.tobytes()) == digest
    store.close()
    return version, flat


def test_an_honest_round_is_the_mean_and_everybody_hears_of_it(tmp_path: Path) -> None:
    row, rig = scene(tmp_path)
    assert row.outcome == "committed"
    assert row.sets == dict.fromkeys(NAMES, "")
    version, flat = newest(tmp_path)
    assert version == 1
    np.testing.assert_array_equal(flat, np.full(SPEC.size, 2.0))
    assert {name: closed.verdict for name, closed in rig.closed.items()} == dict.fromkeys(NAMES, "accepted")
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "reason", "verdict"),
    [("poison", "not-finite", "excluded"), ("fails", "client-failed: user-code", "excluded"), ("leaves", "gone", None)],
)
def test_one_that_does_not_contribute_is_named_and_the_others_count(
    tmp_path: Path, behaviour: str, reason: str, verdict: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Collection.lost.__kwdefaults__, "grace", 0.05)  # a lost client is not waited for long
    row, rig = scene(tmp_path, {"beta": behaviour})
    assert row.sets == {"alpha": "", "beta": reason, "gamma": ""}
    np.testing.assert_array_equal(newest(tmp_path)[1], np.full(SPEC.size, 2.0))  # the mean of 1 and 3
    assert (closed.verdict if (closed := rig.closed.get("beta")) else None) == verdict


def test_below_the_quorum_nothing_is_averaged(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"beta": "poison", "gamma": "fails"})
    assert row.outcome == "abandoned"
    assert newest(tmp_path)[0] == 0
    assert rig.closed["alpha"].outcome == "abandoned"


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"gamma": "silent"}, deadline=0.3)
    assert row.sets == {"alpha": "", "beta": "", "gamma": "late"}
    assert rig.closed["gamma"].verdict == "late"


SERVER_POINTS = [
    "round-opened", "jobs-sent", "upload-started", "upload-partial", "upload-complete", "receipt-journaled",
    "sets-journaled", "model-written", "committed", "announced",
]  # fmt: skip


@pytest.mark.parametrize("point", SERVER_POINTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_round_cut_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    scene(undisturbed := tmp_path / "undisturbed")
    passed: list[str] = []

    def kill(name: str) -> None:
        passed.append(name)
        if passed.count(point) >= nth:
            for task in asyncio.all_tasks():  # the whole process ends, not only who came by
                task.cancel()
            raise Killed(name)

    with monkeypatch.context() as patch, suppress(Killed, asyncio.CancelledError):
        patch.setattr(crash, "point", kill)
        scene(tmp_path)
    assert passed.count(point) >= nth or nth > passed_by_one_round(point)
    store = Store(tmp_path)
    if (last := store.last_round()) is not None and last.outcome is None:
        store.close()
        row, _ = scene(tmp_path)
        assert (row.round, row.sets) == (1, dict.fromkeys(NAMES, ""))
    store.close()
    version, flat = newest(tmp_path)
    assert version == 1
    np.testing.assert_array_equal(flat, newest(undisturbed)[1])


def passed_by_one_round(point: str) -> int:
    """How often the server comes by: once, or for each client and chunk."""
    return {"upload-partial": 15, "upload-started": 3, "upload-complete": 3, "receipt-journaled": 3}.get(point, 1)


def test_a_receipt_that_the_engine_has_not_heard_of_counts(tmp_path: Path) -> None:
    """The journal decides: its client was told that the update counts."""

    async def scenario() -> dict[str, str] | None:
        with ThreadPoolExecutor(2) as executor:
            rig = Rig(tmp_path, executor)
            await rig.create()
            row = await rig.play({})
            rig.store = rig.fed.store = Store(tmp_path)
            assert rig.fed.collection is None
            rig.fed.collection = Collection(frozenset(NAMES), 3, 2, 0.0, received={"alpha"})
            judged = await judge(rig.fed, row)
            rig.store.close()
            return judged.sets

    assert asyncio.run(scenario()) == dict.fromkeys(NAMES, "")
