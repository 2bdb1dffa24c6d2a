"""Step 4 where the server sees every update: the trainer's float32 delta becomes the bytes of the round's codec."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np

from roughfed.client.round.residual import Residual
from roughfed.codec import CODECS, Codec
from roughfed.errors import LocalProtocolError, StorageError, TrainerError
from roughfed.file_pool import claim, retire, rewritten, spare_of
from roughfed.files import disk_errors
from roughfed.params import Flat
from roughfed.tiers import feeds_back
from roughfed.types import RoundHeader
from roughfed.upload_format import Sending

SLICE = 1 << 18  # values decoded at once
DELTA = "delta"

NOT_FINITE = ("diverged", "not-finite")
"""Reasons of a training that gave no numbers. A model can be made so that only those on some example overflow."""


def encode_file(header: RoundHeader, delta: Path, *, out: Path, residual: Residual, sending: Sending) -> None:
    """Write a delta's payload, and propose what it does not say for the next one.

    Args:
        header: of the round, as the client's tier reads it; its codec is one of CODECS.
        delta: bare float32 [D] file; read, and deleted when the payload stands.
        out: the payload's place.
        residual: of this run.
        sending: what the tier sends.

    Raises:
        TrainerError: reason "not-finite"; the training diverged.
        StorageError: the disk refused, or the delta is not D values long.
    """
    codec, size = CODECS[header.codec], sending.length
    later = (codec.lossy or sending.places is not None) and feeds_back(header)
    with disk_errors("read the delta"):
        wanted = np.fromfile(delta, dtype="<f4").astype(np.float32, copy=False)
    if len(wanted) != size:
        raise StorageError(f"the delta has {len(wanted)} values, the model {size}")
    if later and (before := residual.load()) is not None and len(before) == size:
        wanted += before
    try:
        payload = codec.encode(sending.taken(wanted))
    except LocalProtocolError as error:
        raise TrainerError(f"what was learned cannot be sent: {error}", reason="not-finite") from None
    if later:
        residual.begin(header.round, size)[:] = unsaid(codec, wanted, payload, sending)
        residual.propose(header.round, size)
    partial = out.with_suffix(".partial")
    with disk_errors("store the update"):
        partial.write_bytes(payload)
        partial.replace(out)
    drop_delta(delta)


def unsaid(codec: Codec, wanted: Flat, payload: bytes, sending: Sending) -> Flat:
    """What a payload does not say, wanted - decoded; takes the place of `wanted`."""
    size = sending.size
    for start in range(0, size, SLICE):
        stop = min(start + SLICE, size)
        here = slice(start, stop) if sending.places is None else sending.places[start:stop]
        wanted[here] -= codec.decode(payload, start, stop, size=size)
    return wanted


def fresh_delta(folder: Path, round_number: int) -> Path:
    """Where a round's delta goes, over the bytes of an old one, and nothing else of its kind there.

    The name is the round's own: a thread of the job before, which nobody can stop, deletes its delta when it is done.
    """
    for left in folder.glob("delta-*.f32"):
        drop_delta(left)
    delta = folder / f"delta-{round_number}.f32"
    claim(spare_of(folder, DELTA), delta)
    return delta


def zero_delta(folder: Path, round_number: int, size: int) -> Path:
    """A delta of nothing learned, float32 [size]."""
    delta = fresh_delta(folder, round_number)
    with disk_errors("write the delta"), rewritten(delta) as file:
        file.write(np.zeros(size, dtype="<f4").data)
    return delta


def drop_delta(delta: Path) -> None:
    """A delta is said, or never will be: its file is for the next one."""
    retire(delta, spare_of(delta.parent, DELTA))


def residual_of(folder: Path, run: str) -> Residual:
    """The residual of a run in a client's state directory. Those of other runs are deleted: they were never said there.

    Raises:
        StorageError: the disk refused.
    """
    name = hashlib.sha256(run.encode()).hexdigest()[:16]  # nothing from the wire forms a path
    with disk_errors("clean the residuals"):
        for other in (folder / "residuals").glob("*"):
            if other.name != name:
                shutil.rmtree(other)
    return Residual(folder / "residuals" / name, spare_of(folder, "residual"))
