"""What speaks against a row, from round to round: copies, a few that pull together, disagreement, too long a row.

n rows. One round's angles say little: local steps are noise for the most part, and sketches add to it. What a client
does again and again says much, so the figures of its last rounds are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.server.defence.gram import Values, geometric_median
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import Gram

COPY_COSINE, COPY_SHARE = 0.9, 0.5
COPY_ERRORS = 4.0
"""Standard errors that what two rows have in common across the middle must be at least: where rows are short, or all
but parallel, most of what their sketches show there is rounding, and honest rows look like one another's copies."""

SHORT = 0.3
"""A row shorter than this part of the median counts as that long in cosines: the angle of next to nothing is noise."""

CUT = 1.5
"""Rows count as no longer than so many typical norms where it is asked how they pull."""

DECAY, FORGOTTEN = 0.95, 100
TINY = 1e-300


def typical(gram: Gram) -> float:
    """Median norm of the rows that are not next to nothing; 0 where more than half are nothing at all."""
    norm = np.sqrt(np.maximum(gram.diagonal(), 0))
    middle = float(np.median(norm)) if len(norm) else 0.0
    return float(np.median(norm[norm >= middle / 4])) if middle else 0.0


def parties(gram: Gram, error: float = 0.0, rounding: float = 0.0) -> NDArray[np.intp]:
    """Who is whose copy: rows that are one another's as good as without a difference count as one party.

    Two rows are copies when nearly all of what both have across the direction of the rows' geometric median is the same
    (cosine 0.9), and most of the rows themselves, too. Clients with the same few classes have less in common; so do
    colluders that add much noise to one update, who are seen by their pull. Along that direction honest rows differ by
    their lengths alone, which says nothing.

    Args:
        gram: inner products, float64 [n, n]; not changed.
        error: standard error of a cosine of two rows (`View.cosine_error`).
        rounding: squared length that rounding adds to a row, and which is not on the diagonal (`View.rounding`).

    Returns:
        for each row the shortest one of its party, int [n], of equals the first; itself where nobody is like it.
    """
    n = len(gram)
    order = np.argsort(gram.diagonal(), kind="stable")
    first = np.arange(n)
    for _ in range(3):  # copies must not drag the middle to themselves: it is found again without them
        heads = np.flatnonzero(first == np.arange(n))
        weights = np.zeros(n)
        weights[heads] = geometric_median(gram[np.ix_(heads, heads)])
        alike = _alike(gram, weights, error, rounding)
        joined = _joined(alike[np.ix_(order, order)])  # [n] in this order, by place in it
        found = np.empty(n, dtype=first.dtype)
        found[order] = order[joined]
        if (found == first).all():
            break
        first = found
    return first


def _alike(gram: Gram, centre: Values, error: float, rounding: float) -> NDArray[np.bool_]:
    along = gram @ centre  # [n]
    across = gram - np.outer(along, along) / max(
        float(centre @ along), TINY
    )  # Gram matrix of what is across the centre
    length = np.sqrt(np.maximum(across.diagonal(), 0))
    scale = np.outer(length, length)
    cosine = np.divide(across, scale, out=np.zeros_like(scale), where=scale > 0)
    both = gram.diagonal()[:, None] + gram.diagonal()[None, :]
    share = np.divide(2 * gram, both, out=np.zeros_like(both), where=both > 0)
    seen = np.sqrt(length**2 + rounding)
    alike = (cosine >= COPY_COSINE) & (across >= COPY_ERRORS * error * np.outer(seen, seen)) & (share >= COPY_SHARE)
    np.fill_diagonal(alike, True)
    return alike


