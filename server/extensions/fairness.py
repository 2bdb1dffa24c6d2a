"""[fairness] in the rounds: what it asks for, what its jobs say, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from roughfed.secagg.weight_class import FACT, write_table
from roughfed.server.cohort.statistics import FEWEST, Facts
from roughfed.server.context.extension import Extension, Figures
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.fairness import RULES
from roughfed.server.fairness.client_weights import LOSSES, by_classes, loss_of, losses_asked
from roughfed.server.fairness.curve import ROUNDS_TOLD, table, usual
from roughfed.server.fairness.weights import factors
from roughfed.server.metrics.spread import of_histogram, of_values
from roughfed.server.round.updates.interface import accepted_updates
from roughfed.server.storage.store import EVERYBODY, Of, Store

MODELS: Mapping[Of, str] = {
    "global": "accuracy-histogram",
    "personal": "personal-histogram",
    "alone": "alone-histogram",
}
"""What was evaluated -> the statistic that tells it behind masks."""


class FairnessExtension(Extension):
    """How even the models are, and who counts for how much."""

    def __init__(self, ctx: ServerContext) -> None:
        """As the settings say."""
        self._ctx = ctx

    def statistics(self, number: int, cluster: str) -> Iterable[str]:
        """Where the clients' losses lie, for the weight classes of masked rounds."""
        del number, cluster
        return losses_asked(self._ctx.config)

    def facts(self, number: int, cluster: str) -> Facts:
        """The table of weight classes, once at least four clients of a cluster have told where their losses lie."""
        del number
        if not by_classes(self._ctx.config):
            return {}
        settings, losses = self._ctx.config.fairness, told_losses(self._ctx.store, cluster)
        found = table(RULES[settings.rule], losses, strength=settings.strength, cap=settings.cap)
        return {} if found is None else {FACT: write_table(found)}

    def figures(self, round_: RoundState) -> Figures:
        """How even the models are, and who counted for how much."""
        found: Figures = {}
        if spread := self._spread(round_):
            found["spread"] = spread
        settings, rule = self._ctx.config.fairness, RULES[self._ctx.config.fairness.rule]
        if rule.strength:
            strength = {rule.strength: settings.strength}
            found["fairness"] = {
                "rule": settings.rule, **strength, "cap": settings.cap, "weights": self._relative(round_)
            }  # fmt: skip
        return found

    def _relative(self, round_: RoundState) -> dict[str, float]:
        """Client -> what it counted for, a client at the typical loss being 1; behind masks, the class that it drew.

        A restart between a masked round's end and its summary has forgotten the classes: then none is told.
        """
        settings = self._ctx.config.fairness
        if not self._ctx.config.privacy.masked:
            losses = {u.receipt.client: loss_of(u, round_.header) for u in accepted_updates(self._ctx, round_)}
            return factors(RULES[settings.rule], losses, strength=settings.strength, cap=settings.cap)
        if round_.result is None:
            return {}
        one = usual(settings.cap) if FACT in round_.row.facts else 4.0
        return {name: quarters / one for name, quarters in sorted(round_.result.quarters.items())}

    def _spread(self, round_: RoundState) -> Figures:
        """How even the global model of a round, the clients' own, and those trained alone are; what is known of it."""
        ctx, masked, sums = self._ctx, self._ctx.config.privacy.masked, round_.row.sums
        version = round_.header.model_version
        by_name = {} if masked else {kind: _accuracies(ctx.store, version, kind) for kind in MODELS}
        found: Figures = {}
        for kind, statistic in MODELS.items():
            counts = sums.get(statistic, ()) if masked else ()
            figures = of_values(list(by_name[kind].values())) if not masked else {}
            if masked and sum(counts) >= FEWEST:
                figures = of_histogram(counts)
            if figures:
                found[kind] = figures
        if (share := worse_than_alone(by_name, sums)) is not None:
            found["worse_than_alone"] = share
        return found


def told_losses(store: Store, cluster: str) -> dict[int, Sequence[int]]:
    """The last rounds of a cluster whose sums at least four are behind -> clients by the bucket of their loss."""
    sql = "SELECT round, sums FROM rounds WHERE cluster = ? AND sums LIKE ? ORDER BY round DESC LIMIT ?"
    rows = store.journal.read(sql, cluster, f'%"{LOSSES}"%', ROUNDS_TOLD)
    sums = {row["round"]: json.loads(row["sums"])[LOSSES] for row in rows}
    return {number: counts for number, counts in sums.items() if sum(counts) >= FEWEST}


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
