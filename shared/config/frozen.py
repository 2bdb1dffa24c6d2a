"""What does not fit a frozen base: `model.frozen`, and low-rank adapters (`model.adapters`)."""

from __future__ import annotations

from collections.abc import Iterator

from roughfed.config.federation import FederationConfig
from roughfed.config.problems import Problem, conflict
from roughfed.config.values import show
from roughfed.methods import AUTO, read_method

ADAPTERS, FROZEN, METHOD = "model.adapters", "model.frozen", "trainer.method"

ROOMS = frozenset({"isolate", "decouple"})
"""Their parts set weights to zero, scale or train them apart from the others: weights that may be frozen."""

PARTS = frozenset({"co-teaching", "jocor", "divide-mix"})
"""They train a second network from weights of its own, and there is none beside a frozen base."""


def frozen_conflicts(config: FederationConfig) -> Iterator[Problem]:
    """Everything that does not fit what is frozen."""
    m = config.model
    if not m.adapters:
        yield from _without_adapters(config)
    elif m.frozen:
        cause = f"{ADAPTERS} = {m.adapters} freezes all that model.train does not name, and {FROZEN} is set too."
        yield conflict(config, (FROZEN, ADAPTERS), cause, f"Remove {FROZEN}, and name in model.train what is trained.")
    if not m.adapters and not m.frozen:
        return
    key = ADAPTERS if m.adapters else FROZEN
    if (how := config.trainer.calibrate) != "none":
        cause = f"trainer.calibrate = {show(how)} finishes a classifier of the whole model, and {key} freezes it."
        yield conflict(config, ("trainer.calibrate", key), cause, f"Remove trainer.calibrate, or {key}.")
    if config.defence.root:
        cause = f"defence.root = {config.defence.root} trains the whole model at the server, and {key} freezes it."
        yield conflict(config, ("defence.root", key), cause, f"Remove defence.root, or {key}.")
    yield from _method(config, key)


def _without_adapters(config: FederationConfig) -> Iterator[Problem]:
    for name in ("adapt", "adapter_alpha", "train_a", "train"):
        if name in config.model.model_fields_set:
            cause = f"model.{name} = {show(getattr(config.model, name))} has no effect while {ADAPTERS} = 0."
            yield conflict(config, (f"model.{name}", ADAPTERS), cause, f"Remove model.{name}, or set {ADAPTERS}.")


def _method(config: FederationConfig, key: str) -> Iterator[Problem]:
    method = config.trainer.method
    if method == AUTO:
        cause = f"{METHOD} = {show(AUTO)} may choose parts that train the whole model, and {key} freezes some of it."
        yield conflict(config, (METHOD, key), cause, f"Name the parts in {METHOD}, or remove {key}.")
        return
    for part in read_method(method).parts:
        controlled = part.name == "scaffold" and config.model.adapters > 0
        if part.row.room in ROOMS or part.name in PARTS or controlled:
            cause = f"{part.name} in {METHOD} needs a model that is trained as a whole, and {key} freezes some of it."
            yield conflict(config, (METHOD, key), cause, f"Leave {part.name} out, or remove {key}.")
