"""[fairness] in a round: what it asks for, what its jobs bring, what its clients count for, and what is kept of it.

In the clear all follows from the journaled statements, behind masks from journaled facts and adverts: a server that was
killed gives the same weights again (docs/decisions/0022-fairness.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from roughfed.config.federation import FederationConfig
from roughfed.params import Flat
from roughfed.secagg.weight_class import FACT, LOSS_POINTS, write_table
from roughfed.server.aggregate.mean import Mean
from roughfed.server.facts import FEWEST, Facts
from roughfed.server.fairness import RULES
from roughfed.server.fairness.curve import ROUNDS_TOLD, table, usual
from roughfed.server.fairness.spread import of_histogram, of_values
from roughfed.server.fairness.step import curb
from roughfed.server.fairness.weights import factors
from roughfed.server.federation import Federation
from roughfed.server.store import EVERYBODY, Of, ReceivedUpdate, RoundRow, Store
from roughfed.types import RoundHeader
from roughfed.wire.session import decode_header

LOSSES = "eval-loss-histogram"

MODELS: Mapping[Of, str] = {
    "global": "accuracy-histogram",
    "personal": "personal-histogram",
    "alone": "alone-histogram",
}
"""What was evaluated -> the statistic that tells it behind masks."""


def by_classes(config: FederationConfig) -> bool:
    """Whether clients of masked rounds name weight classes for the sake of fairness."""
    return config.privacy.masked and config.fairness.rule != "none"


def losses_asked(config: FederationConfig) -> tuple[str, ...]:
    """Statistics of a round, as "name:length"."""
    return (f"{LOSSES}:{LOSS_POINTS}",) if by_classes(config) else ()


def classes_fact(fed: Federation, cluster: str) -> Facts:
    """The table of weight classes, once at least four clients of a cluster have told where their losses lie."""
    if not by_classes(fed.config):
        return {}
    settings = fed.config.fairness
    found = table(RULES[settings.rule], told_losses(fed.store, cluster), strength=settings.strength, cap=settings.cap)
    return {} if found is None else {FACT: write_table(found)}


def told_losses(store: Store, cluster: str) -> dict[int, Sequence[int]]:
    """The last rounds of a cluster whose sums at least four are behind -> clients by the bucket of their loss."""
    sql = "SELECT round, sums FROM rounds WHERE cluster = ? AND sums LIKE ? ORDER BY round DESC LIMIT ?"
    rows = store.journal.read(sql, cluster, f'%"{LOSSES}"%', ROUNDS_TOLD)
    sums = {row["round"]: json.loads(row["sums"])[LOSSES] for row in rows}
    return {number: counts for number, counts in sums.items() if sum(counts) >= FEWEST}


# -- in the clear ----------------------------------------------------------------------------------------------------


def fair_weights(
    fed: Federation, header: RoundHeader, accepted: Sequence[ReceivedUpdate], weights: Sequence[float]
) -> tuple[list[float], float]:
    """The weights of the updates that count, each times what its client's loss makes of it; after all verdicts.

    Args:
        fed: the federation.
        header: of the round.
        accepted: whose updates count.
        weights: of their number of examples, and of their own class.

    Returns:
        the weights; and what their mean is multiplied by, 1 except with `fairness.step = "paper"`.
    """
    settings, rule = fed.config.fairness, RULES[fed.config.fairness.rule]
    if not rule.strength:
        return list(weights), 1.0
    losses = {u.receipt.client: _loss(u, header) for u in accepted}
    fair = factors(rule, losses, strength=settings.strength, cap=settings.cap)
    found = [weight * fair[u.receipt.client] for weight, u in zip(weights, accepted, strict=True)]
    if not any(found):  # all tilted to nothing, which a cap and a median leave to rounding alone
        return list(weights), 1.0
    if not rule.curbs or settings.step == "mean":
        return found, 1.0
    norms = [u.norm or 0.0 for u in accepted]
    return found, curb(found, list(losses.values()), norms, q=settings.strength, lr=fed.config.trainer.lr)


def _loss(update: ReceivedUpdate, header: RoundHeader) -> float | None:
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


# -- what is kept ----------------------------------------------------------------------------------------------------


def fairness_figures(fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate]) -> dict[str, object]:
    """What the summary of a round keeps: how even the models are, and who counted for how much."""
    found: dict[str, object] = {}
    if spread := spread_of(fed, row):
        found["spread"] = spread
    settings, rule = fed.config.fairness, RULES[fed.config.fairness.rule]
    if rule.strength:
        weights = _relative(fed, row, accepted)
        strength = {rule.strength: settings.strength}
        found["fairness"] = {"rule": settings.rule, **strength, "cap": settings.cap, "weights": weights}
    return found


def _relative(fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate]) -> dict[str, float]:
    """Client -> what it counted for, a client at the typical loss being 1; behind masks, the class that it drew.

    A restart between a masked round's end and its summary has forgotten the classes: then none is told.
    """
    settings = fed.config.fairness
    if not fed.config.privacy.masked:
        losses = {u.receipt.client: _loss(u, decode_header(row.header.body)) for u in accepted}
        return factors(RULES[settings.rule], losses, strength=settings.strength, cap=settings.cap)
    if fed.result is None:
        return {}
    one = usual(settings.cap) if FACT in row.facts else 4.0
    return {name: quarters / one for name, quarters in sorted(fed.result.quarters.items())}


def spread_of(fed: Federation, row: RoundRow) -> dict[str, object]:
    """How even the global model of a round, the clients' own ones, and those trained alone are; what is known of it."""
    masked = fed.config.privacy.masked
    version = decode_header(row.header.body).model_version
    by_name = {} if masked else {kind: _accuracies(fed.store, version, kind) for kind in MODELS}
    found: dict[str, object] = {}
    for kind, statistic in MODELS.items():
        counts = row.sums.get(statistic, ()) if masked else ()
        figures = of_values(list(by_name[kind].values())) if not masked else {}
        if masked and sum(counts) >= FEWEST:
            figures = of_histogram(counts)
        if figures:
            found[kind] = figures
    if (share := worse_than_alone(by_name, row.sums)) is not None:
        found["worse_than_alone"] = share
    return found


def _accuracies(store: Store, version: int, kind: Of) -> dict[str, float]:
    evaluations = store.evaluations(version, kind=kind)
    return {name: a for name, e in evaluations.items() if name not in ("", EVERYBODY) and (a := e.accuracy) is not None}


def worse_than_alone(by_name: Mapping[str, Mapping[str, float]], sums: Mapping[str, Sequence[int]]) -> float | None:
    """The share of the clients to whom neither the global model nor their own gives what training alone would.

    Args:
        by_name: "global", "personal" and "alone" -> client -> accuracy; empty behind masks.
        sums: of the round; behind masks (worse, compared) of at least four.
    """
    if not by_name:
        worse, compared = sums.get("worse-than-alone", (0, 0))
        return min(worse / compared, 1.0) if compared >= FEWEST else None
    alone = by_name["alone"]
    best = {
        name: max(found)
        for name in alone
        if (found := [by_name[kind][name] for kind in ("global", "personal") if name in by_name[kind]])
    }
    return sum(best[name] < alone[name] for name in best) / len(best) if best else None
