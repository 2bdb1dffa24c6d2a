"""Data that are not all there at once: what a stream is, and the stream of tasks that a scenario makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from roughfed.data.dataset import Dataset, concatenate


@runtime_checkable
class Stream(Protocol):
    """Training data that change from round to round: anything with `at(round)`."""

    def at(self, round: int, /) -> Any:
        """What there is to train on in a round.

        Args:
            round: from 1, never falling; asked for again (after a restart) it should give the same again.

        Returns:
            a `roughfed.data.Dataset`, (x, y) or a torch Dataset. It may be empty: then this client has nothing to train
            on in that round. What was there before and is no longer given is gone, unless the trainer has a memory.
        """
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Tasks:
    """A stream of tasks with classes of their own; a pure function of the round.

    Attributes:
        parts: the examples of each task, at least one task; a client may have none of some.
        labels: the classes of each task, by the labels as given: a wrong label is in the task of the wrong class.
        rounds_per_task: rounds from the beginning of one task to that of the next.
        delay: rounds by which this client's second and later tasks begin later.
    """

    parts: tuple[Dataset, ...]
    labels: tuple[tuple[int, ...], ...]
    rounds_per_task: int
    delay: int = 0

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.parts)

    @property
    def num_classes(self) -> int:
        """C, of all tasks together."""
        return self.parts[0].num_classes

    @property
    def whole(self) -> Dataset:
        """The examples of all tasks, task by task: for measuring, since no round ever has them."""
        return concatenate(self.parts)

    def task(self, round: int) -> int:
        """The task of a round (from 1), from 0; the last one stays."""
        begun = (round - 1 - self.delay) // self.rounds_per_task
        return min(max(begun, 0), self.num_tasks - 1)

    def at(self, round: int) -> Dataset:
        """The examples of the round's task, and no others; the same object in every round of a task. May be empty."""
        return self.parts[self.task(round)]

    def classes(self, task: int) -> tuple[int, ...]:
        """The classes of a task."""
        return self.labels[task]


def tasks_of(whole: Dataset, groups: Sequence[Sequence[int]], *, rounds_per_task: int, delay: int = 0) -> Tasks:
    """Cut a client's examples into a stream.

    Args:
        whole: its training examples.
        groups: the classes of each task; every class is in one of them.
        rounds_per_task: see Tasks.
        delay: see Tasks.
    """
    parts = tuple(whole.take(np.flatnonzero(np.isin(whole.labels, group))) for group in groups)
    return Tasks(parts, tuple(tuple(int(c) for c in group) for group in groups), rounds_per_task, delay)
