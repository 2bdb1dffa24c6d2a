"""Training data that may differ from round to round: a stream gives what is there in a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from roughfed.client.trainer.data import Source, open_source
from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Arrived:
    """What there is to train on in a round; `task` is -1 where there are no tasks."""

    source: Source
    task: int = -1


class Arriving:
    """The app's training data, opened for a round."""

    def __init__(self, given: Any, device: torch.device, dtype: torch.dtype) -> None:
        """Keep what the app gave: a stream (anything with `at(round)`), or what `open_source` takes."""
        self._given, self._device, self._dtype = given, device, dtype
        self._last: tuple[object, Source] | None = None

    def at(self, number: int) -> Arrived:
        """The examples of a round, on the device.

        Raises:
            ConfigError: there are none (yet), or they are not data.
        """
        stream = self._given
        if not callable(getattr(stream, "at", None)):
            return Arrived(self._opened(stream))
        task = getattr(stream, "task", None)
        data = stream.at(number)
        if data is None or not len(data):
            raise ConfigError(f"nothing to train on has arrived by round {number}", key="train")
        return Arrived(self._opened(data), int(task(number)) if callable(task) else -1)

    def _opened(self, data: Any) -> Source:
        """Opened once, as long as it is the same object."""
        if self._last is None or self._last[0] is not data:
            self._last = (data, open_source(data, self._device, self._dtype))
        return self._last[1]
