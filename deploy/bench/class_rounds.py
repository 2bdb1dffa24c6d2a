"""Rounds in which some clients send less: each class of clients is a masked round of its own, their sums are merged.

D parameters, of which a class that trains some tensors sends d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from roughfed.classes import Mean, Ranges, length_of, merged
from roughfed.codec.chain import Summed
from roughfed.deploy.bench.masked_rounds import MaskedPlan, MaskedRounds
from roughfed.params import Flat
from roughfed.server.masked.merging import mean_of_sums


@dataclass(frozen=True, slots=True)
class Sends:
    """One class.

    Attributes:
        names: its clients, 4 or more.
        keep_one_in: one coordinate in so many is sent.
        ranges: coordinates of the model that they train.
        tensors: the same as patterns of names; none: all.
    """

    names: Sequence[str]
    keep_one_in: int
    ranges: Ranges
    tensors: tuple[str, ...] = ()


class ClassRounds:
    """Server and codec side of a federation of classes; what a subset leaves unsaid is not said later."""

    def __init__(self, classes: Sequence[Sends], size: int, *, rule: str, seed: int) -> None:
        """For D = `size` parameters; `rule` judges within each class."""
        self._classes, self._size = classes, size
        self._rounds = [
            MaskedRounds(
                length_of(one.ranges),
                len(one.names),
                MaskedPlan(keep_one_in=one.keep_one_in, rule=rule, feedback=one.keep_one_in == 1),
                seed=seed,  # the same: classes of the same tensors share a rotation
            )
            for one in classes
        ]
        self.excluded = 0

    @property
    def upload_bytes(self) -> list[int]:
        """Codes of one client and round, by class."""
        return [rounds.upload_bytes for rounds in self._rounds]

    def play(self, deltas: Mapping[str, Flat]) -> Flat:
        """The next round.

        Args:
            deltas: name -> float32 [d] of its class, of everybody.

        Returns:
            merged mean, float32 [D].
        """
        by_ranges: dict[Ranges, list[Summed]] = {}
        for one, rounds in zip(self._classes, self._rounds, strict=True):
            result = rounds.play({name: deltas[name] for name in one.names})
            self.excluded += len(one.names) - len(result.accepted)
            if result.summed is not None:
                by_ranges.setdefault(one.ranges, []).append(result.summed)
        parts = [
            (_reader(mean_of_sums(sums)), sum(one.weight for one in sums), ranges) for ranges, sums in by_ranges.items()
        ]
        return merged(parts, self._size)(0, self._size) if parts else np.zeros(self._size, dtype=np.float32)


def _reader(values: Flat) -> Mean:
    return lambda start, stop: values[start:stop]
