"""What the clients of a round count for with [fairness]: weights from their losses, after all verdicts.

In the clear all follows from the journaled statements, behind masks from journaled facts and adverts: a server that was
killed gives the same weights again (docs/decisions/0022-fairness.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.config.federation import FederationConfig
from roughfed.params import Flat
from roughfed.secagg.weight_class import LOSS_POINTS
from roughfed.server.fairness import RULES
from roughfed.server.fairness.step import curb
from roughfed.server.fairness.weights import factors
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import ReceivedUpdate
from roughfed.types import RoundHeader

LOSSES = "eval-loss-histogram"


def by_classes(config: FederationConfig) -> bool:
    """Whether clients of masked rounds name weight classes for the sake of fairness."""
    return config.privacy.masked and config.fairness.rule != "none"


def losses_asked(config: FederationConfig) -> tuple[str, ...]:
    """Statistics of a round, as "name:length": where the clients' losses lie, for the weight classes."""
    return (f"{LOSSES}:{LOSS_POINTS}",) if by_classes(config) else ()


def fair_weights(
    config: FederationConfig, header: RoundHeader, accepted: Sequence[ReceivedUpdate], weights: Sequence[float]
) -> tuple[list[float], float]:
    """The weights of the updates that count, each times what its client's loss makes of it; after all verdicts.

    Args:
        config: the settings.
        header: of the round.
        accepted: whose updates count.
        weights: of their number of examples, and of their own class.

    Returns:
        the weights; and what their mean is multiplied by, 1 except with `fairness.step = "paper"`.
    """
    settings, rule = config.fairness, RULES[config.fairness.rule]
    if not rule.strength:
        return list(weights), 1.0
    losses = {u.receipt.client: loss_of(u, header) for u in accepted}
    fair = factors(rule, losses, strength=settings.strength, cap=settings.cap)
    found = [weight * fair[u.receipt.client] for weight, u in zip(weights, accepted, strict=True)]
    if not any(found):  # all tilted to nothing, which a cap and a median leave to rounding alone
        return list(weights), 1.0
    if not rule.curbs or settings.step == "mean":
        return found, 1.0
    norms = [u.norm or 0.0 for u in accepted]
    return found, curb(found, list(losses.values()), norms, q=settings.strength, lr=config.trainer.lr)


def loss_of(update: ReceivedUpdate, header: RoundHeader) -> float | None:
    """What a client says of the model that it was sent; of another one nothing."""
    found = update.statement.evaluation
    return found.loss if found is not None and found.model_digest == header.model_digest else None


def shortened(mean: Mean, length: float) -> Mean:
    """A mean times a number."""
    if length == 1.0:
        return mean

    def short(start: int, stop: int) -> Flat:
        values = mean(start, stop)
        values *= values.dtype.type(length)
        return values

    return short
