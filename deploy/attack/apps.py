"""Poisoned data, where the data are: an app whose training data are wrong. Imported by the trainer only.

The held-out data stay as they are: what such a client says about the model is honest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any, cast

from roughfed.client.api import Client
from roughfed.client.trainer.examples.arriving import length_of
from roughfed.deploy.attack.poison.labels import LabelPoison
from roughfed.errors import ConfigError

FILE = "poisoned_app.py"
_APP = """\"\"\"Written by `python -m roughfed.deploy.attack`.\"\"\"

from roughfed.deploy.attack.apps import poisoned_app
from roughfed.deploy.attack.poison.labels import LabelPoison

client = poisoned_app({kind!r}, {what!r}, LabelPoison{wrong!r})
"""


def poisoning_command(command: list[str], folder: Path, wrong: LabelPoison) -> list[str]:
    """The trainer's command line with the training data of its app poisoned.

    Args:
        command: of `roughfed.trainer_client.trainer_command`; ends in `--app FILE:NAME` or `--builtin JSON`.
        folder: where the app that does it is written.
        wrong: what is wrong with the data.
    """
    *rest, kind, what = command
    folder.mkdir(parents=True, exist_ok=True)
    text = _APP.format(kind=kind.removeprefix("--"), what=what, wrong=astuple(wrong))
    (folder / FILE).write_text(text)
    return [*rest, "--app", f"{folder / FILE}:client"]


def poisoned_app(kind: str, what: str, wrong: LabelPoison) -> Client:
    """The app `what` (FILE:NAME, or the JSON settings of a listed one), with poisoned data to train on."""
    from roughfed.client.apps import builtin
    from roughfed.client.trainer.load import load_app

    client = load_app(what) if kind == "app" else builtin(json.loads(what))
    stream = callable(getattr(client.train, "at", None))  # the trainer looks for `at` before it calls anything
    client.train = PoisonedStream(client.train, wrong) if stream else partial(poisoned, client.train, wrong)
    return client


def poisoned(given: Any, wrong: LabelPoison) -> Any:
    """Training data as an app may give them, poisoned.

    C is what the data say; where they do not, one more than the highest label that this client has.

    Raises:
        ConfigError: the targets are no class numbers, or the data have no such class as the attack names.
    """
    from torch.utils.data import DataLoader, TensorDataset

    if callable(given) and not hasattr(given, "__len__"):
        given = given()
    if isinstance(given, TensorDataset):
        given = given.tensors
    x, y = getattr(given, "x", None), getattr(given, "y", None)
    if x is not None and y is not None:
        return _pair(x, y, getattr(given, "num_classes", 0), wrong)
    if isinstance(given, tuple | list):
        x, y = cast("Sequence[Any]", given)
        return _pair(x, y, 0, wrong)
    if isinstance(given, DataLoader):
        loader = cast("DataLoader[Any]", given)
        loader.collate_fn = partial(_collated, loader.collate_fn, _classes(loader.dataset, wrong), wrong)
        return loader
    return PoisonedExamples(given, wrong)


class PoisonedStream:
    """A stream of poisoned data; its tasks, if it has any, keep their numbers."""

    def __init__(self, stream: Any, wrong: LabelPoison) -> None:
        """Over another one."""
        self._stream, self._wrong = stream, wrong

    def at(self, round: int) -> Any:
        """What there is in a round; nothing is changed where there is nothing."""
        now = self._stream.at(round)
        return poisoned(now, self._wrong) if now is not None and length_of(now) else now

    def __getattr__(self, name: str) -> Any:
        """`task`, `num_tasks` and whatever else the stream has."""
        return getattr(self._stream, name)


class PoisonedExamples:
    """A map-style data set of (x, y), poisoned."""

    def __init__(self, dataset: Any, wrong: LabelPoison) -> None:
        """Over another one."""
        self._dataset, self._wrong, self._num_classes = dataset, wrong, _classes(dataset, wrong)

    def __len__(self) -> int:
        """N."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        """One example."""
        x, y = self._dataset[index]
        changed = self._wrong.inputs(x[None], [y], [index])[0] if self._wrong.changes_inputs else x
        return changed, self._wrong.labels(y, self._num_classes, index)


def _pair(x: Any, y: Any, num_classes: int, wrong: LabelPoison) -> tuple[Any, Any]:
    """Poison x [N, ...] and y [N], arrays or tensors; the owner's own are left as they are."""
    import torch

    if torch.as_tensor(y).is_floating_point():
        raise ConfigError("these targets are measured values, not classes", key="attack", cure="use sign-flip")
    _check(num_classes, wrong)
    places = torch.arange(len(y), device=y.device) if torch.is_tensor(y) else torch.arange(len(y)).numpy()
    changed = wrong.labels(y, num_classes or int(y.max()) + 1, places)
    return wrong.inputs(x, y, range(len(y))), changed


def _collated(collate: Callable[[Any], Any], num_classes: int, wrong: LabelPoison, examples: Any) -> Any:
    """A batch of a DataLoader, poisoned; its examples are numbered within it."""
    x, y = collate(examples)
    return _pair(x, y, num_classes, wrong)


def _classes(dataset: Any, wrong: LabelPoison) -> int:
    """One more than the highest label, where labels are flipped; nothing else asks for it."""
    if wrong.data != "flip":
        return 0
    return max(int(dataset[index][1]) for index in range(len(dataset))) + 1


def _check(num_classes: int, wrong: LabelPoison) -> None:
    if num_classes and wrong.highest >= num_classes:
        raise ConfigError(
            f"these data have {num_classes} classes, and the attack names class {wrong.highest}",
            key="--target",
            cure=f"--source and --target below {num_classes}",
        )
