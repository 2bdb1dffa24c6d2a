"""Step 7: chunks become a spool file and a receipt.

An upload is bound to (run, round, client) and to the digest in its signed statement, which is on disk before the first
byte. It resumes at the number of bytes on disk; other bytes under the same id are refused for ever. The receipt is
journaled after one fsync and before it is sent, so what was acknowledged is never lost, and the journal's primary key
makes it count at most once.

Spool files are written over old ones (docs/decisions/0033-files-written-over.md), so a file's length says nothing: how
many bytes are new stands in the claim beside it, before the statement.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from roughfed import crash
from roughfed.crypto.identity import IdentityKey
from roughfed.digest import Hasher, hasher
from roughfed.errors import Conflict, RemoteProtocolError, RoughfedError, StaleRound, StorageError, TooLarge
from roughfed.files import disk_errors, fsync_folder, write_at
from roughfed.ownership import adopt
from roughfed.server.metrics.stopwatch import Stopwatch
from roughfed.server.storage.store import ReceivedUpdate, Store
from roughfed.server.uploads.admission import (
    Vitals,
    check_alignment,
    check_counts,
    check_said,
    check_statement,
    check_tier,
)
from roughfed.server.uploads.payload import OpenRound, examine
from roughfed.server.uploads.spool import SpareFiles, update_name
from roughfed.tiers import STANDARD
from roughfed.types import Receipt, Signed, UpdateStatement
from roughfed.wire.sizes import statement_round
from roughfed.wire.updates import (
    RECEIPT_DOMAIN,
    decode_signed_update,
    decode_statement,
    encode_signed_update,
    receipt_body,
)

T = TypeVar("T")

POSITION_BYTES = 8
"""At the front of a claim: how many bytes of the spool file are there, little-endian."""

SPOOLING = "spool an update"  # paths of this machine stay on it


class Listener(Protocol):
    """Who is told how uploads go (the round engine)."""

    def received(self, update: ReceivedUpdate) -> None:
        """A receipt is journaled."""
        ...

    def refused(self, client: str, error: RoughfedError) -> None:
        """An update was refused for good."""
        ...


class Upload:
    """One update on its way to disk. Everything that touches the file runs in the executor.

    The file is opened anew for each chunk: a descriptor that one thread closes while another writes could by then be
    another file's. Uploads of the same client share a lock: what an older connection still writes is on disk before
    a newer one hashes what is there, so the bytes that were checked are the bytes that stay.
    """

    def __init__(
        self,
        path: Path,
        signed: Signed,
        statement: UpdateStatement,
        turn: threading.Lock,
        *,
        item_bytes: int = 4,
        fresh: bool = False,
    ) -> None:
        """Hash what is there; of a fresh one nothing is. With items of 4 bytes the values are float32, and looked at.

        Raises:
            StorageError: the disk refused.
        """
        self.path, self.signed, self.statement = path, signed, statement
        self.vitals = Vitals()
        self.closed = False
        self.position = 0
        self._hash: Hasher = hasher()
        self._turn = turn
        self._item = item_bytes
        self._digest: bytes | None = None
        if not fresh and path.exists():  # it may be gone with its round: then nothing is there, and nothing is made
            with turn, self._file(os.O_RDWR) as fd:
                self._replay(fd, _noted_position(path))
        self.resumed = self.position > 0

    @property
    def complete(self) -> bool:
        """All announced bytes are there."""
        return self.position == self.statement.size_bytes

    def write(self, offset: int, data: memoryview) -> None:
        """Append one chunk; all bytes are durable behind the last one.

        Raises:
            RemoteProtocolError: a gap, an overlap, more than announced, or a float cut in two; StaleRound: closed.
            StorageError: the disk refused; the same chunk may come again, but for the last one: then all of them must.
        """
        with self._turn:
            if self.closed:
                raise StaleRound("this upload was closed", reason="superseded")
            if offset != self.position:
                raise RemoteProtocolError(f"chunk at byte {offset}, want {self.position}", reason="offset")
            if offset + len(data) > self.statement.size_bytes:
                raise TooLarge(f"{offset + len(data)} bytes, {self.statement.size_bytes} announced")
            if self._item == 4:
                check_alignment(data)
            # Only the first chunk makes the file: one that vanished under this upload must not come back with a hole.
            with self._file(os.O_RDWR | (0 if offset else os.O_CREAT)) as fd:
                write_at(fd, data, offset)
                self._take(data)
                _note_position(self.path, self.position)
                if self.complete:
                    self._sync(fd)

    @property
    def synced(self) -> bytes | None:
        """Digest of all bytes, once they are durable."""
        return self._digest

    def sync(self) -> bytes:
        """Make all bytes durable, if they are not; returns their digest.

        Raises:
            StorageError: the disk refused.
        """
        if self._digest is None:
            with self._turn, self._file(os.O_RDWR | (0 if self.position else os.O_CREAT)) as fd:
                return self._sync(fd)
        return self._digest

    def _sync(self, fd: int) -> bytes:
        try:
            os.ftruncate(fd, self.statement.size_bytes)  # an older file's end
            os.fsync(fd)
            fsync_folder(self.path.parent)
        except (OSError, StorageError):
            # Linux says it once, and takes the pages for written: the next sync would succeed without them.
            self.closed = True
            self.path.unlink(missing_ok=True)
            raise
        self._digest = self._hash.digest()
        return self._digest

    def examine(self, codec: str, num_params: int) -> Vitals:
        """Look at the values of a payload; the file is not given to another upload meanwhile."""
        with self._turn:
            return examine(self.path, codec, num_params)

    def close(self) -> None:
        """Take no more chunks; the bytes stay."""
        self.closed = True

    @contextmanager
    def _file(self, flags: int) -> Generator[int]:
        with disk_errors(SPOOLING):
            fd = os.open(self.path, flags, 0o600)
            try:
                yield fd
            finally:
                os.close(fd)

    def _take(self, data: memoryview) -> None:
        self._hash.update(data)
        if self._item == 4:
            self.vitals.see(data)
        self.position += len(data)

    def _replay(self, fd: int, noted: int) -> None:
        """Hash what an earlier connection or process left of this update; whole items only."""
        length = min(noted, os.fstat(fd).st_size, self.statement.size_bytes) // self._item * self._item
        while piece := os.pread(fd, min(1 << 20, length - self.position), self.position):
            self._take(memoryview(piece))


class Intake:
    """The uploads of the open round."""

    def __init__(
        self,
        store: Store,
        key: IdentityKey,
        executor: Executor,
        listener: Listener | None = None,
        work: Stopwatch | None = None,
    ) -> None:
        """Nothing is open until `open_round`; `work` notes how long it takes to check and to sign."""
        self._store, self._key, self._executor = store, key, executor
        self.listener = listener
        self._work = work or Stopwatch()
        self._round: OpenRound | None = None
        self._uploads: dict[str, Upload] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._spares = SpareFiles(store.folder)
        self.turned_away: dict[str, str] = {}
        """Whose last try in the open round broke which rule: it may try again, and if it does not, that is why."""

    def open_round(self, current: OpenRound) -> None:
        """Take updates for this round."""
        self._round = current
        self.turned_away.clear()

    def close_round(self) -> None:
        """Refuse what comes from now on as late."""
        self._round = None
        for upload in self._uploads.values():
            upload.close()
        self._uploads.clear()

    @property
    def busy(self) -> bool:
        """Uploads are on their way."""
        return bool(self._uploads)

    def spool_path(self, run: str, number: int, client: str) -> Path:
        """Where an update's bytes lie."""
        return self._store.folder / "spool" / update_name(run, number, client)

    async def status(self, client: str, run: str, number: int, digest: bytes) -> tuple[int, Receipt | None]:
        """Bytes held and, when complete, the receipt.

        Raises:
            StaleRound: the round takes no updates.
            Conflict: other bytes are held, or were received, under this id.
        """
        current = self._current(run, number, client)
        if (receipt := self._known_receipt(current, client, digest)) is not None:
            return receipt.size_bytes, receipt
        path = self.spool_path(run, number, client)
        claim = _read_claim(path)
        if claim is None:
            return 0, None
        if claim.digest != digest:
            raise Conflict("another update of this round is on its way under this id")
        live = self._uploads.get(client)
        if live is not None and not live.closed:
            return live.position, None
        item = current.demand(claim.tier).item_bytes
        return min(_noted_position(path), _size(path)) // item * item, None

    async def begin(self, client: str, signed: Signed) -> Upload | Receipt:
        """Start or resume an upload; a Receipt if it is complete already.

        Raises:
            RemoteProtocolError: the statement is not acceptable; IdentityError: its signature is not the client's.
        """
        current = self._current(*statement_round(signed.body), client)
        statement = current.read_statement(client, signed, work=self._work)
        self._current(statement.run, statement.round, client)  # a field may be there twice
        with self._noted(client):
            asked = current.demand(statement.tier)
            check_tier(statement, current.tier_of.get(client, STANDARD))
            check_statement(
                statement,
                client=client,
                header_digest=current.header_digest,
                size_bytes=asked.size_bytes,
                exact=asked.exact,
            )
            check_counts(statement, masked=current.masked)
            check_said(statement, current.statistics, self_weight=current.self_weight)
        if (receipt := self._known_receipt(current, client, statement.digest)) is not None:
            return receipt
        async with self._locks.setdefault(client, asyncio.Lock()):
            if self._round is not current:
                raise StaleRound(f"round {current.number} closed meanwhile", reason="late")
            path = self.spool_path(current.run, current.number, client)
            if fresh := (claim := _read_claim(path)) is None:
                path.unlink(missing_ok=True)
                self._spares.give(path)
                _write_claim(path, signed)  # before the first byte
                crash.point("upload-started")
            elif claim.digest != statement.digest:
                raise Conflict("another update of this round is on its way under this id")
            if (old := self._uploads.pop(client, None)) is not None:
                old.close()  # a newer connection takes over from one that is half open
            turn = self._turns.setdefault(client, threading.Lock())
            made = partial(Upload, path, signed, statement, turn, item_bytes=asked.item_bytes, fresh=fresh)
            upload = made() if fresh else await self._run(made)
            if self._round is not current:
                upload.close()  # its file stays: a receipt of it may have come meanwhile
                raise StaleRound(f"round {current.number} closed meanwhile", reason="late")
            self._uploads[client] = upload
            return upload

    async def write(self, client: str, upload: Upload, *, offset: int, data: memoryview) -> None:
        """One chunk to disk.

        Raises:
            StaleRound: the round closed meanwhile, or a newer connection took over.
        """
        self._check_live(client, upload)
        await self._run(upload.write, offset, data)
        crash.point("upload-partial")

    async def finish(self, client: str, upload: Upload) -> Receipt:
        """All bytes are here: sync, check, journal, acknowledge.

        Raises:
            RemoteProtocolError: too short, the digest is another, or the values are not acceptable.
        """
        s = upload.statement
        self._check_live(client, upload)
        current = self._current(s.run, s.round, client)
        if not upload.complete:
            with self._noted(client):
                raise RemoteProtocolError(f"{upload.position} bytes of {s.size_bytes}", reason="truncated")
        digest = upload.synced or await self._run(upload.sync)
        self._check_live(client, upload)  # it may have waited for a disk
        crash.point("upload-complete")
        if digest != s.digest and upload.resumed:
            # A power cut may have left zeroes in what was not synced yet: not the client's fault, it may start anew.
            self._drop(client, upload)
            _claim_path(upload.path).unlink(missing_ok=True)
            upload.path.unlink(missing_ok=True)
            raise StorageError("the part that was received earlier is damaged; send all of it again")
        try:
            if digest != s.digest:
                raise RemoteProtocolError("the bytes do not have the announced digest", reason="digest")
            asked = current.demand(s.tier)
            if asked.encoded:
                with self._work.time("decode", asked.codec):
                    upload.vitals = await self._run(upload.examine, asked.codec, asked.num_params)
            upload.vitals.check()
        except RemoteProtocolError as error:
            await self._refuse(client, upload, error)
            raise
        unsigned = Receipt(s.run, s.round, client, digest, s.size_bytes, b"")
        with self._work.time("sign"):
            signature = self._key.sign(RECEIPT_DOMAIN, receipt_body(unsigned))
        receipt = Receipt(s.run, s.round, client, digest, s.size_bytes, signature)
        norm = None if current.masked else upload.vitals.norm
        update = ReceivedUpdate(receipt, s, upload.signed, norm)
        if self._round is None or self._round.number != s.round:
            raise StaleRound(f"round {s.round} closed before this update was complete", reason="late")
        # Nothing may come between the question above and this: whoever closes the round waits for what is handed over.
        journaled = self._store.submit_receipt(update, time.time())
        # Shielded: a caller that hangs up now must not leave a receipt that the round engine never hears of.
        await asyncio.shield(asyncio.create_task(self._acknowledge(client, upload, update, journaled)))
        return receipt

    async def _acknowledge(
        self, client: str, upload: Upload, update: ReceivedUpdate, journaled: asyncio.Future[bool]
    ) -> None:
        new = await journaled
        crash.point("receipt-journaled")
        self._drop(client, upload)
        if new and self.listener is not None:
            self.listener.received(update)

    def discard(self, run: str, number: int, clients: list[str]) -> None:
        """Take the names of spool files of a round that is over; the files are written over in the next one."""
        for client in clients:
            path = self.spool_path(run, number, client)
            _claim_path(path).unlink(missing_ok=True)  # first: without it the file counts for nothing
            turn = self._turns.get(client)
            if turn is not None and not turn.acquire(blocking=False):
                path.unlink(missing_ok=True)  # a disk that still takes a late piece must not put it into another's
                continue
            try:
                self._spares.take(path)
            finally:
                if turn is not None:
                    turn.release()
        self._spares.trim(len(clients))

    def forget_spares(self) -> None:
        """Delete old spool files that are kept to be written over."""
        self._spares.trim(0)

    def detach(self, client: str, upload: Upload) -> None:
        """The connection broke: keep the bytes, free the file."""
        self._drop(client, upload)

    @contextmanager
    def _noted(self, client: str) -> Generator[None]:
        """Note why a try failed that broke a rule."""
        try:
            yield
        except RemoteProtocolError as error:
            self.turned_away[client] = error.reason
            raise

    async def _refuse(self, client: str, upload: Upload, error: RemoteProtocolError) -> None:
        s = upload.statement
        self._drop(client, upload)
        await self._store.add_refusal(s.round, client, digest=s.digest, why=(error.reason, str(error)), now=time.time())
        if self.listener is not None:
            self.listener.refused(client, error)

    def _check_live(self, client: str, upload: Upload) -> None:
        """Raise StaleRound where the round closed meanwhile, or a newer connection took over."""
        if self._uploads.get(client) is not upload:
            raise StaleRound("this upload was closed", reason="late" if self._round is None else "superseded")

    def _drop(self, client: str, upload: Upload) -> None:
        upload.close()
        if self._uploads.get(client) is upload:
            del self._uploads[client]

    def _current(self, run: str, number: int, client: str) -> OpenRound:
        current = self._round
        if current is None or run != current.run or number != current.number:
            late = current is None or number < current.number
            where = f"round {current.number} is open" if current is not None else "no round is open"
            raise StaleRound(f"round {number} takes no updates: {where}", reason="late" if late else "stale")
        if client not in current.members:
            raise StaleRound(f"{client} is not in the cohort of round {number}", reason="not-in-cohort")
        return current

    def _known_receipt(self, current: OpenRound, client: str, digest: bytes) -> Receipt | None:
        refused = self._store.refusals(current.number).get(client)
        if refused is not None:
            raise RemoteProtocolError(f"refused before: {refused[2]}", reason=refused[1])
        known = self._store.receipt(current.run, current.number, client)
        if known is None:
            return None
        if known.receipt.digest != digest:
            raise Conflict("another update of this round was received under this id")
        return known.receipt

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)


