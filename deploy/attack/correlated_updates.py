"""Synthetic updates that have something in common, as those of one task do: what a defence by distance needs to see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from roughfed.deploy.synthetic import Flat, SyntheticTrainer, pieces
from roughfed.rng import derive
from roughfed.training import FitResult, Turn


class RelatedTrainer(SyntheticTrainer):
    """A synthetic trainer of which a part of each update is the same for all clients."""

    def __init__(self, size: int, agree: float, *, pace_s: float = 0.0, examples: int = 1) -> None:
        """`agree`: share of the squared norm that is common to all, 0 to 1."""
        super().__init__(size, pace_s=pace_s, examples=examples)
        self._parameters, self._agree = size, agree

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """Write the round's vector and the seed's, mixed."""
        result = await super().fit(params, delta, settings=settings, seed=seed, turn=turn)
        with delta.open("wb", buffering=0) as file:
            for piece in related(self._parameters, seed, round_number=turn.round, agree=self._agree):
                file.write(piece.data)
        return result


def related(size: int, seed: int, *, round_number: int, agree: float) -> Iterator[Flat]:
    """The vector of a seed in a round: float32 pieces, together [size]."""
    common = pieces(size, derive(0, "related", round_number))
    for shared, own in zip(common, pieces(size, seed), strict=True):
        yield (shared * np.float32(agree**0.5) + own * np.float32((1 - agree) ** 0.5)).astype(np.float32, copy=False)
