"""Who counts in a round's model and with what weight: what a score of contributions is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import ROUNDING, view_of_claims
from roughfed.server.defence.verdict import Coefficients
from roughfed.server.defence.view import Gram
from roughfed.server.extensions.contribution.retained import RetainedRound
from roughfed.server.fairness.client_weights import fair_weights
from roughfed.server.masked.group_sums import row_name
from roughfed.server.round.updates.interface import accepted_updates
from roughfed.server.storage.store import VOID, RoundRow

Counted = tuple[RetainedRound, Sequence[Path], Gram | None]
"""The round, files of its rows, or inner products of them."""


def what_counts(ctx: ServerContext, round_: RoundState, weighting: str) -> Counted:
    """The rows of a round that has its verdicts.

    Where a rule of the defence makes the model coordinate by coordinate nobody has a weight: then the weights are those
    of the plain mean.

    Args:
        ctx: the server.
        round_: the round.
        weighting: of the aggregate.

    Raises:
        StorageError: a file is gone.
    """
    if round_.masked is None or round_.result is None:
        return _updates(ctx, round_, weighting)
    return _sketches(ctx, round_) if round_.masked.sketches else _groups(ctx, round_)


def _updates(ctx: ServerContext, round_: RoundState, weighting: str) -> Counted:
    row, header, accepted = round_.row, round_.header, accepted_updates(ctx, round_)
    names = [one.receipt.client for one in accepted]
    if isinstance(how := round_.verdict.combine if round_.verdict is not None else None, Coefficients):
        weights = [max(0.0, how.by_name.get(name, 0.0)) for name in names]
    else:
        plain = weighed([one.statement for one in accepted], WEIGHTINGS[weighting])
        weights, _ = fair_weights(ctx.config, header, accepted, plain)
    first: dict[tuple[bytes, float], int] = {}
    same = zip((one.receipt.digest for one in accepted), weights, strict=True)
    twins = [first.setdefault(key, at) for at, key in enumerate(same)]
    kept = RetainedRound(
        row.round,
        "updates",
        tuple(names),
        tuple(weights),
        ctx.spec.size,
        codec=header.codec,
        twins=tuple(twins),
        left_out=_left_out(ctx, row),
    )
    return kept, [ctx.intake.spool_path(ctx.run, row.round, name) for name in names], None


def _sketches(ctx: ServerContext, round_: RoundState) -> Counted:
    row = round_.row
    quarters, tiers = _quarters(round_), [] if round_.masked is None else round_.masked.tiers
    terms = tiers[0].masking.terms  # `config.scoring` refuses several
    groups = [group for one in tiers for group in one.groups]
    claims = {name: claim for group in groups for name, claim in group.claims().items() if name in quarters}
    view = view_of_claims(claims, length=terms.length, norm_unit=terms.norm_unit, rounding=ROUNDING)
    weights = tuple(float(quarters[name]) for name in view.names)
    twins = tuple(range(len(view)))
    kept = RetainedRound(
        row.round, "sketches", view.names, weights, ctx.spec.size, twins=twins, left_out=_left_out(ctx, row)
    )
    return kept, (), view.gram()


def _groups(ctx: ServerContext, round_: RoundState) -> Counted:
    row = round_.row
    quarters = _quarters(round_)
    apart = round_.result.tiers[0].apart if round_.result is not None else None
    means: Mapping[str, Path] = {} if apart is None else apart.means
    groups = [] if round_.masked is None else round_.masked.groups
    inside = {row_name(at): tuple(n for n in group.names if n in quarters) for at, group in enumerate(groups)}
    members = {name: inside[name] for name in sorted(means) if inside[name]}
    weights = tuple(float(sum(quarters[one] for one in clients)) for clients in members.values())
    twins = tuple(range(len(members)))
    kept = RetainedRound(row.round, "groups", tuple(members), weights, ctx.spec.size, twins=twins, members=members)
    return kept, [means[name] for name in members], None


def _quarters(round_: RoundState) -> Mapping[str, int]:
    """Weight class of each client that counts behind masks."""
    return {} if round_.result is None else round_.result.quarters


def _left_out(ctx: ServerContext, row: RoundRow) -> tuple[str, ...]:
    """Whose update came and does not count, unless that is only the fault of its group."""
    received = ctx.store.receipts(ctx.run, row.round).keys()
    return tuple(sorted(name for name, why in row.excluded.items() if name in received and why != VOID))
