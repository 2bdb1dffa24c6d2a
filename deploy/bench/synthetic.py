"""A model and a trainer without torch: the update is a seeded pseudo-random vector.

It is generated from one block of random floats, shifted by seed and position, so that a vector of any length costs
little to make, nothing to keep, and can be made again, slice by slice, to check the server's sum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.child import Description, FitResult
from roughfed.params import write_model
from roughfed.rng import generator
from roughfed.types import Evaluation, Spec, TensorSpec

Flat = NDArray[np.float32]

BLOCK = 1 << 16
SLICE = 1 << 18  # a multiple of BLOCK
SCALE = 1e-3


def spec_of(size: int) -> Spec:
    """One tensor of `size` parameters."""
    return Spec((TensorSpec("weight", (size,)),))


def pieces(size: int, seed: int) -> Iterator[Flat]:
    """The vector of a seed: float32 pieces, together [size]."""
    block = generator(0, "bench-block").standard_normal(2 * BLOCK, dtype=np.float32) * np.float32(SCALE)
    shift = generator(seed, "bench-shift").integers(BLOCK)
    tile = np.tile(block[shift : shift + BLOCK], SLICE // BLOCK)
    for start in range(0, size, SLICE):
        yield tile[: min(SLICE, size - start)]


class SyntheticTrainer:
    """A `LocalTrainer` whose update is `pieces(size, seed of the job)`."""

    def __init__(self, size: int) -> None:
        """A model of `size` parameters."""
        self._size = size

    async def describe(self) -> Description:
        """One tensor, one example, no held-out data."""
        return _description(self._size)

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, round: int
    ) -> FitResult:
        """Write the vector of the job's seed."""
        del params, settings, round
        began = time.perf_counter()
        with delta.open("wb", buffering=0) as file:
            for piece in pieces(self._size, seed):
                file.write(piece.data)
        return FitResult(1, 1, {}, time.perf_counter() - began)

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
        """Nothing to evaluate on."""
        del params
        return Evaluation(model_digest, 0, 0.0)

    async def stop(self) -> None:
        """Nothing to end."""


class SyntheticOrigin(SyntheticTrainer):
    """The server's side of the same model: zeros to start with."""

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Write a model of zeros."""
        del seed
        zeros = np.zeros(SLICE, dtype=np.float32)
        parts = (zeros[: min(SLICE, self._size - start)] for start in range(0, self._size, SLICE))
        return write_model(path, spec_of(self._size), parts)


def _description(size: int) -> Description:
    return Description(
        spec=spec_of(size),
        task="classification",
        num_train=1,
        num_test=0,
        num_classes=2,
        device="cpu",
        name="synthetic",
        settings={},
    )
