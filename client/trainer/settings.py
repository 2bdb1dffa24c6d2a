"""Learning settings of one local training, as the job (or the app) names them. Strict: nothing unknown passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from roughfed.errors import ConfigError
from roughfed.methods import AUTO, read_method
from roughfed.registry import suggestion

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")
PRIORS = ("local", "global")
CALIBRATIONS = ("none", "ccvr", "creff", "post-hoc")


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """Settings of the local SGD loop.

    Attributes:
        method: parts of the training (`roughfed.methods`), for example balanced-softmax+der++(alpha=0.3); plain: the
            task's own loss and nothing else; auto: chosen by a look at the local data.
        optimizer: sgd, adam or adamw.
        epochs: passes over the local data, at least 1.
        batch_size: examples a step, at least 1.
        lr: learning rate, above 0.
        momentum: 0 to below 1, beta1 of adam and adamw; starts afresh in every round.
        weight_decay: L2 penalty, or with adamw the share taken off the parameters; 0 or more.
        max_steps: stop after so many batches; 0 has no limit.
        schedule: of the learning rate over the whole run: constant, or cosine (to 0 at its end).
        lr_decay: factor of the learning rate from one round to the next, above 0 and at most 1.
        prior: class shares that parts adjust by, local or global; global ones are among the facts of the job.
        self_weight: whether the client may weigh itself down (`FitResult.weight`).
        calibrate: none, ccvr, creff or post-hoc: what the server finishes from sums; the header asks for them.
        compare_alone: train a second model without the others beside.
    """

    method: str = "plain"
    optimizer: str = "sgd"
    epochs: int = 1
    batch_size: int = 32
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    max_steps: int = 0
    schedule: str = "constant"
    lr_decay: float = 1.0
    prior: str = "local"
    self_weight: bool = False
    calibrate: str = "none"
    compare_alone: bool = False

    def lr_at(self, round: int, progress: float) -> float:
        """The learning rate in a round (from 1), when a share `progress` (0..1) of the whole run is over."""
        factor = 0.5 * (1 + math.cos(math.pi * progress)) if self.schedule == "cosine" else 1.0
        return self.lr * self.lr_decay ** (round - 1) * factor

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> TrainerSettings:
        """Check a mapping.

        Raises:
            ConfigError: an unknown key, a wrong type or a value out of range.
        """
        types: dict[str, type[object]] = {f.name: type(f.default) for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in given.items():
            known(key, types, key="trainer")
            values[key] = _typed(key, types[key], value)
        settings = cls(**values)
        if settings.method != AUTO:
            read_method(settings.method)
        known(settings.schedule, SCHEDULES, key="trainer.schedule")
        known(settings.prior, PRIORS, key="trainer.prior")
        known(settings.calibrate, CALIBRATIONS, key="trainer.calibrate")
        known(settings.optimizer, OPTIMIZERS, key="trainer.optimizer")
        for key, (fine, want) in _RANGES.items():
            value = getattr(settings, key)
            if not fine(value):
                raise ConfigError(f"{value!r} is out of range", key=f"trainer.{key}", cure=f"give {want}")
        return settings


_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "epochs": (lambda v: v >= 1, "1 or more"),
    "batch_size": (lambda v: v >= 1, "1 or more"),
    "lr": (lambda v: 0 < v < math.inf, "a number above 0"),
    "momentum": (lambda v: 0 <= v < 1, "0 to below 1"),
    "lr_decay": (lambda v: 0 < v <= 1, "a number above 0, at most 1"),
    "weight_decay": (lambda v: 0 <= v < math.inf, "0 or more"),
    "max_steps": (lambda v: v >= 0, "0 (no limit) or more"),
}


def known(name: str, names: Collection[str], *, key: str) -> str:
    """Return `name` if it is one of `names`.

    Raises:
        ConfigError: it is none of them; names the nearest.
    """
    if name in names:
        return name
    raise ConfigError(f"unknown name {name!r}", key=key, cure=suggestion(name, names))


def _typed(key: str, kind: type, value: object) -> object:
    if kind is float and type(value) is int:  # a bool is no number here
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{value!r} is not {_ARTICLES[kind]}", key=f"trainer.{key}")
    return value


_ARTICLES = {int: "a whole number", float: "a number", str: "a name", bool: "true or false"}
