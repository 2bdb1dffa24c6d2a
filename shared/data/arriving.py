"""Examples from an iterable of the user's own: a sensor, a queue, a generator that waits for the next one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import numpy as np

from roughfed.data.dataset import Dataset
from roughfed.data.given import as_inputs, as_targets, classes_in
from roughfed.errors import ConfigError

NAME = "arriving"
CAPACITY = 100_000  # examples that wait for their round
WAIT_S = 60.0

Example = tuple[Any, Any]


class Arriving:
    """A Stream of what an iterable has given since the last round.

    A thread reads the iterable, so that `next` may wait for the next example. A round takes what has arrived before it
    begins, and has it alone; if nothing has arrived it keeps what the last round had. So what a round trains on depends
    on the clock: with this source no run can be repeated exactly. A restarted client reads a new iterable from its
    beginning; the id of an example follows from its numbers, so that what was remembered about it still fits.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        num_classes: int = 0,
        capacity: int = CAPACITY,
        wait_s: float = WAIT_S,
    ) -> None:
        """Record it; nothing is read before the first round asks.

        Args:
            examples: (x, y) of one example at a time, all of one shape: x an array of floats or of token ids, y a label
                or a measured value.
            num_classes: C; 0: one more than the largest label of the round, or regression.
            capacity: examples that may wait for their round; then the iterable waits too.
            wait_s: seconds that the first round waits for the first example.

        Raises:
            ConfigError: no capacity.
        """
        if capacity < 1:
            raise ConfigError(f"{capacity} examples are too few", key="capacity", cure="give 1 or more")
        self._num_classes, self._wait_s = num_classes, wait_s
        self._reader = Reader(examples, capacity)
        self._now: Dataset | None = None
        self._kinds: set[tuple[tuple[int, ...], str]] = set()
        self._round = 0

    def at(self, round: int) -> Dataset:
        """What has arrived since an earlier round; the same again when the same round asks again.

        Raises:
            ConfigError: an example that does not fit, or nothing at all came within `wait_s`.
            Exception: whatever the iterable raised, once nothing before it is left.
        """
        if self._now is not None and round <= self._round:
            return self._now
        taken = self._reader.take(self._wait_s if self._now is None else 0.0)
        if taken:
            self._now = self._dataset(taken)
        if self._now is None:
            cause = "ended without an example" if self._reader.ended else f"gave no example in {self._wait_s:g} s"
            raise ConfigError(f"the iterable {cause}", key="train")
        self._round = round
        return self._now

    def _dataset(self, examples: list[Example]) -> Dataset:
        inputs = [np.asarray(x) for x, _ in examples]
        self._kinds |= {(x.shape, x.dtype.kind) for x in inputs}  # float32 beside float64 is fine
        if len(self._kinds) > 1:
            raise ConfigError("the iterable gives examples of different shapes or types", key="train")
        x, y = as_inputs(np.stack(inputs)), as_targets(np.asarray([y for _, y in examples]), self._num_classes)
        digests = [hashlib.sha256(a.tobytes() + b.tobytes()).digest() for a, b in zip(x, y, strict=True)]
        ids = np.array([int.from_bytes(digest[:8], "big") >> 1 for digest in digests], dtype=np.int64)
        return Dataset(x, y, ids, self._num_classes or classes_in(y), NAME)


class Reader:
    """Reads an iterable in a thread; what it raises is kept for whoever finds nothing more."""

    def __init__(self, examples: Iterable[Example], capacity: int) -> None:
        """Nothing is read before the first `take`."""
        self.ended = False
        self._error: BaseException | None = None
        self._examples, self._capacity = examples, capacity
        self._waiting: list[Example] = []
        self._changed = threading.Condition()
        # It may wait for ever: the process does not wait for it.
        self._thread = threading.Thread(target=self._read, name="arriving", daemon=True)

    def take(self, wait_s: float) -> list[Example]:
        """All that waits; with `wait_s`, wait so many seconds for the first example."""
        if self._thread.ident is None:
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.ended, timeout=wait_s)
            taken, self._waiting = self._waiting, []
            self._changed.notify_all()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def _read(self) -> None:
        with self:
            for example in self._examples:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._waiting) < self._capacity)
                    self._waiting.append(example)
                    self._changed.notify_all()

    def __enter__(self) -> None:
        """The iterable is being read."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """It has ended; an error is kept, not lost: `take` raises it."""
        with self._changed:
            self._error, self.ended = error, True
            self._changed.notify_all()
        return True
