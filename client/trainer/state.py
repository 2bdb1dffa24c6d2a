"""What the parts of a training keep from round to round: sealed, on this client's disk, never sent.

One file for each of the last two rounds of the run. A training of round r begins with the newest state of an earlier
round, so a training that is done again (its process died, its update never left) begins as it did the first time.
A file that is damaged, of another model or of another run is no state: the training begins without, and says so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from roughfed.client.trainer.parts import Tensors
from roughfed.crypto.sealing import open_sealed, seal
from roughfed.errors import ConfigError, RemoteProtocolError
from roughfed.files import disk_errors, write_durably
from roughfed.training import Turn

log = logging.getLogger(__name__)

KEPT = 2
MOST_BYTES = (1 << 31) - 64  # what one AES-GCM message may hold
_DOMAIN = b"roughfed trainer state v1\0"
_NAME = re.compile(r"([0-9a-f]{16})-(\d{8,})\.state")


def load_state(turn: Turn, spec_digest: bytes) -> dict[str, Tensors]:
    """What the parts kept: tensors on the CPU, by part and name.

    Args:
        turn: which round begins.
        spec_digest: of the model's Spec; state of another model is none.

    Raises:
        StorageError: the disk cannot be read.
    """
    if turn.state is None:
        return {}
    for number, path in reversed(list(_files(turn.state.folder, turn.run))):
        if number >= turn.round:
            continue
        with disk_errors("read the trainer's state"):
            sealed = path.read_bytes()
        try:
            opened = open_sealed(turn.state.key, sealed, aad=_aad(turn.run, number, spec_digest))
            return _nested(load_tensors(opened))
        except (RemoteProtocolError, SafetensorError):
            log.warning("the trainer's state of round %d cannot be opened; training begins without it", number)
    return {}


def save_state(turn: Turn, spec_digest: bytes, remembered: Mapping[str, Tensors]) -> None:
    """Keep it for the rounds to come, and delete what no training can begin with any more.

    Raises:
        ConfigError: it is larger than 2 GiB.
        StorageError: the disk refused.
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
    data = save_tensors(flat)
    if len(data) > MOST_BYTES:
        cause = f"the trainer would keep {len(data) >> 20} MiB from round to round"
        raise ConfigError(cause, key="trainer.method", cure="give the memory a smaller size")
    sealed = seal(turn.state.key, data, aad=_aad(turn.run, turn.round, spec_digest), entropy=os.urandom)
    with disk_errors("store the trainer's state"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(folder / f"{_run_name(turn.run)}-{turn.round:08d}.state", sealed)
    _prune(folder, turn)


def _prune(folder: Path, turn: Turn) -> None:
    kept = [path for number, path in _files(folder, turn.run) if number <= turn.round][-KEPT:]
    with disk_errors("delete old state of the trainer"):
        for path in folder.glob("*.state"):
            if path not in kept:
                path.unlink(missing_ok=True)


def _files(folder: Path, run: str) -> Iterator[tuple[int, Path]]:
    """(round, file) of a run, oldest first."""
    found = [(int(m[2]), path) for path in folder.glob("*.state") if (m := _NAME.fullmatch(path.name))]
    yield from sorted((number, path) for number, path in found if path.name.startswith(_run_name(run)))


def _run_name(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:16]  # a run's name comes over the wire: never a path


def _aad(run: str, number: int, spec_digest: bytes) -> bytes:
    return _DOMAIN + spec_digest + number.to_bytes(8, "big") + run.encode()


def _nested(flat: Mapping[str, torch.Tensor]) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    for name, tensor in flat.items():
        part, _, key = name.partition("/")
        found.setdefault(part, {})[key] = tensor
    return found
