"""What the parts of a training keep from round to round: sealed, on this client's disk, never sent.

One file for each of the last two rounds of the run. A training of round r begins with the newest state of an earlier
round, so a training that is done again (its process died, its update never left) begins as it did the first time.
A file that is damaged, of another model or under another key is no state: the training begins with the round before,
or without, says so, and counts it. Files of another run are neither read nor kept.

A file is `_MAGIC`, the digest of the model's Spec, and pieces of PIECE bytes of a safetensors message, each sealed for
its place among all of them: none can be moved, left out or taken from another file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from roughfed import crash
from roughfed.client.trainer.parts import Tensors
from roughfed.crypto.sealing import OVERHEAD_BYTES, open_sealed, seal
from roughfed.errors import RemoteProtocolError
from roughfed.files import disk_errors, write_pieces_durably
from roughfed.training import StatePlace, Turn

log = logging.getLogger(__name__)

KEPT = 2
PIECE = 16 << 20  # bytes that are sealed at once: the peak is one copy of the state and a piece, not three copies
_MAGIC = b"roughfed trainer state v1\0"
_HEAD = len(_MAGIC) + 32
_NAME = re.compile(r"([0-9a-f]{16})-(\d{8,})\.state")


def load_state(turn: Turn, spec_digest: bytes, *, on_lost: Callable[[str], None] | None = None) -> dict[str, Tensors]:
    """What the parts kept in the last round before this one: tensors on the CPU, by part and name.

    Args:
        turn: which round begins.
        spec_digest: of the model's Spec; state of another model is none.
        on_lost: told why, for each file that is there and of no use.

    Raises:
        StorageError: the disk cannot be read.
    """
    if turn.state is None:
        return {}
    for number, path in reversed(list(_files(turn.state.folder, turn.run))):
        if number >= turn.round:
            continue
        with disk_errors("read the trainer's state"):
            whole = path.read_bytes()
        try:
            return _read(whole, turn.state.key, _Bound(turn.run, number, spec_digest))
        except (RemoteProtocolError, SafetensorError) as error:
            log.warning(
                "what the trainer kept in round %d is lost: %s; round %d begins with what is older, or with nothing",
                number,
                error,
                turn.round,
            )
            if on_lost is not None:
                on_lost(str(error))
    return {}


def save_state(turn: Turn, spec_digest: bytes, remembered: Mapping[str, Tensors]) -> None:
    """Keep it for the rounds to come, and delete what no training can begin with any more.

    Raises:
        StorageError: the disk refused; the state of earlier rounds stands.
    """
    if turn.state is None:
        return
    flat = {
        f"{part}/{name}": tensor.detach().to("cpu").contiguous().clone()
        for part, tensors in remembered.items()
        for name, tensor in tensors.items()
    }
    folder = turn.state.folder
    if not flat and not any(_files(folder, turn.run)):
        return  # nothing was ever kept
    with disk_errors("store the trainer's state"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{_run_name(turn.run)}-{turn.round:08d}.state"
    crash.point("state-begun")
    write_pieces_durably(path, _written(save_tensors(flat), turn.state.key, _Bound(turn.run, turn.round, spec_digest)))
    crash.point("state-written")
    _prune(turn.state, turn)
    crash.point("state-pruned")


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a file is for."""

    run: str
    number: int
    spec_digest: bytes

    def aad(self, place: int, pieces: int) -> bytes:
        """What one of its pieces is sealed for."""
        numbers = (number.to_bytes(8, "big") for number in (self.number, place, pieces))
        return _MAGIC + self.spec_digest + b"".join(numbers) + self.run.encode()


def _written(data: bytes, key: bytes, bound: _Bound) -> Iterator[bytes]:
    yield _MAGIC + bound.spec_digest
    view, pieces = memoryview(data), _pieces(len(data), PIECE)
    for place in range(pieces):
        plain = bytes(view[place * PIECE : (place + 1) * PIECE])
        yield seal(key, plain, aad=bound.aad(place, pieces), entropy=os.urandom)


def _read(whole: bytes, key: bytes, bound: _Bound) -> dict[str, Tensors]:
    if whole[: len(_MAGIC)] != _MAGIC or len(whole) <= _HEAD:
        raise RemoteProtocolError("not a whole file of a trainer's state", reason="sealing")
    if whole[len(_MAGIC) : _HEAD] != bound.spec_digest:
        raise RemoteProtocolError("it belongs to another model", reason="sealing")
    step = PIECE + OVERHEAD_BYTES
    view, pieces, opened = memoryview(whole)[_HEAD:], _pieces(len(whole) - _HEAD, step), bytearray()
    for place in range(pieces):
        sealed = bytes(view[place * step : (place + 1) * step])
        opened += open_sealed(key, sealed, aad=bound.aad(place, pieces))
    return _nested(load_tensors(bytes(opened)))


def _pieces(size: int, step: int) -> int:
    return max(1, -(-size // step))


def _prune(place: StatePlace, turn: Turn) -> None:
    kept = [path for number, path in _files(place.folder, turn.run) if number <= turn.round][-KEPT:]
    with disk_errors("delete old state of the trainer"):
        for path in place.folder.glob("*.state"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _files(folder: Path, run: str) -> Iterator[tuple[int, Path]]:
    """(round, file) of a run, oldest first."""
    found = [(int(m[2]), path) for path in folder.glob("*.state") if (m := _NAME.fullmatch(path.name))]
    yield from sorted((number, path) for number, path in found if path.name.startswith(_run_name(run)))


def _run_name(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:16]  # a run's name comes over the wire: never a path


def _nested(flat: Mapping[str, torch.Tensor]) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    for name, tensor in flat.items():
        part, _, key = name.partition("/")
        found.setdefault(part, {})[key] = tensor
    return found
