"""What attacks got, and how good it is: plain values, written as JSON into the federation's directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

Vector = NDArray[np.float32] | NDArray[np.float64]

FILE = "audit-active.json"

MARGIN = 0.05
"""So much nearer to the truth than guessing counts as no better: chance alone gives it."""


@dataclass(frozen=True, slots=True)
class Loot:
    """What an attack brought.

    Attributes:
        rounds: that it took, or questions.
        reached: by the measure; None: nothing came of it.
        guess: what the same attacker reaches without cheating.
        refused: why clients did not go along, in the order of the tries; empty: they did.
        update: the victim's, as it was found, float32 [D].
        measure: "cosine" of what was found and the truth (1 = all of it), or "error" of it as a share of that of
            guessing (0 = all of it).
    """

    rounds: int
    reached: float | None
    guess: float
    refused: tuple[str, ...] = ()
    update: NDArray[np.float32] | None = field(default=None, repr=False)
    measure: str = "cosine"

    @property
    def succeeded(self) -> bool:
        """Whether the server knows more of the client than it would without cheating."""
        if self.reached is None:
            return False
        return self.reached > self.guess + MARGIN if self.measure == "cosine" else self.reached < self.guess - MARGIN


@dataclass(frozen=True)
class AttackResult:
    """The end of one attack, as it is kept.

    Attributes:
        attack: its name.
        says: what it does.
        needs: colluders of how many.
        rounds, measure, reached, guess, refused, succeeded: as of `Loot`.
        psnr_db: of an image rebuilt from it, where an update is the gradient of one image; None: there is none.
        psnr_guess_db: of the best guess of that image.
    """

    attack: str
    says: str
    needs: str
    rounds: int
    measure: str
    reached: float | None
    guess: float
    refused: tuple[str, ...]
    succeeded: bool
    psnr_db: float | None = None
    psnr_guess_db: float | None = None


def to_json(found: Sequence[AttackResult]) -> str:
    """JSON text."""
    return TypeAdapter(list[AttackResult]).dump_json(list(found)).decode()


def mean(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Of vectors of one length."""
    return np.asarray(np.mean(np.stack(vectors), axis=0), dtype=np.float32)


def cosine(found: Vector, truth: Vector) -> float:
    """Of two vectors; 0 where one of them is zero."""
    a, b = found.astype(np.float64), truth.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def error(found: Vector, truth: Vector, guess: Vector) -> float:
    """Distance from the truth as a share of that of the guess."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(guess - truth))
