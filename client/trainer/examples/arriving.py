"""Training data that may differ from round to round: a stream gives what is there in a round."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch

from roughfed.client.trainer.examples.batches import Source, open_source


@dataclass(frozen=True, slots=True)
class Arrived:
    """What there is to train on in a round: None when nothing is; `task` is -1 where there are no tasks."""

    source: Source | None
    task: int = -1


class ArrivingExamples:
    """The app's training data, opened for a round."""

    def __init__(self, given: Any, device: torch.device, dtype: torch.dtype) -> None:
        """Keep what the app gave: a stream (anything with `at(round)`), or what `open_source` takes."""
        self._given, self._device, self._dtype = given, device, dtype
        self._last: tuple[object, Source] | None = None

    @property
    def changes(self) -> bool:
        """Whether it is a stream."""
        return callable(getattr(self._given, "at", None))

    def at(self, number: int) -> Arrived:
        """The examples of a round, on the device.

        Raises:
            ConfigError: they are not data.
        """
        stream = self._given
        if not self.changes:
            return Arrived(self._opened(stream))
        data = stream.at(number)
        place = int(stream.task(number)) if hasattr(stream, "task") else -1
        return Arrived(self._opened(data, arriving=True) if data is not None and length_of(data) else None, place)

    def _opened(self, data: Any, *, arriving: bool = False) -> Source:
        """Opened once, as long as it is the same object."""
        if self._last is None or self._last[0] is not data:
            self._last = (data, open_source(data, self._device, self._dtype, arriving=arriving))
        return self._last[1]


def length_of(data: Any) -> int:
    """Examples in what a stream gave."""
    return len(cast("Sequence[Sized]", data)[0]) if isinstance(data, tuple | list) else len(data)
