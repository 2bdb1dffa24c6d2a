"""What models of coalitions are worth: the base of a round plus a weighted sum of some clients' updates, evaluated.

n updates, D parameters. The updates are files as they came from the clients; no two models are in memory at once, and
what one coalition is worth does not depend on which others are asked about beside it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from roughfed.client.trainer.evaluation.evaluate import evaluate
from roughfed.client.trainer.evaluation.held_out import at_hand, counts, hold_out
from roughfed.client.trainer.examples.batches import Arrays, Source
from roughfed.client.trainer.model.model_file import ModelFile, open_given
from roughfed.client.trainer.model.tensors import load_flat
from roughfed.codec import CODECS
from roughfed.errors import ConfigError
from roughfed.files import disk_errors
from roughfed.params import Flat, raise_variances, variance_ranges
from roughfed.types import Task

TILE = 1 << 18
"""Coordinates of a sum that are worked on at once."""

Read = Callable[[int, int], Flat]
"""(start, stop) -> coordinates of an update, float32."""


def coalition_models(
    model: nn.Module, given: ModelFile, updates: Sequence[Read], weights: Sequence[Sequence[float]]
) -> Iterator[nn.Module]:
    """One model for each row of weights.

    Args:
        model: becomes each of them in turn.
        given: the base.
        updates: n of them.
        weights: rows of n numbers; a coalition is who has another than 0.
    """
    ranges = variance_ranges(given.spec)
    for row in weights:
        flat = np.array(given.flat)  # [D]
        for start in range(0, len(flat), TILE):
            here = flat[start : start + TILE]
            total = np.zeros(len(here), dtype=np.float64)
            for read, weight in zip(updates, row, strict=True):
                if weight:
                    total += weight * read(start, start + len(here)).astype(np.float64)
            here += total.astype(np.float32)
            raise_variances(here, ranges, start=start)
        load_flat(model, given.spec, flat)
        yield model


class Coalitions:
    """Evaluates them on some held-out examples, drawn once."""

    def __init__(self, task: Task, num_classes: int, device: torch.device) -> None:
        """Nothing is drawn yet."""
        self._task: Task = task
        self._num_classes, self._device = num_classes, device
        self._drawn: dict[tuple[int, int], Source] = {}

    def score(self, model: nn.Module, source: Source, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate what was asked for.

        Args:
            model: changed.
            source: the held-out examples.
            asked: `params`, a model file; `updates`, n files of `codec`; `weights`, n numbers for each coalition;
                `examples` to evaluate on, at most, drawn by `seed`.

        Returns:
            `sums`: for each coalition the number of examples, the sum of the losses, and by class the examples and the
            correct ones.

        Raises:
            ConfigError: a file holds another number of parameters than the model.
            StorageError: a file is gone.
        """
        few = (int(asked["examples"]), int(asked["seed"]))
        if few not in self._drawn:
            whole = at_hand(source, self._device)
            self._drawn = {few: some(whole, few[0], self._num_classes, seed=few[1], device=self._device)}
        given = open_given(Path(asked["params"]), model)
        with opened([Path(path) for path in asked["updates"]], asked["codec"], len(given.flat)) as updates:
            found = coalition_models(model, given, updates, asked["weights"])
            sums = [evaluate(each, self._drawn[few], self._task, report=_unheard) for each in found]
        return {"sums": [[one.num_examples, one.loss_sum, one.class_count, one.class_correct] for one in sums]}


def some(source: Arrays, number: int, num_classes: int, *, seed: int, device: torch.device) -> Source:
    """At most `number` examples, of each class its share, but at least one; the same seed draws the same ones."""
    if number >= source.num_examples:
        return source
    there = counts(source, num_classes)
    take = [min(count, max(1, round(number * count / source.num_examples))) if count else 0 for count in there]
    return hold_out(source, take, seed=seed, device=device).root


@contextmanager
def opened(paths: Sequence[Path], codec: str, size: int) -> Generator[list[Read]]:
    """Update files of a codec, D = `size` parameters each, to be read piece by piece.

    Raises:
        StorageError: a file is gone.
        ConfigError: a file holds another number of parameters.
    """
    with ExitStack() as stack:
        yield [_reader(path, codec, size, stack) for path in paths]


def _reader(path: Path, codec: str, size: int, stack: ExitStack) -> Read:
    with disk_errors(f"read {path}"):
        file = stack.enter_context(path.open("rb"))
        length = path.stat().st_size
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if length else b""  # a sparse one can be empty
    if codec == "identity":
        if length != 4 * size:
            raise ConfigError(f"{path} holds {length} bytes, an update has {4 * size}", key="updates")
        whole = np.frombuffer(mapped, dtype="<f4")
        return lambda start, stop: whole[start:stop]
    payload, rules = memoryview(mapped), CODECS[codec]
    return lambda start, stop: rules.decode(payload, start, stop, size=size)


def _unheard(_share: float) -> None:
    """Evaluations are short: nobody asks how far one is."""
