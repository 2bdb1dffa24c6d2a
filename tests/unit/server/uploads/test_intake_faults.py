"""Uploads when things go wrong around them: a second connection, a disk that refuses, a caller that hangs up."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import RoughfedError, StaleRound, StorageError
from roughfed.server.storage.store import ReceivedUpdate, Store
from roughfed.server.uploads import intake as intake_module
from roughfed.server.uploads.intake import Intake
from roughfed.server.uploads.payload import OpenRound
from roughfed.server.uploads.spool import update_name
from roughfed.types import Receipt, Signed, UpdateStatement
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement

SIZE, RUN = 1000, "run-1"
SERVER, ALPHA = (IdentityKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
DATA = np.arange(SIZE, dtype="<f4").tobytes()
OPEN = OpenRound(RUN, 3, bytes(32), len(DATA), {"alpha": ALPHA.public_key})


class Heard:
    """Who would wake the round engine."""

    def __init__(self) -> None:
        self.updates: list[str] = []

    def received(self, update: ReceivedUpdate) -> None:
        self.updates.append(update.receipt.client)

    def refused(self, client: str, error: RoughfedError) -> None:
        raise AssertionError(f"{client} must not be refused: {error}")


@contextmanager
def server(folder: Path) -> Iterator[tuple[Intake, Heard, Store]]:
    store, heard = Store(folder), Heard()
    with ThreadPoolExecutor(2) as executor:
        intake = Intake(store, SERVER, executor, heard)
        intake.open_round(OPEN)
        yield intake, heard, store
        store.close()


def signed() -> Signed:
    body = encode_statement(UpdateStatement(RUN, 3, "alpha", bytes(32), content_digest(DATA), len(DATA), 10))
    return Signed(body, ALPHA.sign(UPDATE_DOMAIN, body), "")


async def begin(intake: Intake) -> intake_module.Upload:
    upload = await intake.begin("alpha", signed())
    assert not isinstance(upload, Receipt)
    return upload


async def send(intake: Intake, piece: int = 400) -> Receipt:
    upload = await begin(intake)
    for at in range(upload.position, len(DATA), piece):
        await intake.write("alpha", upload, offset=at, data=memoryview(DATA)[at : at + piece])
    return await intake.finish("alpha", upload)


def spooled(intake: Intake) -> bytes:
    return intake.spool_path(RUN, 3, "alpha").read_bytes()


async def gathered(work: Awaitable[Receipt]) -> Receipt | BaseException:
    return (await asyncio.gather(work, return_exceptions=True))[0]


@asynccontextmanager
async def slow_disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """pwrite waits until it is let go; yields a function that returns when somebody is inside it."""
    inside, go, write = threading.Event(), threading.Event(), os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if not go.is_set():
            inside.set()
            go.wait(10)
        return write(fd, data, offset)

    async def entered() -> None:
        await asyncio.to_thread(inside.wait, 10)
        asyncio.get_running_loop().call_later(0.05, go.set)

    with monkeypatch.context() as patch:
        patch.setattr(intake_module.os, "pwrite", pwrite)
        yield entered


def test_a_newer_connection_takes_over_and_the_older_one_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(intake: Intake) -> None:
        old = await begin(intake)
        async with slow_disk(monkeypatch) as entered:
            stuck = asyncio.create_task(intake.write("alpha", old, offset=0, data=memoryview(DATA)[:400]))
            await entered()
            new = await begin(intake)  # waits for what is being written, and finds it
        await stuck
        assert new.position == 400
        for step in (
            intake.write("alpha", old, offset=400, data=memoryview(bytes(400))),
            intake.finish("alpha", old),
        ):
            with pytest.raises(StaleRound) as refused:
                await step
            assert refused.value.reason == "superseded"
        intake.detach("alpha", old)  # the old handler ends late: the new upload stays
        await intake.write("alpha", new, offset=400, data=memoryview(DATA)[400:])
        await intake.finish("alpha", new)

    with server(tmp_path) as (intake, heard, _):
        asyncio.run(scenario(intake))
        assert (spooled(intake), heard.updates) == (DATA, ["alpha"])


def test_two_connections_that_both_come_to_the_end_get_one_receipt(tmp_path: Path) -> None:
    async def scenario(intake: Intake) -> None:
        await intake.write("alpha", first := await begin(intake), offset=0, data=memoryview(DATA))
        ending = asyncio.create_task(intake.finish("alpha", first))
        await asyncio.sleep(0)  # it is on its way to the journal by now
        second = await intake.begin("alpha", signed())  # while it is read again the receipt may come
        ended = second if isinstance(second, Receipt) else await intake.finish("alpha", second)
        assert await ending == ended

    with server(tmp_path) as (intake, _, store):
        asyncio.run(scenario(intake))
        assert len(store.receipts(RUN, 3)) == 1


@contextmanager
def held_receipts(store: Store) -> Iterator[tuple[asyncio.Event, threading.Event]]:
    """The journal waits for the door; the event says that a receipt stands before it."""
    asked, door, submit = asyncio.Event(), threading.Event(), store.submit_receipt

    def submit_receipt(update: ReceivedUpdate, now: float) -> asyncio.Future[bool]:
        store.journal.submit(lambda _: door.wait(10))
        asked.set()
        return submit(update, now)

    store.submit_receipt = submit_receipt  # pyright: ignore[reportAttributeAccessIssue]
    yield asked, door
    store.submit_receipt = submit  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_receipt_on_its_way_into_the_journal_counts(tmp_path: Path, hangs_up: bool) -> None:
    async def scenario(intake: Intake, store: Store, heard: Heard) -> None:
        await intake.write("alpha", upload := await begin(intake), offset=0, data=memoryview(DATA))
        with held_receipts(store) as (asked, door):
            ending = asyncio.create_task(intake.finish("alpha", upload))
            await asked.wait()
            if hangs_up:
                ending.cancel()
            intake.close_round()
            asyncio.get_running_loop().call_later(0.02, door.set)
            await store.settle()
        assert list(store.receipts(RUN, 3)) == ["alpha"]  # what the verdicts are made from
        outcome = await gathered(ending)
        assert isinstance(outcome, asyncio.CancelledError if hangs_up else Receipt)
        assert heard.updates == ["alpha"]

    with server(tmp_path) as (intake, heard, store):
        asyncio.run(scenario(intake, store, heard))


def test_an_upload_that_ends_after_the_round_is_late_and_has_no_receipt(tmp_path: Path) -> None:
    async def scenario(intake: Intake, store: Store) -> None:
        upload = await begin(intake)
        writing = asyncio.create_task(intake.write("alpha", upload, offset=0, data=memoryview(DATA)))
        await asyncio.sleep(0)  # it writes and syncs by now
        intake.close_round()
        await gathered(writing)
        outcome = await gathered(asyncio.create_task(intake.finish("alpha", upload)))
        await store.settle()
        assert isinstance(outcome, StaleRound)
        assert outcome.reason == "late"
        assert store.receipts(RUN, 3) == {}

    with server(tmp_path) as (intake, _, store):
        asyncio.run(scenario(intake, store))


@pytest.mark.parametrize(
    ("call", "nth"),
    [("pwrite", 1), ("pwrite", 2), ("pwrite", 3), ("fsync", 1), ("fsync", 2), *(("open", n) for n in range(1, 7))],
)
def test_a_disk_that_refuses_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    real, count = getattr(os, call), 0

    def refusing(*args: object) -> object:
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        if call == "pwrite" and count == nth - 1:  # a disk that fills up first takes a part
            fd, data, offset = args
            return real(fd, data[:8], offset)  # pyright: ignore[reportIndexIssue]
        return real(*args)

    with server(tmp_path) as (intake, heard, store):
        with monkeypatch.context() as patch:
            patch.setattr(intake_module.os, call, refusing)
            outcome = asyncio.run(gathered(send(intake)))
        assert isinstance(outcome, StorageError)
        assert store.receipts(RUN, 3) == {}
        asyncio.run(send(intake))
        assert (spooled(intake), heard.updates) == (DATA, ["alpha"])


def test_bytes_that_could_not_be_synced_have_to_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reports a failed write-back once: the next fsync of the same pages succeeds, and they may be lost."""

    def refusing(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with server(tmp_path) as (intake, heard, store):
        with monkeypatch.context() as patch:
            patch.setattr(intake_module.os, "fsync", refusing)
            assert isinstance(asyncio.run(gathered(send(intake))), StorageError)
        at, receipt = asyncio.run(intake.status("alpha", RUN, 3, content_digest(DATA)))
        assert (at, receipt, store.receipts(RUN, 3)) == (0, None, {})
        asyncio.run(send(intake))
        assert (spooled(intake), heard.updates) == (DATA, ["alpha"])


def test_a_file_that_vanishes_under_an_upload_does_not_come_back_with_a_hole(tmp_path: Path) -> None:
    async def scenario(intake: Intake) -> None:
        upload, data = await begin(intake), memoryview(DATA)
        await intake.write("alpha", upload, offset=0, data=data[:400])
        intake.spool_path(RUN, 3, "alpha").unlink()
        with pytest.raises(StorageError):
            await intake.write("alpha", upload, offset=400, data=data[400:])

    with server(tmp_path) as (intake, heard, store):
        asyncio.run(scenario(intake))
        assert (store.receipts(RUN, 3), heard.updates) == ({}, [])


@given(run=st.text(max_size=30), number=st.integers(0, 2**64), client=st.text(max_size=70))
def test_names_from_the_wire_never_form_a_path(run: str, number: int, client: str) -> None:
    class Folder:
        folder = Path("/state")

    intake = Intake(Folder(), SERVER, ThreadPoolExecutor(1), Heard())  # pyright: ignore[reportArgumentType]
    path = intake.spool_path(run, number, client)
    assert path.parent == Path("/state/spool")
    assert len(path.stem) == 64
    assert set(path.stem) <= set("0123456789abcdef")


def test_spool_files_of_a_round_that_is_over_are_deleted(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, _, _):
        asyncio.run(send(intake))
        intake.close_round()
        intake.discard(RUN, 3, ["alpha", "somebody who never came"])
        assert list((tmp_path / "spool").iterdir()) == []


def test_a_part_that_a_power_cut_damaged_is_sent_anew(tmp_path: Path) -> None:
    async def play() -> None:
        with server(tmp_path) as (intake, heard, store):
            upload = await begin(intake)
            await intake.write("alpha", upload, offset=0, data=memoryview(DATA)[:400])
            intake.detach("alpha", upload)
            path = intake.spool_path(RUN, 3, "alpha")
            path.write_bytes(bytes(400))  # what was written and not synced comes back as zeroes

            with pytest.raises(StorageError, match="damaged"):
                await send(intake)
            assert store.refusals(3) == {}, "the client is not to blame"
            await send(intake)

            assert heard.updates == ["alpha"]
            assert spooled(intake) == DATA

    asyncio.run(play())


def test_a_round_that_closes_just_now_waits_for_the_receipt_that_was_promised(tmp_path: Path) -> None:
    """Whoever is next in the loop when `finish` has decided may close the round: it must find the receipt."""

    async def scenario(intake: Intake, store: Store) -> tuple[bool, bool]:
        await intake.write("alpha", upload := await begin(intake), offset=0, data=memoryview(DATA))
        closed = asyncio.Event()
        loop, submit = asyncio.get_running_loop(), store.submit_receipt

        async def close() -> None:
            intake.close_round()
            await store.settle()
            closed.set()

        def submit_receipt(update: ReceivedUpdate, now: float) -> asyncio.Future[bool]:
            loop.call_soon(lambda: asyncio.ensure_future(close()))
            return submit(update, now)

        store.submit_receipt = submit_receipt  # pyright: ignore[reportAttributeAccessIssue]
        outcome = await gathered(intake.finish("alpha", upload))
        await closed.wait()
        return isinstance(outcome, Receipt), "alpha" in store.receipts(RUN, 3)

    with server(tmp_path) as (intake, _, store):
        assert asyncio.run(scenario(intake, store)) == (True, True)


def in_round(number: int) -> tuple[OpenRound, Signed]:
    """A later round, and alpha's statement for it."""
    body = encode_statement(UpdateStatement(RUN, number, "alpha", bytes(32), content_digest(DATA), len(DATA), 10))
    current = OpenRound(RUN, number, bytes(32), len(DATA), {"alpha": ALPHA.public_key})
    return current, Signed(body, ALPHA.sign(UPDATE_DOMAIN, body), "")


async def again(intake: Intake, number: int) -> intake_module.Upload:
    """Begin in a later round."""
    current, what = in_round(number)
    intake.open_round(current)
    upload = await intake.begin("alpha", what)
    assert not isinstance(upload, Receipt)
    return upload


@pytest.mark.parametrize("behind", [0, 8, 4000])
def test_an_old_file_is_written_over_and_its_bytes_count_for_nothing(tmp_path: Path, behind: int) -> None:
    with server(tmp_path) as (intake, _, _):
        asyncio.run(send(intake))
        inode = intake.spool_path(RUN, 3, "alpha").stat().st_ino
        intake.close_round()
        intake.discard(RUN, 3, ["alpha"])
        (old,) = (tmp_path / "spare").iterdir()
        old.write_bytes(DATA[:8] * 100 + bytes(behind))

        async def part() -> None:
            upload = await again(intake, 4)
            await intake.write("alpha", upload, offset=0, data=memoryview(DATA)[:400])

        asyncio.run(part())
    with server(tmp_path) as (intake, heard, _):  # a restart

        async def rest() -> None:
            upload = await again(intake, 4)
            assert upload.position == 400
            await intake.write("alpha", upload, offset=400, data=memoryview(DATA)[400:])
            await intake.finish("alpha", upload)

        asyncio.run(rest())
        path = intake.spool_path(RUN, 4, "alpha")
        assert (path.read_bytes(), path.stat().st_ino) == (DATA, inode)
        assert heard.updates == ["alpha"]
        intake.forget_spares()
    assert list((tmp_path / "spare").iterdir()) == []


def test_no_more_old_files_are_kept_than_a_round_had_clients(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, _, _):
        for number in range(5):
            (tmp_path / "spool" / update_name(RUN, 3, f"c{number}")).write_bytes(DATA)
        intake.discard(RUN, 3, [f"c{number}" for number in range(3)])
        assert len(list((tmp_path / "spare").iterdir())) == 3
        intake.discard(RUN, 3, [f"c{number}" for number in range(3, 5)])
        assert len(list((tmp_path / "spare").iterdir())) == 2
        assert list((tmp_path / "spool").iterdir()) == []


def test_a_file_that_a_backup_or_a_score_still_holds_is_not_written_over(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, _, _):
        asyncio.run(send(intake))
        (tmp_path / "held").hardlink_to(intake.spool_path(RUN, 3, "alpha"))
        intake.discard(RUN, 3, ["alpha"])

        async def over() -> None:
            upload = await again(intake, 4)
            await intake.write("alpha", upload, offset=0, data=memoryview(DATA[::-1])[:400])

        asyncio.run(over())
        assert (tmp_path / "held").read_bytes() == DATA


def test_a_piece_that_is_late_on_a_slow_disk_never_lands_in_a_later_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(intake: Intake) -> None:
        first = await begin(intake)
        await intake.write("alpha", first, offset=0, data=memoryview(DATA)[:400])
        async with slow_disk(monkeypatch) as entered:
            stuck = asyncio.create_task(intake.write("alpha", first, offset=400, data=memoryview(DATA)[:400]))
            await entered()
            intake.close_round()
            intake.discard(RUN, 3, ["alpha"])
            late = await asyncio.gather(stuck, return_exceptions=True)
        upload = await again(intake, 4)
        assert isinstance(late[0], StorageError)
        assert upload.position == 0
        await intake.write("alpha", upload, offset=0, data=memoryview(DATA))
        assert intake.spool_path(RUN, 4, "alpha").read_bytes() == DATA

    with server(tmp_path) as (intake, _, _):
        asyncio.run(scenario(intake))
        assert not (tmp_path / "spare").exists(), "the file that was being written must not be kept"


@pytest.mark.parametrize("harm", ["a file", "a stray name", "another disk"])
def test_where_no_old_file_can_be_kept_rounds_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    def elsewhere(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "another disk")

    if harm == "a file":
        (tmp_path / "spare").write_bytes(b"")
    elif harm == "a stray name":
        (tmp_path / "spare").mkdir()
        (tmp_path / "spare" / "update-7~").write_bytes(b"")
    else:
        monkeypatch.setattr(Path, "replace", elsewhere)
    with server(tmp_path) as (intake, heard, _):
        asyncio.run(send(intake))
        intake.close_round()
        intake.discard(RUN, 3, ["alpha"])
        assert list((tmp_path / "spool").iterdir()) == []
        assert asyncio.run(again(intake, 4)).position == 0
        assert heard.updates == ["alpha"]


def test_a_second_connection_never_takes_an_acknowledged_update_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the file again while the receipt is journaled and the round closes."""
    reading, go, make = threading.Event(), threading.Event(), intake_module.Upload

    def slowly(*args: object, fresh: bool = False, **named: object) -> intake_module.Upload:
        if not fresh:
            reading.set()
            go.wait(10)
        return make(*args, fresh=fresh, **named)  # pyright: ignore[reportArgumentType]

    async def scenario(intake: Intake) -> None:
        first = await begin(intake)
        await intake.write("alpha", first, offset=0, data=memoryview(DATA)[:400])
        monkeypatch.setattr(intake_module, "Upload", slowly)
        second = asyncio.create_task(intake.begin("alpha", signed()))
        await asyncio.to_thread(reading.wait, 10)
        intake._uploads["alpha"] = first  # it was taken out for the second; its own pieces are all in already
        await asyncio.to_thread(make.write, rest := make(first.path, first.signed, first.statement, threading.Lock()),
                                400, memoryview(DATA)[400:])  # fmt: skip
        intake._uploads["alpha"] = rest
        await intake.finish("alpha", rest)
        intake.close_round()
        go.set()
        with pytest.raises(StaleRound):
            await second
        assert spooled(intake) == DATA

    with server(tmp_path) as (intake, heard, _):
        asyncio.run(scenario(intake))
        assert heard.updates == ["alpha"]


def test_a_payload_that_is_still_looked_at_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short under a mapping, it would end the process by a signal."""
    looking, go = threading.Event(), threading.Event()

    def look(path: Path, codec: str, num_params: int) -> None:
        looking.set()
        go.wait(10)

    monkeypatch.setattr(intake_module, "examine", look)
    with server(tmp_path) as (intake, _, _), ThreadPoolExecutor(1) as thread:
        upload = asyncio.run(begin(intake))
        asyncio.run(intake.write("alpha", upload, offset=0, data=memoryview(DATA)))
        busy = thread.submit(upload.examine, "topk", 250)
        looking.wait(10)
        intake.close_round()
        intake.discard(RUN, 3, ["alpha"])
        go.set()
        busy.result(10)
    assert not (tmp_path / "spare").exists()
