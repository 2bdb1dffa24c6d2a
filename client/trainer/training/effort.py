"""FedNova's half of the client: an update as long as if everybody had made as many steps.

Wang et al., NeurIPS 2020, https://arxiv.org/abs/2007.07481, section 4.2; why it is divided here, and by what it is
multiplied, is said in `server/aggregate/fednova.py`. D parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roughfed.client.trainer.settings import TrainerSettings
from roughfed.errors import ConfigError, TrainerError
from roughfed.files import disk_errors
from roughfed.params import buffer_ranges
from roughfed.secagg.statistics import STEP_BUCKETS, STEPS, one_hot, step_bucket
from roughfed.training import Turn
from roughfed.types import Spec

PIECE = 1 << 20
"""Coordinates scaled at a time."""


def effective_steps(steps: int, momentum: float) -> float:
    """||a||_1: how many times the update holds a gradient, with momentum rho over tau steps.

    Returns:
        [tau - rho (1 - rho^tau) / (1 - rho)] / (1 - rho); tau itself without momentum.
    """
    carried = momentum * (1 - momentum**steps) / (1 - momentum)
    return (steps - carried) / (1 - momentum)


def effort_of(settings: TrainerSettings, steps: int, *, own_loop: bool) -> float:
    """The effective steps of a training.

    A step of adam or adamw is a mean of gradients already, so each counts once; so does one of a user's own loop, of
    which nothing is known. Weight decay and penalties that shrink earlier steps are not counted (their a_i differs from
    this by a factor near 1 - lr * penalty * steps / 2).
    """
    momentum = settings.momentum if settings.optimizer == "sgd" and not own_loop else 0.0
    return effective_steps(steps, momentum)


def even_out(delta: Path, spec: Spec, turn: Turn, effort: float) -> dict[str, tuple[int, ...]]:
    """Scale the update by tau_eff / effort, where the job says tau_eff, and say the effort, where the header asks.

    Args:
        delta: its file, float32 [D], and whatever follows; running statistics in it stay as they are.
        spec: of the D parameters.
        turn: the fact "steps" holds tau_eff.
        effort: `effort_of` the training.

    Returns:
        statistics to tell.

    Raises:
        ConfigError: the fact is no number of steps.
        TrainerError: reason `diverged`: a value is not finite any more.
    """
    if (said := turn.facts.get(STEPS)) is not None:
        if len(said) != 1 or not 1.0 <= said[0] <= 2.0**20:
            raise ConfigError(f"the fact {STEPS} is {list(said)[:3]}, want one number from 1 to 2^20", key=STEPS)
        scale(delta, spec, said[0] / effort)
    wanted = f"{STEPS}:{STEP_BUCKETS}" in turn.wanted
    return {STEPS: one_hot(step_bucket(effort), STEP_BUCKETS)} if wanted else {}


def scale(delta: Path, spec: Spec, by: float) -> None:
    """Multiply the learned coordinates of an update's file, in place.

    Raises:
        TrainerError: reason `diverged`: a value is not finite any more.
        StorageError: the disk refused.
    """
    measured = np.zeros(spec.size, dtype=bool)
    for low, high in buffer_ranges(spec):
        measured[low:high] = True
    with disk_errors(f"write {delta}"), delta.open("r+b") as file:
        for start in range(0, spec.size, PIECE):
            values = np.fromfile(file, dtype="<f4", count=min(PIECE, spec.size - start))
            with np.errstate(over="ignore"):
                np.multiply(values, np.float32(by), out=values, where=~measured[start : start + PIECE])
            if not np.isfinite(values).all():
                raise TrainerError("local training diverged: the update is not finite", reason="diverged")
            file.seek(4 * start)
            file.write(values.data)
