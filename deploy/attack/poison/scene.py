"""What an attacker knows when it makes its update.

m updates that the attackers know, f attackers among n clients, D parameters. Updates are deltas: local parameters minus
global ones, so an honest one points downhill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roughfed.params import Flat

Data = Literal["", "flip", "target", "trigger", "part", "edge"]
"""What is wrong with the data that an attacker trains on: nothing, all labels, one class, a patch with a label, a
quarter of that patch, rare examples of a class."""

Colludes = Literal["", "may", "must"]
"""Whether attackers share what they trained: it would not help, it helps, the attack is nothing without it."""


@dataclass(frozen=True, slots=True)
class PoisonContext:
    """One attacker in one round. Nothing in it is changed by who reads it.

    Attributes:
        peers: updates that the attackers know, float32 [m, D], m >= 1: where a trial grants them everything, those of
            all honest clients; among real processes those that the colluders trained themselves.
        own: what this attacker trained, on poisoned data where the attack says so; float32 [D].
        clients: n.
        attackers: f, this one too.
        rng: this attacker's own randomness.
        last_global: what the last round moved the global model by, float32 [D]; None before there is one.
        last_own: the first update that this attacker sent, float32 [D]; None before there is one.
        fellows: what all colluders trained, float32 [f, D], in an order that they agree on; None: `own` alone.
    """

    peers: Flat
    own: Flat
    clients: int
    attackers: int
    rng: np.random.Generator
    last_global: Flat | None = None
    last_own: Flat | None = None
    fellows: Flat | None = None


Craft = Callable[[PoisonContext], Flat]


@dataclass(frozen=True, slots=True)
class Poison:
    """A row of the table.

    Attributes:
        about: what the attacker does.
        source: paper and place.
        make: makes the update that is sent, float32 [D]; None: `own`, as it was trained.
        data: what is wrong with the data it trains on.
        colludes: whether it shares with other attackers what it trained.
        claims: number of examples that it claims; 0: the true one.
        counts: whether it makes use of n and f.
        knows: what it goes by, beside n and f.
        refused: why the server refuses it, or leaves it out before any rule sees it, where it sees updates; "" where it
            does not.
        capped: what limits it there, where it is taken, whatever the rule.
        masked: the same where it is masked.
    """

    about: str
    source: str
    make: Craft | None = None
    data: Data = ""
    colludes: Colludes = ""
    claims: int = 0
    counts: bool = False
    knows: str = "its own update"
    refused: str = ""
    capped: str = ""
    masked: str = ""

    @property
    def names_a_class(self) -> bool:
        """Whether its data have a class in mind that others are to be taken for."""
        return self.data in ("target", "trigger", "part", "edge")

    def craft(self, scene: PoisonContext, *, jitter: float = 0.0) -> Flat:
        """The update that this attacker sends.

        Args:
            scene: what it knows.
            jitter: norm of the noise that each colluder adds to what all of them would send, as a share of its norm:
                their answer to a server that looks for copies.

        Returns:
            float32 [D], except that of `wrong-shape`; never an array of the scene.
        """
        made = scene.own.copy() if self.make is None else self.make(scene)
        return made + noise(len(made), jitter * norm(made), scene.rng) if jitter else made


def norm(values: Flat | NDArray[np.float64]) -> float:
    """L2 norm, added up in float64."""
    wide = values.astype(np.float64, copy=False)
    return float(np.sqrt(wide @ wide))


def noise(size: int, length: float, rng: np.random.Generator) -> Flat:
    """Gaussian noise, the same in all directions; float32 [size] of L2 norm `length`."""
    values = rng.standard_normal(size)
    return (values * (length / norm(values))).astype(np.float32)


def typical_norm(peers: Flat) -> float:
    """Median L2 norm of the updates [m, D] that the attackers know."""
    return float(np.median([norm(peer) for peer in peers]))
