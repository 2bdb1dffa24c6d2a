"""Is a new version good enough to stand? Judged on the server's own data, where no client has a say.

A version that fails is taken back, and the next round begins with the one that it was made from (`defence.rollback`).
After BaFFLe (Andreina et al., ICDCS 2021): the newest model is held against those before it. Differs: there clients
vote by what their own data show, and so many of them may lie. Behind masks a vote is a summand, and one liar moves the
sum by as much as its whole group weighs. So only the server's own examples count here. BaFFLe compares the errors of
each class; here it is the mean recall, which a class with few clients moves less from round to round.
"""

from __future__ import annotations

import math

from roughfed.errors import ConfigError, TrainerError
from roughfed.server.model import downlink
from roughfed.server.model.trainer_interface import TrainerInterface
from roughfed.server.storage.lineage import Version
from roughfed.server.storage.store import Store
from roughfed.types import Evaluation

KEY = "defence.rollback"
SERVER = ""
"""Source of an evaluation on the server's own data."""
TAKEN_BACK = "taken-back"
"""What the reason of a round begins with whose version failed."""
STANDARD_ERRORS = 3.0
"""A fall within so many standard errors of what was measured is chance."""


async def check_data(worker: TrainerInterface | None, allowed: float) -> None:
    """Refuse to judge versions where there is nothing to judge them by.

    Args:
        worker: the trainer process beside the server.
        allowed: `defence.rollback`; 0: nothing is judged.

    Raises:
        ConfigError: the server has no data, or cannot read them.
    """
    if not allowed:
        return
    try:
        counts = () if worker is None else await worker.root_counts()
    except TrainerError as error:
        raise ConfigError(f"the server's data cannot be used: {error}", key=KEY, cure="remove it") from error
    if not any(counts):
        cause = f"rollback = {allowed:g} judges each version on data of the server's own, and it has none"
        cure = "give the Client in the app of model.app data as test=, or data.name in [data]; or remove it"
        raise ConfigError(cause, key=KEY, cure=cure)


def best_before(store: Store, version: int) -> Evaluation | None:
    """The best evaluation on the server's data of the versions before one; None without any."""
    known = [each for each in store.own_evaluations(before=version) if each.num_examples]
    return max(known, key=_quality, default=None)


def fault_of(found: Evaluation, base: Evaluation | None, best: Evaluation | None, allowed: float) -> str:
    """Why a version must not stand; empty where it may.

    One that is no worse than what it was made from always may: where that lies below the bar itself (the setting is
    new, or the worker failed then), going back to it would keep the model from ever getting better.

    Args:
        found: how it does.
        base: how the version does that it was made from; None: nobody could say.
        best: how the best one before it does; None: it is the first one.
        allowed: how far its balanced accuracy may lie below that of the best, 0..1; without classes, the share of the
            loss by which the loss may lie above.
    """
    now, loss = found.balanced_accuracy, found.loss
    if loss is None or not math.isfinite(loss):
        return "its loss is no number"
    if best is None or base is None or _quality(found) >= _quality(base):
        return ""
    before = best.balanced_accuracy
    if now is None or before is None:
        least = best.loss or 0.0
        return f"loss {loss:.4g} after {least:.4g}" if loss - least > allowed * abs(least) else ""
    chance = STANDARD_ERRORS * _standard_error(found, before)
    return f"accuracy {now:.1%} after {before:.1%}" if before - now > max(allowed, chance) else ""


def discard(store: Store, version: Version) -> None:
    """Delete the files of a version that was taken back."""
    downlink.prune(store, [each for each, _ in store.versions()])
    if not store.lineage.of_digest(version.digest):
        store.model_path(version.digest).unlink(missing_ok=True)


def _quality(evaluation: Evaluation) -> float:
    balanced = evaluation.balanced_accuracy
    return -(evaluation.loss_sum / evaluation.num_examples) if balanced is None else balanced


def _standard_error(found: Evaluation, share: float) -> float:
    """Of a mean recall that is `share`: classes count the same, however few examples one has."""
    counts = [count for count in found.class_count if count]
    return math.sqrt(share * (1 - share) * sum(1 / count for count in counts)) / len(counts)
