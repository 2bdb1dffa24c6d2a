"""A row of the table of trainer parts: what a part is called, takes, needs, and cannot stand beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Value = float | int | str | bool

ROOMS = (
    "loss",
    "ensemble",
    "sampler",
    "augment",
    "weigh",
    "select",
    "memory",
    "replay",
    "regularize",
    "isolate",
    "decouple",
    "personal",
)
"""Folders of `client/trainer/`, in the order in which their hooks run."""

SEVERAL = frozenset({"augment", "regularize"})
"""Rooms of which a method may have more than one part; of the others it has at most one."""

NEEDS: Mapping[str, str] = MappingProxyType(
    {
        "classes": "a classification",
        "counts": "training labels at hand as an array (not behind a DataLoader or a Dataset)",
        "order": "an order of its own (not a DataLoader's)",
        "ids": "examples at hand as arrays, so that each has a stable id",
        "images": "examples of the shape [channels, height, width]",
        "head": "a model that ends in one linear layer with an output for each class",
        "experts": "a model with experts (`[model] experts = 3`)",
        "memory": "a rehearsal memory, which the client's policy must allow (`[memory] allow = true`)",
        "clean": "a few examples with trusted labels (`Client(..., clean=...)`)",
        "tasks": "a stream that says which task its examples are of (`task(round)`)",
        "transition": "a known or estimated transition matrix",
        "private": "tensors that stay with the client (`model.private`)",
    }
)
"""What a part may need, and how a refusal says it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a part.

    Attributes:
        default: also decides the type.
        low: smallest number; None has no limit.
        high: largest number; None has no limit.
        choices: what a word may be; empty: anything.
        about: what it does, in half a line, with its symbol in the paper.
    """

    default: Value
    about: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


NO_OPTIONS: Mapping[str, Option] = MappingProxyType({})
NO_REASONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """One row.

    Attributes:
        room: folder of `client/trainer/` that holds it.
        about: what it does, in one line.
        source: author, venue and year.
        family: long-tail, noisy, continual, federated or personal; empty for none of them.
        options: by name.
        needs: of `NEEDS`.
        excludes: name of another part, or of a room -> why the two cannot stand together.
        brings: parts that it needs and that are added, with their defaults, where the method names none of their room.
        nets: networks that it trains beside the model.
        by_shares: whether it goes by the shares of the classes, the client's own or those of all (`trainer.prior`).
        asks: facts that it goes by, which the server makes of sums over the clients.
    """

    room: str
    about: str
    source: str = ""
    family: str = ""
    options: Mapping[str, Option] = field(default_factory=lambda: NO_OPTIONS)
    needs: frozenset[str] = frozenset()
    excludes: Mapping[str, str] = field(default_factory=lambda: NO_REASONS)
    brings: tuple[str, ...] = ()
    nets: int = 0
    by_shares: bool = False
    asks: tuple[str, ...] = ()
