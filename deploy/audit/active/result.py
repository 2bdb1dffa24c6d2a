"""What an attack got, and how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32] | NDArray[np.float64]

MARGIN = 0.05
"""So much nearer to the truth than guessing counts as no better: chance alone gives it."""


@dataclass(frozen=True)
class Found:
    """The end of one attack.

    Attributes:
        attack: its name.
        needs: colluders, rounds and the like, for people.
        measure: "cosine" of what was found and the truth (1 = all of it), or "error" of it as a share of that of
            guessing (0 = all of it).
        reached: by that measure; None: nothing came of it.
        guess: what the same attacker reaches without cheating.
        refused: why clients did not go along, in the order of the tries; empty: they did.
        psnr_db: of an image rebuilt from it, where an update is the gradient of one image; None: not tried.
        psnr_guess_db: of the best guess of that image.
    """

    attack: str
    needs: str
    measure: str
    reached: float | None
    guess: float
    refused: tuple[str, ...] = ()
    psnr_db: float | None = None
    psnr_guess_db: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the server knows more of the client than it would without cheating."""
        if self.reached is None:
            return False
        return self.reached > self.guess + MARGIN if self.measure == "cosine" else self.reached < self.guess - MARGIN


def cosine(found: Vector, truth: Vector) -> float:
    """Of two vectors; 0 where one of them is zero."""
    a, b = found.astype(np.float64), truth.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def error(found: Vector, truth: Vector, guess: Vector) -> float:
    """Distance from the truth as a share of that of the guess."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(guess - truth))


def mean(updates: Sequence[Vector]) -> Vector:
    """What an honest round shows of everybody in it."""
    return np.mean(np.stack(updates), axis=0)
