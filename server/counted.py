"""Who counts in a round's model and with what weight: what a score of contributions is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed.server.aggregate import WEIGHTINGS, weighed
from roughfed.server.contribution.kept import Kept
from roughfed.server.defence import ROUNDING, view_of_claims
from roughfed.server.defence.verdict import Coefficients
from roughfed.server.defence.view import Gram
from roughfed.server.fair_round import fair_weights
from roughfed.server.masked.apart import row_name
from roughfed.server.masked.outcome import VOID
from roughfed.server.store import ReceivedUpdate, RoundRow
from roughfed.wire.session import decode_header

if TYPE_CHECKING:
    from roughfed.server.federation import Federation

Counted = tuple[Kept, Sequence[Path], Gram | None]
"""The round, files of its rows, or inner products of them."""


def what_counts(fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate], weighting: str) -> Counted:
    """The rows of a round that has its verdicts.

    Where a rule of the defence makes the model coordinate by coordinate nobody has a weight: then the weights are those
    of the plain mean.

    Args:
        fed: the federation.
        row: the round.
        accepted: whose updates count, in order of the clients' names.
        weighting: of the aggregate.

    Raises:
        StorageError: a file is gone.
    """
    if fed.masked is None or fed.result is None:
        return _updates(fed, row, accepted, weighting)
    return _sketches(fed, row) if fed.masked.sketches else _groups(fed, row)


def _updates(fed: Federation, row: RoundRow, accepted: Sequence[ReceivedUpdate], weighting: str) -> Counted:
    header = decode_header(row.header.body)
    names = [one.receipt.client for one in accepted]
    if isinstance(how := fed.verdict.combine if fed.verdict is not None else None, Coefficients):
        weights = [max(0.0, how.by_name.get(name, 0.0)) for name in names]
    else:
        plain = weighed([one.statement for one in accepted], WEIGHTINGS[weighting])
        weights, _ = fair_weights(fed, header, accepted, plain)
    first: dict[tuple[bytes, float], int] = {}
    same = zip((one.receipt.digest for one in accepted), weights, strict=True)
    twins = [first.setdefault(key, at) for at, key in enumerate(same)]
    kept = Kept(
        row.round,
        "updates",
        tuple(names),
        tuple(weights),
        fed.spec.size,
        codec=header.codec,
        twins=tuple(twins),
        left_out=_left_out(fed, row),
    )
    return kept, [fed.intake.spool_path(fed.run, row.round, name) for name in names], None


def _sketches(fed: Federation, row: RoundRow) -> Counted:
    quarters, classes = _quarters(fed), [] if fed.masked is None else fed.masked.classes
    terms = classes[0].masking.terms  # `config.scoring` refuses several
    groups = [group for one in classes for group in one.groups]
    claims = {name: claim for group in groups for name, claim in group.claims().items() if name in quarters}
    view = view_of_claims(claims, length=terms.length, norm_unit=terms.norm_unit, rounding=ROUNDING)
    weights = tuple(float(quarters[name]) for name in view.names)
    twins = tuple(range(len(view)))
    kept = Kept(row.round, "sketches", view.names, weights, fed.spec.size, twins=twins, left_out=_left_out(fed, row))
    return kept, (), view.gram()


def _groups(fed: Federation, row: RoundRow) -> Counted:
    quarters = _quarters(fed)
    apart = fed.result.classes[0].apart if fed.result is not None else None
    means: Mapping[str, Path] = {} if apart is None else apart.means
    groups = [] if fed.masked is None else fed.masked.groups
    inside = {row_name(at): tuple(n for n in group.names if n in quarters) for at, group in enumerate(groups)}
    members = {name: inside[name] for name in sorted(means) if inside[name]}
    weights = tuple(float(sum(quarters[one] for one in clients)) for clients in members.values())
    twins = tuple(range(len(members)))
    kept = Kept(row.round, "groups", tuple(members), weights, fed.spec.size, twins=twins, members=members)
    return kept, [means[name] for name in members], None


def _quarters(fed: Federation) -> Mapping[str, int]:
    """Weight class of each client that counts behind masks."""
    return {} if fed.result is None else fed.result.quarters


def _left_out(fed: Federation, row: RoundRow) -> tuple[str, ...]:
    """Whose update came and does not count, unless that is only the fault of its group."""
    received = fed.store.receipts(fed.run, row.round).keys()
    return tuple(sorted(name for name, why in row.excluded.items() if name in received and why != VOID))