def _joined(alike: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first member of everybody's connected component, int [n]."""
    first = np.arange(len(alike))
    while True:
        nearer = np.where(alike, first[None, :], len(alike)).min(axis=1)
        if (nearer == first).all():
            return first
        first = nearer


def agreement(gram: Gram, first: NDArray[np.intp], f: int) -> Values:
    """How far every row agrees with the other parties: the mean of its cosines to them without the f at either end.

    Args:
        gram: inner products, float64 [n, n]; not changed.
        first: who counts for the party of each row (`parties`), int [n].
        f: so many colluders cannot raise their own agreement by much, nor lower another's.

    Returns:
        float64 [n]; 0 for a row without another party.
    """
    cosine = gram / np.outer(lengths := floored(gram), lengths)
    heads = first == np.arange(len(gram))
    found = np.zeros(len(gram))
    for at, row in enumerate(cosine):
        others = np.sort(row[heads & (np.arange(len(gram)) != first[at])])
        cut = min(f, max(0, len(others) - 1) // 2)
        if len(others):
            found[at] = others[cut : len(others) - cut].mean()
    return np.clip(found, -1, 1)


def pulls(gram: Gram, first: NDArray[np.intp], f: int) -> Values:
    """How hard the f rows that go most the way of each row pull together with it where the others do not go.

    What f colluders do to a mean is their common part beyond that of all. So of each row is taken what it has across
    the rows' geometric median, and what it has against it; what it has along it is nobody's fault. A row that is odd by
    its data alone has nobody beside it there. And a row that others come near to, who are not near to one another, is
    no colluder but their victim: so what the f have in common without the row counts, where it is less.

    Args:
        gram: inner products, float64 [n, n]; not changed.
        first: who counts for the party of each row (`parties`), int [n].
        f: colluders that are to be seen.

    Returns:
        float64 [n], the mean of the f largest inner products with other parties, or that of those f with one another
        where it is less, none below 0, in units of the squared typical norm; rows longer than `CUT` typical norms as if
        they were that long. 0 for f = 1: nobody pulls together with itself.
    """
    n, usual = len(gram), typical(gram)
    if not usual:
        return np.zeros(n)
    norm = np.sqrt(np.maximum(gram.diagonal(), 0))
    cut = np.minimum(1.0, CUT * usual / np.maximum(norm, TINY)) / usual
    gram = gram * np.outer(cut, cut)
    heads = first == np.arange(n)
    weights = np.zeros(n)
    weights[heads] = geometric_median(gram[np.ix_(heads, heads)])
    along = gram @ weights / max(float(weights @ gram @ weights), TINY) ** 0.5
    against = np.minimum(along, 0)
    beyond = gram - np.outer(along, along) + np.outer(against, against)
    other = heads[None, :] & (first[:, None] != first[None, :])
    common = np.where(other, np.maximum(beyond, 0), 0)
    # By what they have in common before it is cut at 0, so that no name decides among those that have nothing.
    best = np.argsort(np.where(other, -beyond, np.inf), axis=1, kind="stable")[:, : max(1, f)]  # [n, f]
    with_row = np.take_along_axis(common, best, axis=1).mean(axis=1)
    count = best.shape[1]
    if count < 2:
        return np.zeros(n)
    chosen = np.zeros((n, n))
    np.put_along_axis(chosen, best, 1.0, axis=1)
    without = ((chosen @ common) * chosen).sum(axis=1) / (count * (count - 1))  # over pairs of the f, without the row
    return np.minimum(with_row, without)


def floored(gram: Gram) -> Values:
    """Norms, float64 [n], none below `SHORT` of the typical one; 1 where all rows are zero."""
    norm = np.sqrt(np.maximum(gram.diagonal(), 0))
    return np.maximum(norm, SHORT * typical(gram) or 1.0)


@dataclass(frozen=True, slots=True)
class EvidenceTotals:
    """Figures of the rows added up over the rounds that each took part in, older ones counting less.

    Attributes:
        names: of the rows.
        sums: float64 [n, k], a column for each figure.
        weight: float64 [n], what a figure that was always 1 would have added up to.
    """

    names: Sequence[str]
    sums: Values
    weight: Values

    @classmethod
    def after(cls, state: State, names: Sequence[str], figures: Values) -> EvidenceTotals:
        """The record with this round's figures, float64 [n, k], whose number of columns must not change in a run."""
        width: int = figures.shape[1]
        kept = {
            name: row for name, row in state.items() if len(row) == width + 2
        }  # another version's count for nothing
        before = np.array([kept.get(name, np.zeros(width + 2))[: width + 1] for name in names]).reshape(-1, width + 1)
        now = DECAY * before + np.column_stack([figures, np.ones(len(names))])
        return cls(names, now[:, :width], now[:, width])

    def state(self, before: State, round_number: int) -> State:
        """To be kept: these rows, and those that were not there in this round unless that is long ago."""
        kept = {name: row for name, row in before.items() if round_number - row[-1] <= FORGOTTEN}
        rows = np.column_stack([self.sums, self.weight, np.full(len(self.names), float(round_number))])
        return {**kept, **dict(zip(self.names, rows, strict=True))}
