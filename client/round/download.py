"""Step 1 of a job: the global parameters, over cut connections, onto a disk that may hold damaged ones."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from roughfed import crash
from roughfed.adapters import Base
from roughfed.client.connection.rpc import Landing
from roughfed.client.context import ClientContext, RoundTask
from roughfed.client.metrics import ClientMetrics
from roughfed.client.round import partial_model
from roughfed.codec import downlink
from roughfed.digest import Hasher, hasher
from roughfed.errors import RemoteProtocolError, Unreachable
from roughfed.file_pool import written_over
from roughfed.files import disk_errors, place_durably
from roughfed.params import digest_file, model_header, raise_variances, read_flat, variance_ranges
from roughfed.transport.patience import waits
from roughfed.types import Spec

log = logging.getLogger(__name__)


async def fetch_model(task: RoundTask) -> Path:
    """Step 1: the global parameters, resumed where an earlier try ended, digest checked."""
    ctx, header, welcome = task.ctx, task.header, task.session.welcome
    if welcome.base is not None:
        await fetch_frozen(ctx, welcome.base)
    path = ctx.store.model_path(header.model_digest)
    if path.exists():
        if await intact(ctx, path, header.model_digest, welcome.spec):
            return path
        log.warning("the stored model %s is damaged; it is downloaded again", path.name)
        path.unlink()
    ctx.enter("downloading", 0.0)
    made = await from_base(task) if task.job.base_digest else None
    if made is None:
        partial = ctx.store.partial_path(header.model_digest)
        made = await whole(ctx, header.model_digest, welcome.spec, partial, spare=ctx.store.spare_model)
    with disk_errors("store the model"):
        made.replace(path)  # no sync: after a power cut its digest is checked before it is used
    ctx.store.intact.add(header.model_digest)
    ctx.store.prune_models(header.model_digest)
    crash.point("model-fetched")
    return path


async def fetch_frozen(ctx: ClientContext, base: Base) -> Path:
    """The frozen base that the run stands on: downloaded once, resumed, its digest checked; it outlasts the run."""
    path = ctx.store.base_path(base.digest)
    if path.exists():
        if await intact(ctx, path, base.digest, base.spec):
            return path
        log.warning("the stored frozen base %s is damaged; it is downloaded again", path.name)
        path.unlink()
    path.parent.mkdir(exist_ok=True, mode=0o700)
    ctx.enter("downloading", 0.0)
    log.info("downloading the frozen base of the model, %d bytes, once", base.spec.size_bytes)
    made = await whole(ctx, base.digest, base.spec, path.with_suffix(".part"))
    await asyncio.to_thread(place_durably, made, path)
    ctx.store.intact.add(base.digest)
    for other in path.parent.iterdir():  # of an earlier run, or half of one
        if other != path:
            other.unlink(missing_ok=True)
    crash.point("base-fetched")
    return path


async def from_base(task: RoundTask) -> Path | None:
    """The parameters made from those that are here and a delta; None if all of them have to be downloaded.

    A whole download that was begun is gone on with: after a delta that did not lead to the header's digest it must be.
    """
    ctx, header, spec, base = task.ctx, task.header, task.session.welcome.spec, task.job.base_digest
    source, partial = ctx.store.model_path(base), ctx.store.partial_path(header.model_digest)
    if partial.exists() or not source.exists() or not await intact(ctx, source, base, spec):
        return None
    delta, made = partial.with_suffix(".delta"), partial.with_suffix(f".{header.round}.made")  # no other job's thread
    try:
        async for _ in tries(ctx):
            try:
                await download_delta(task, into=delta)
            except Unreachable as error:
                log.info("download interrupted: %s", error)
                continue
            break
        with ctx.metrics.codec("int8", "decode"):
            reached = await asyncio.to_thread(step, source, delta, spec=spec, out=made, spare=ctx.store.spare_model)
    except RemoteProtocolError as error:
        log.info("no use of a delta: %s", error)
        reached = b""
    delta.unlink(missing_ok=True)
    if reached == header.model_digest:
        return made
    made.unlink(missing_ok=True)
    log.warning("nothing leads to the header's parameters from those that are here; all of them are downloaded")
    return None


async def download_delta(task: RoundTask, *, into: Path) -> None:
    """One try: append what is missing of the delta.

    Raises:
        Unreachable: the stream broke, or ended early. RemoteProtocolError: reason "no-delta" or "size".
    """
    ctx, size = task.ctx, downlink.payload_bytes(task.session.welcome.spec.size)
    at = _length(into, size)
    if at:
        ctx.metrics.resumed()
    meter = Meter(ctx.metrics, "int8", left=size - at)
    end = await ctx.connection.fetch_model(
        task.header.model_digest, Landing(into), at=at, on_data=meter.count, base=task.job.base_digest
    )
    if end < size:
        raise Unreachable(f"the download ended at byte {end} of {size}")


def step(source: Path, delta: Path, *, spec: Spec, out: Path, spare: Path) -> bytes:
    """Write the model file that a delta leads to, as the server did; returns its digest. Not synced: see `intact`.

    Args:
        source: model file from which the delta leads.
        delta: its payload.
        spec: of both models.
        out: the new file; the spare one, if there is one, is written over.
        spare: of the same length, and no model any more.

    Raises:
        RemoteProtocolError: the delta is malformed. StorageError: the disk refused.
    """
    digest, floors, at, prefix = hasher(), variance_ranges(spec), 0, model_header(spec)
    with disk_errors("store the model"), delta.open("rb") as stored:
        payload = memoryview(mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ))
    file = written_over(out, spare, len(prefix) + spec.size_bytes)
    file[: len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    values = file[len(prefix) :].view("<f4")
    for piece in downlink.stepped(payload, read_flat(source)):
        here = values[at : at + len(piece)]
        here[:] = piece
        digest.update(memoryview(raise_variances(here, floors, start=at)).cast("B"))
        at += len(piece)
    return digest.digest()


async def whole(ctx: ClientContext, digest: bytes, spec: Spec, partial: Path, *, spare: Path | None = None) -> Path:
    """Parameters, downloaded into a partial file, over a spare one where there is one."""
    async for _ in tries(ctx):
        try:
            hashed = await download(ctx, digest, spec, partial, spare)
        except Unreachable as error:
            log.info("download interrupted: %s", error)
            continue
        if hashed == digest:
            break
        await asyncio.to_thread(partial.unlink)
        raise RemoteProtocolError("the downloaded parameters do not have the digest that was promised", reason="digest")
    partial_model.complete(partial, model_header(spec), spec.size_bytes)
    return partial


async def intact(ctx: ClientContext, path: Path, digest: bytes, spec: Spec) -> bool:
    """Is a stored model what its name says? It is read once in a process's life.

    A download is not synced: a power cut may leave the name without the bytes, which costs a download and no round.
    """
    if digest not in ctx.store.intact:
        prefix = model_header(spec)
        if not await asyncio.to_thread(_is_model, path, prefix, digest):
            return False
        ctx.store.intact.add(digest)
    return True


async def download(ctx: ClientContext, digest: bytes, spec: Spec, into: Path, spare: Path | None) -> bytes:
    """One try: write what is missing into the partial file; returns the digest of all of it.

    Raises:
        Unreachable: the stream broke, or ended early.
    """
    start, size = len(model_header(spec)), spec.size_bytes
    hashed, at = await asyncio.to_thread(partial_model.take_up, into, digest, start=start, size=size, spare=spare)
    if at:
        ctx.metrics.resumed()
    meter = Meter(ctx.metrics, "identity", left=spec.size_bytes - at, hashed=hashed)
    end = await ctx.connection.fetch_model(
        digest, Landing(into, start, partial(partial_model.note, digest)), at=at, on_data=meter.count
    )
    if end < spec.size_bytes:
        raise Unreachable(f"the download ended at byte {end} of {spec.size_bytes}")
    return hashed.digest()


@dataclass
class Meter:
    """Counts what comes down, and ends a download that is longer than it can be.

    Attributes:
        metrics: told of every piece.
        codec: of the payload.
        left: bytes that may still come.
        hashed: takes every piece.
    """

    metrics: ClientMetrics
    codec: str
    left: int
    hashed: Hasher | None = None

    def count(self, data: memoryview) -> None:
        """One piece.

        Raises:
            RemoteProtocolError: more than was asked for.
        """
        self.left -= len(data)
        if self.left < 0:
            raise RemoteProtocolError("the server sends more than was asked for", reason="size")
        if self.hashed is not None:
            self.hashed.update(data)
        self.metrics.transfer("down", len(data), self.codec)


async def tries(ctx: ClientContext) -> AsyncIterator[int]:
    """0, 1, 2, ... with a jittered wait before each but the first, and not before the session is back.

    The server takes nothing of a client that has not said hello. On a connection that does not live long the hello must
    come first, too: the data of a transfer would leave it no time. A job that comes again ends the wait.
    """
    yield 0
    for attempt, wait in enumerate(waits(np.random.default_rng(), ceiling_s=10.0), start=1):
        with suppress(TimeoutError):
            await asyncio.wait_for(ctx.resumed.wait(), wait)
        ctx.resumed.clear()
        await ctx.connected.wait()
        yield attempt


def _length(delta: Path, most: int) -> int:
    """Bytes of a delta that are here; one that is longer than it can be is begun anew."""
    with disk_errors("store the delta"):
        delta.touch()
        if (size := delta.stat().st_size) > most:
            os.truncate(delta, size := 0)
    return size


def _is_model(path: Path, prefix: bytes, digest: bytes) -> bool:
    with disk_errors("read the model"):
        if not _begins_with(path, prefix):
            return False
    return digest_file(path, offset=len(prefix)) == digest


def _begins_with(path: Path, prefix: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(prefix)) == prefix
