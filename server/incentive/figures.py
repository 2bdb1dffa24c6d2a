"""What the summary of a round keeps of free-riders, and of who counted for how much, for report and ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roughfed.secagg.promises import FULL
from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.defence.verdict import Coefficients
from roughfed.server.fair_round import by_classes, fair_weights
from roughfed.wire.session import decode_header

if TYPE_CHECKING:
    from roughfed.server.federation import Federation
    from roughfed.server.store import ReceivedUpdate, RoundRow

SHARES = "shares"
"""Key of a summary: client -> its share of the weight in the sum, 0..1; none where a rule of the defence goes by single
coordinates."""


def incentive_figures(
    fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate], found: Mapping[str, object]
) -> dict[str, object]:
    """The summary of a round with what it says of free-riders, and of who counted for how much.

    Args:
        fed: the federation.
        row: the round.
        accepted: updates that are in the sum.
        found: the summary so far; what it says of contributions stays.
    """
    summary = {**found, SHARES: shares_of(fed, row, accepted)}
    if (watched := fed.riders.told(row.round)) is None:
        return summary
    said: Any = found.get("contribution") or {}
    flagged = {"free_riders": dict(watched.flags), "evidence": watched.evidence, "copies": dict(watched.twins)}
    return {**summary, "contribution": {**said, **flagged}}


def shares_of(fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate]) -> dict[str, float]:
    """Client -> its part of the weight of those in the sum."""
    names, header = [update.receipt.client for update in accepted], decode_header(row.header.body)
    if header.masked:
        weights = _quarters(fed, names)
    elif fed.verdict is not None and fed.verdict.combine is not None:
        how = fed.verdict.combine
        given = how.by_name if isinstance(how, Coefficients) else {}
        weights = [max(0.0, float(given.get(name, 0.0))) for name in names]
    else:
        weighting = "uniform" if fed.config.trainer.scaffold else fed.config.aggregate.weighting_of(header.server_sees)
        plain = weighed([update.statement for update in accepted], WEIGHTINGS[weighting])
        weights, _ = fair_weights(fed, header, accepted, plain)
    whole = sum(weights)
    return {name: weight / whole for name, weight in zip(names, weights, strict=True)} if whole > 0 else {}


def _quarters(fed: Federation, names: Sequence[str]) -> list[float]:
    """Weights behind masks. A restart between a round's end and its summary has forgotten who was of which class."""
    if fed.result is not None:
        return [fed.result.quarters[name] / FULL for name in names]
    return [] if fed.config.trainer.self_weight or by_classes(fed.config) else [1.0] * len(names)
