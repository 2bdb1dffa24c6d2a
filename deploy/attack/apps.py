"""Label flipping, where the labels are: an app with y -> C - 1 - y in its training data. Imported by the trainer only.

The held-out data stay as they are: what such a client says about the model is honest.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from roughfed.client.api import Client
from roughfed.errors import ConfigError

FILE = "label_flip.py"
_APP = """\"\"\"Written by `python -m roughfed.deploy.attack label-flip`.\"\"\"

from roughfed.deploy.attack.apps import label_flipped

client = label_flipped({kind!r}, {what!r})
"""


def flipping_command(command: list[str], folder: Path) -> list[str]:
    """The trainer's command line with the labels of its app flipped.

    Args:
        command: of `roughfed.child.trainer_command`; ends in `--app FILE:NAME` or `--builtin JSON`.
        folder: where the app that does it is written.
    """
    *rest, kind, what = command
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(_APP.format(kind=kind.removeprefix("--"), what=what))
    return [*rest, "--app", f"{folder / FILE}:client"]


def label_flipped(kind: str, what: str) -> Client:
    """The app `what` (FILE:NAME, or the JSON settings of a listed one), with flipped labels to train on."""
    from roughfed.client.apps import builtin
    from roughfed.client.trainer.load import load_app

    client = load_app(what) if kind == "app" else builtin(json.loads(what))
    stream = callable(getattr(client.train, "at", None))  # the trainer looks for `at` before it calls anything
    client.train = FlippedStream(client.train) if stream else partial(flipped, client.train)
    return client


def flipped(given: Any) -> Any:
    """Training data as an app may give them, with flipped labels.

    C is what the data say; where they do not, one more than the highest label that this client has.

    Raises:
        ConfigError: the targets are no class numbers.
    """
    from torch.utils.data import DataLoader, TensorDataset

    if callable(given) and not hasattr(given, "__len__"):
        given = given()
    if isinstance(given, TensorDataset):
        given = given.tensors
    x, y = getattr(given, "x", None), getattr(given, "y", None)
    if x is not None and y is not None:
        return x, _flip(y, getattr(given, "num_classes", 0))
    if isinstance(given, tuple | list):
        x, y = given
        return x, _flip(y, 0)
    if isinstance(given, DataLoader):
        collate, num_classes = given.collate_fn, _classes(given.dataset)
        given.collate_fn = lambda examples: _flip_batch(collate(examples), num_classes)
        return given
    return FlippedExamples(given, _classes(given))


class FlippedStream:
    """A stream with flipped labels; its tasks, if it has any, keep their numbers."""

    def __init__(self, stream: Any) -> None:
        """Over another one."""
        self._stream = stream

    def at(self, round: int) -> Any:
        """What there is in a round; nothing is flipped where there is nothing."""
        now = self._stream.at(round)
        nothing = now is None or len(now[0] if isinstance(now, tuple | list) else now) == 0
        return now if nothing else flipped(now)

    def __getattr__(self, name: str) -> Any:
        """`task`, `num_tasks` and whatever else the stream has."""
        return getattr(self._stream, name)


class FlippedExamples:
    """A map-style data set of (x, y) with flipped labels."""

    def __init__(self, dataset: Any, num_classes: int) -> None:
        """Over another one."""
        self._dataset, self._num_classes = dataset, num_classes

    def __len__(self) -> int:
        """N."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        """One example."""
        return _flip_batch(self._dataset[index], self._num_classes)


def _flip(y: Any, num_classes: int) -> Any:
    """Flip: y -> C - 1 - y, for an array or a tensor [N]."""
    import torch

    if torch.as_tensor(y).is_floating_point():
        raise ConfigError("these targets are measured values, not classes", key="label-flip", cure="use sign-flip")
    return (num_classes or int(y.max()) + 1) - 1 - y


def _flip_batch(example: Any, num_classes: int) -> Any:
    x, y = example
    return x, num_classes - 1 - y


def _classes(dataset: Any) -> int:
    """One more than the highest label."""
    return max(int(dataset[index][1]) for index in range(len(dataset))) + 1
