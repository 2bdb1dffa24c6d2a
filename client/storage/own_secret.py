"""What nobody but this client knows, and what follows from it: its trainings' randomness, the fingerprint of a model.

A server that knew the randomness of a training could ask for the same one twice, with and without somebody in the sum,
and subtract. It says a seed with each job; the client mixes its own secret in, and the digest of the round's header:
the same round is trained the same way after a restart, and no two rounds are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.keystream import Keystream
from roughfed.crypto.agreement import KEY_BYTES, derive
from roughfed.files import disk_errors, write_durably
from roughfed.params import read_flat
from roughfed.types import Job

FILE = "secret.key"
TRAINING = b"roughfed training v1\0"
FINGERPRINT = b"roughfed model fingerprint v1\0"
SIGNS, COLUMNS = 4, 128
PIECE = 1 << 20
"""Parameters at a time: a sum of single precision is no longer than that."""


def own_secret(folder: Path) -> bytes:
    """The secret of a state directory, 32 bytes; made at the first start.

    Raises:
        StorageError: the disk refused.
    """
    path = folder / FILE
    with disk_errors(f"read {path}"):
        secret = path.read_bytes() if path.exists() else b""
    if len(secret) != KEY_BYTES:
        secret = os.urandom(KEY_BYTES)
        write_durably(path, secret, mode=0o600, sync=False)  # a round that a power cut ends is sat out anyway
    return secret


def mixed_seed(secret: bytes) -> Callable[[Job], int]:
    """Job -> seed of its training, 63 bits; the same for the same job and secret."""

    def seed(job: Job) -> int:
        said = (job.seed % (1 << 64)).to_bytes(8, "big")
        return int.from_bytes(derive(secret, TRAINING, job.header.digest + said, 8), "big") >> 1

    return seed


def fingerprint(params: Path, secret: bytes) -> NDArray[np.float64]:
    """A random projection of a model, float64 [SIGNS x COLUMNS]: distances between two are those between the models.

    The parameters stand in rows of COLUMNS; each row is added with signs of its own, drawn from the secret, SIGNS
    times. The expectation of the squared distance is the true one. Its deviation is 6 % of it, sqrt(2 / 512),
    unless the rows of the difference are much alike; of a difference that is made for it, with all rows equal, 70 %.
    So whoever does not know the secret cannot have two models that are near seem many times as far apart: the signs
    do not depend on them, and are never shown.

    Args:
        params: model file.
        secret: of this directory.
    """
    stream = Keystream(derive(secret, FINGERPRINT, b""), "fingerprint")
    values, sums = read_flat(params), np.zeros((SIGNS, COLUMNS))
    for at in range(0, len(values), PIECE):
        piece = values[at : at + PIECE]
        if spare := -len(piece) % COLUMNS:
            piece = np.concatenate([piece, np.zeros(spare, dtype=np.float32)])
        rows = piece.reshape(-1, COLUMNS)
        drawn = np.empty(-(-SIGNS * len(rows) // 8), dtype=np.uint8)
        stream.fill(drawn.data)
        bits = np.unpackbits(drawn)[: SIGNS * len(rows)].reshape(SIGNS, -1)
        sums += (2 * bits.astype(np.float32) - 1) @ rows
    return sums.ravel() / SIGNS**0.5