def _claim_path(path: Path) -> Path:
    return path.with_suffix(".claim")


def _write_claim(path: Path, signed: Signed) -> None:
    """Into its place at once: half of one, after a crash, reads as none, and no byte of the update is there then."""
    with disk_errors(SPOOLING):
        fd = os.open(_claim_path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            adopt(fd, path.parent)
            write_at(fd, memoryview(_position(0) + encode_signed_update(signed)), 0)
        finally:
            os.close(fd)


def _read_claim(path: Path) -> UpdateStatement | None:
    """The statement that an upload was begun with; None without one, or if a power cut left half of it."""
    try:
        return decode_statement(decode_signed_update(_claim_path(path).read_bytes()[POSITION_BYTES:]).body)
    except (FileNotFoundError, RemoteProtocolError):
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _position(count: int) -> bytes:
    return count.to_bytes(POSITION_BYTES, "little")


def _note_position(path: Path, count: int) -> None:
    """So many bytes of the file are this update's; the others may be an older one's."""
    fd = os.open(_claim_path(path), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        write_at(fd, memoryview(_position(count)), 0)
    finally:
        os.close(fd)


def _noted_position(path: Path) -> int:
    with suppress(FileNotFoundError), _claim_path(path).open("rb") as file:
        return int.from_bytes(file.read(POSITION_BYTES), "little")
    return 0
