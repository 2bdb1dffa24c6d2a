"""Rounds in which some clients send less: each class of clients is a masked round of its own, the means are merged.

D parameters, of which a class that trains some tensors only sends d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from roughfed.classes import Ranges, merged
from roughfed.deploy.bench.masked_rounds import MaskedPlan, MaskedRounds
from roughfed.params import Flat


@dataclass(frozen=True, slots=True)
class Sending:
    """One class.

    Attributes:
        names: its clients, 4 or more.
        keep_one_in: 1 / fraction of the coordinates that they send.
        ranges: coordinates of the model that they train.
        feedback: whether they say later what a round's subset leaves unsaid.
    """

    names: Sequence[str]
    keep_one_in: int
    ranges: Ranges
    feedback: bool = True


class ClassRounds:
    """Server and codec side of a federation of classes."""

    def __init__(self, size: int, classes: Sequence[Sending], *, rule: str, seed: int) -> None:
        """For D = `size` parameters; `rule` judges within each class."""
        self._size, self._classes = size, classes
        self.rounds = [
            MaskedRounds(
                sum(stop - start for start, stop in one.ranges),
                len(one.names),
                MaskedPlan(keep_one_in=one.keep_one_in, rule=rule, feedback=one.feedback),
                seed=seed + number,
            )
            for number, one in enumerate(classes)
        ]
        self.excluded = 0

    @property
    def upload_bytes(self) -> list[int]:
        """Codes of one client and round, by class."""
        return [rounds.upload_bytes for rounds in self.rounds]

    def step(self, deltas: Mapping[str, Flat]) -> Flat:
        """The merged mean of a round's updates, float32 [D].

        Args:
            deltas: name -> float32 [d] of its class.
        """
        parts: list[tuple[Flat, float, Ranges]] = []
        for one, rounds in zip(self._classes, self.rounds, strict=True):
            result = rounds.play({name: deltas[name] for name in one.names})
            self.excluded += len(one.names) - len(result.accepted)
            if result.mean is not None:
                parts.append((result.mean, float(len(result.accepted)), one.ranges))
        mean = merged([(_read(values), weight, ranges) for values, weight, ranges in parts], self._size)
        return mean(0, self._size)


def _read(values: Flat):  # noqa: ANN202
    return lambda start, stop: values[start:stop]
