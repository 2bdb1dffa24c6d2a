"""Step 1 of a job: the global parameters, over cut connections, onto a disk that may hold damaged ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed import crash
from roughfed.digest import Hasher, hasher
from roughfed.errors import RemoteProtocolError, Unreachable
from roughfed.files import disk_errors, place_durably
from roughfed.params import digest_file, model_header
from roughfed.transport.patience import waits
from roughfed.types import RoundHeader

if TYPE_CHECKING:
    from roughfed.client.session import Membership

log = logging.getLogger(__name__)


async def fetch_model(me: Membership, header: RoundHeader) -> Path:
    """Step 1: the global parameters, resumed where an earlier try ended, digest checked."""
    path, partial = me.store.model_path(header.model_digest), me.store.partial_path(header.model_digest)
    if path.exists():
        if await intact(me, path, header.model_digest):
            return path
        log.warning("the stored model %s is damaged; it is downloaded again", path.name)
        path.unlink()
    me.on_phase("downloading", 0.0)
    async for _ in tries(me.back):
        try:
            hashed = await download(me, header, partial)
        except Unreachable as error:
            log.info("download interrupted: %s", error)
            continue
        if hashed == header.model_digest:
            break
        partial.unlink()
        raise RemoteProtocolError("the downloaded parameters do not have the header's digest", reason="digest")
    await asyncio.to_thread(place_durably, partial, path)
    me.store.intact.add(header.model_digest)
    me.store.prune_models(header.model_digest)
    crash.point("model-fetched")
    return path


async def intact(me: Membership, path: Path, digest: bytes) -> bool:
    """Is a stored model what its name says? It is read once in a process's life.

    A download is not synced: a power cut may leave the name without the bytes, which costs a download and no round.
    """
    if digest not in me.store.intact:
        prefix = model_header(me.welcome.spec)
        if not await asyncio.to_thread(_is_model, path, prefix, digest):
            return False
        me.store.intact.add(digest)
    return True


async def download(me: Membership, header: RoundHeader, partial: Path) -> bytes:
    """One try: append what is missing to the partial file; returns the digest of all of it.

    Raises:
        Unreachable: the stream broke, or ended early.
    """
    prefix = model_header(me.welcome.spec)
    hashed, at = await asyncio.to_thread(_take_up, partial, prefix, me.welcome.spec.size_bytes)
    if at:
        me.metrics.resumed()

    def moved(count: int) -> None:
        me.metrics.transfer("down", count, header.codec)

    end = await me.connection.fetch_model(
        header.model_digest, partial, at=at, header=len(prefix), hashed=hashed, on_bytes=moved
    )
    if end < me.welcome.spec.size_bytes:
        raise Unreachable(f"the download ended at byte {end} of {me.welcome.spec.size_bytes}")
    return hashed.digest()


async def tries(back: asyncio.Event) -> AsyncIterator[int]:
    """0, 1, 2, ... with a jittered wait before each but the first; `back` ends a wait: the server is there again."""
    yield 0
    for attempt, wait in enumerate(waits(np.random.default_rng(), ceiling_s=10.0), start=1):
        with suppress(TimeoutError):
            await asyncio.wait_for(back.wait(), wait)
        back.clear()
        yield attempt


def _take_up(partial: Path, prefix: bytes, size: int) -> tuple[Hasher, int]:
    """Begin a partial model file, or hash what is there; returns the hash and the bytes of parameters.

    One that begins otherwise, or is longer than a model of `size` bytes, is begun anew.
    """
    hashed, at = hasher(), 0
    with disk_errors("store the model"):
        if not (partial.exists() and _begins_with(partial, prefix) and partial.stat().st_size <= len(prefix) + size):
            partial.write_bytes(prefix)
        with partial.open("rb") as file:
            file.seek(len(prefix))
            while piece := file.read(1 << 20):
                hashed.update(piece)
                at += len(piece)
    return hashed, at


def _is_model(path: Path, prefix: bytes, digest: bytes) -> bool:
    with disk_errors("read the model"):
        if not _begins_with(path, prefix):
            return False
    return digest_file(path, offset=len(prefix)) == digest


def _begins_with(path: Path, prefix: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(prefix)) == prefix
