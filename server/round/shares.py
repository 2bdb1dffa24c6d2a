"""Who counted for how much in a round: kept in its summary, for report and ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from roughfed.secagg.adverts import FULL
from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence.verdict import Coefficients
from roughfed.server.fairness.client_weights import by_classes, fair_weights
from roughfed.server.round.updates.interface import accepted_updates

SHARES = "shares"
"""Key of a summary: client -> its share of the weight in the sum, 0..1; none where a rule of the defence goes by single
coordinates."""


def shares_of(ctx: ServerContext, round_: RoundState) -> dict[str, float]:
    """Client -> its part of the weight of those in the sum."""
    accepted, header = accepted_updates(ctx, round_), round_.header
    names = [update.receipt.client for update in accepted]
    if header.masked:
        weights = _quarters(ctx, round_, names)
    elif round_.verdict is not None and round_.verdict.combine is not None:
        how = round_.verdict.combine
        given: Mapping[str, float] = how.by_name if isinstance(how, Coefficients) else {}
        weights = [max(0.0, float(given.get(name, 0.0))) for name in names]
    else:
        weighting = "uniform" if ctx.config.trainer.scaffold else ctx.config.aggregate.weighting_of(header.server_sees)
        plain = weighed([update.statement for update in accepted], WEIGHTINGS[weighting])
        weights, _ = fair_weights(ctx.config, header, accepted, plain)
    whole = sum(weights)
    return {name: weight / whole for name, weight in zip(names, weights, strict=True)} if whole > 0 else {}


def _quarters(ctx: ServerContext, round_: RoundState, names: Sequence[str]) -> list[float]:
    """Weights behind masks. A restart between a round's end and its summary has forgotten who was of which class."""
    if round_.result is not None:
        return [round_.result.quarters[name] / FULL for name in names]
    return [] if ctx.config.trainer.self_weight or by_classes(ctx.config) else [1.0] * len(names)
