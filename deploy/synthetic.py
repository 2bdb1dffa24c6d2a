"""A model and a trainer without torch: the update is a seeded pseudo-random vector.

It is generated from one block of random floats, shifted by seed and position, so that a vector of any length costs
little to make, nothing to keep, and can be made again, slice by slice, to check the server's sum.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.digest import content_digest
from roughfed.errors import TrainerError
from roughfed.file_pool import rewritten
from roughfed.params import read_flat, write_model
from roughfed.rng import derive, generator
from roughfed.trainer_client import Description
from roughfed.training import BaseFile, FitResult, Turn
from roughfed.types import Evaluation, Spec, TensorSpec
from roughfed.wire.job_facts import encode_facts

Flat = NDArray[np.float32]

log = logging.getLogger(__name__)

BLOCK = 1 << 16
SLICE = 1 << 18  # a multiple of BLOCK
STEP = 977  # coprime to BLOCK
SCALE = 1e-3
HELD_OUT = 20
FAMILY = np.float32(0.8)
"""Part of an update that a family has in common."""


def spec_of(size: int) -> Spec:
    """One tensor of `size` parameters."""
    return Spec((TensorSpec("weight", (size,)),))


def pieces(size: int, seed: int) -> Iterator[Flat]:
    """The vector of a seed: float32 pieces, together [size]; no two of them are alike, so that a swap is seen."""
    tile = _tile()
    first = int(generator(seed, "bench-shift").integers(BLOCK))
    for number, start in enumerate(range(0, size, SLICE)):
        shift = (first + number * STEP) % BLOCK
        yield tile[shift : shift + min(SLICE, size - start)]


@cache
def _tile() -> Flat:
    """float32 [SLICE + BLOCK], read-only: a block of random floats over and over; every piece is a view of it."""
    block = generator(0, "bench-block").standard_normal(BLOCK, dtype=np.float32) * np.float32(SCALE)
    tile = np.tile(block, SLICE // BLOCK + 1)
    tile.setflags(write=False)
    return tile


class SyntheticTrainer:
    """A `LocalTrainer` whose update is `pieces(size, seed of the job)`.

    Attributes:
        loss: mean loss that it claims on held-out data; 0: it has none.
    """

    loss = 0.0

    def __init__(
        self,
        size: int,
        *,
        pace_s: float = 0.0,
        examples: int = 1,
        counts: Sequence[int] = (),
        weight: float = 1.0,
        family: str = "",
    ) -> None:
        """A model of `size` parameters.

        Args:
            size: D.
            pace_s: seconds that a training takes at least, so that a fault test can meet a client in the middle of it.
            examples: number of examples that the client claims, its weight in the mean.
            counts: examples of each class that it claims, two of them; its statistics follow from them.
            weight: the weight class that each training finds right.
            family: clients of one family move the model the same way for the most part, which is not another's; ""
                has nothing in common with anybody.
        """
        self._size, self._pace_s, self._examples = size, pace_s, examples
        self._counts, self._weight, self._family = tuple(counts), weight, family
        self.on_progress: Callable[[float], None] | None = None

    async def describe(self) -> Description:
        """One tensor, one example, and held-out data only for who claims a loss on them."""
        return _description(self._size, self._examples, self._counts, HELD_OUT if self.loss else 0)

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Write the vector of the job's seed."""
        del params, settings
        began = time.perf_counter()
        await asyncio.sleep(self._pace_s)
        with rewritten(delta) as file:
            for piece in update_of(self._size, seed, self._family):
                file.write(piece.data)
        log.info("trained round %d", turn.round)
        if len(turn.facts) > 1:  # beside the number of rounds
            digest = content_digest(encode_facts(turn.facts).encode()).hex()  # a log tells no numbers of clients
            log.info("facts of round %d %s", turn.round, digest)
        told = {name: told_of(self._counts, int(length)) for name, _, length in (w.partition(":") for w in turn.wanted)}
        return FitResult(self._examples, 1, {}, time.perf_counter() - began, told, self._weight)

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """The less, the further a model has gone the way of this client's family."""
        del turn
        flat, common = read_flat(params), np.concatenate(list(pieces(self._size, generator_seed(self._family))))
        return -float(flat.astype(np.float64) @ common)

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn | None = None) -> Evaluation:
        """What it claims: a loss, and that it gets half of each class right; else there is nothing to evaluate on."""
        del params, turn
        if not self.loss:
            return Evaluation(model_digest, 0, 0.0)
        half, quarter = (HELD_OUT // 2,) * 2, (HELD_OUT // 4,) * 2
        return Evaluation(model_digest, HELD_OUT, HELD_OUT * self.loss, half, quarter, confusion=(HELD_OUT // 4,) * 4)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """Nothing to compare."""
        del params, model_digest, settings, turn
        return {}

    async def stop(self) -> None:
        """Nothing to end."""


def update_of(size: int, seed: int, family: str = "") -> Iterator[Flat]:
    """The update of a seed in a family: float32 pieces, together [size]."""
    if not family:
        yield from pieces(size, seed)
        return
    own = np.float32((1 - FAMILY**2) ** 0.5)
    for theirs, mine in zip(pieces(size, generator_seed(family)), pieces(size, seed), strict=True):
        yield np.add(np.multiply(theirs, FAMILY), np.multiply(mine, own))


def generator_seed(family: str) -> int:
    """What the common part of a family's updates follows from."""
    return derive(0, "family", family)


class SyntheticOrigin(SyntheticTrainer):
    """The server's side of the same model: zeros to start with, or what the seed says."""

    fresh = False

    async def initial(self, path: Path, *, seed: int) -> bytes:
        """Write a model of zeros; with `fresh` the vector of the seed."""
        if self.fresh:
            return write_model(path, spec_of(self._size), pieces(self._size, seed))
        zeros = np.zeros(SLICE, dtype=np.float32)
        parts = (zeros[: min(SLICE, self._size - start)] for start in range(0, self._size, SLICE))
        return write_model(path, spec_of(self._size), parts)

    def stand_on(self, base: BaseFile) -> None:
        """There is no model to put on it."""
        del base

    async def calibrate(
        self, params: Path, out: Path, given: Mapping[str, object]
    ) -> tuple[bytes, tuple[float, ...]] | None:
        """There is no classifier to finish."""
        del params, out, given
        return None

    async def score(self, asked: Mapping[str, object]) -> list[tuple[int, float, Sequence[int], Sequence[int]]]:
        """There is nothing to evaluate on."""
        del asked
        raise TrainerError("synthetic updates have no worth", reason="no-data")

    async def root_counts(self) -> tuple[int, ...]:
        """Examples enough of two classes."""
        return (1000, 1000)

    def hold_out(self, take: Sequence[int], *, seed: int) -> None:
        """Nothing is evaluated on, whatever is set aside."""
        del take, seed

    async def fit_root(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn, steps: int
    ) -> bool:
        """Write the vector of the seed, as a client does."""
        del steps
        await self.fit(params, delta, settings=settings, seed=seed, turn=turn)
        return True


def told_of(counts: Sequence[int], length: int) -> tuple[int, ...]:
    """Values of a statistic with a row for each class: all examples of a class in the first place of its row."""
    width = length // len(counts)
    return tuple(counts[at // width] if at % width == 0 else 0 for at in range(length))


def _description(size: int, examples: int, counts: tuple[int, ...], held_out: int) -> Description:
    return Description(
        spec=spec_of(size),
        task="classification",
        num_train=examples,
        num_test=held_out,
        num_classes=2,
        device="cpu",
        name="synthetic",
        settings={},
        class_counts=counts,
        statistics=("class-loss-histogram", "transition") if counts else (),
    )
