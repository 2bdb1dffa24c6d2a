"""What every attack has, and what attacks on updates share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roughfed.codec.plan import Lanes
from roughfed.deploy.audit.active.result import Loot, cosine, mean
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene
from roughfed.deploy.audit.active.server import AttackRefused, Flat

FINE = Lanes(32, 1 << 16)
"""As many levels as a header may ask for: nothing is lost by rounding."""

STRIDE = 0.2
"""Of the clip norm: as far as models of honest rounds lie apart."""


@dataclass(frozen=True, slots=True)
class ActiveAttack:
    """A row of the table.

    Attributes:
        name: of it.
        says: what it does, for people.
        honest: clients it needs, the victim among them.
        colluders: members that it needs.
        play: plays it.
        update: whether it is after an update, from which an image can be rebuilt.
        needs: colluders of how many, for people.
    """

    name: str
    says: str
    honest: int
    colluders: int
    play: Callable[[AttackScene], Awaitable[Loot]]
    update: bool = True
    needs: str = "none"


def judged(scene: AttackScene, update: Flat | None, rounds: int, refused: tuple[str, ...] = ()) -> Loot:
    """Hold a found update against the victim's true one.

    Guessing is the mean of everybody's update: a server sees it without cheating.
    """
    truth = scene.truth(VICTIM)
    seen = [found for name in scene.clients if (found := scene.truth(name)) is not None]
    guess = cosine(mean(seen), truth) if truth is not None else 0.0
    reached = cosine(update, truth) if update is not None and truth is not None else None
    return Loot(rounds, reached, guess, refused, update)


def word(refused: AttackRefused) -> str:
    """A refusal, for people: who refused, and why."""
    who = "the client" if refused.name == VICTIM else "another client"
    return f"{who}: {refused.detail or refused.reason}"
