"""Clusters by the angles of updates: clustered federated learning (Sattler, Mueller, Samek, IEEE TNNLS 2020, "CFL").

n clients of one cluster, T rounds. Clients whose data follow different laws pull a common model different ways once it
is as good for all of them together as it can be: their updates are long while their mean is short (section III). Then
the cluster is split in two by the cosines of the updates (algorithm 1), and each part goes on from the common model.

Differs: the cosines of several rounds are averaged, since a sketch shows each with an error of 1 / sqrt(dim) and one
round's batches add to it. The parts are found by the first principal direction of the cosines and made tidy by the mean
cosine to either part, because the paper's cut at the largest cosine between the parts follows single noisy pairs. The
gap is tested for each client by its means, not for the worst pair. Lengths are relative: eps1 to the typical update,
eps2 to the longest of the first rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gram = NDArray[np.float64]
Values = NDArray[np.float64]

STEPS = 50
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class RowAngles:
    """What one round showed of its rows' angles and lengths.

    Attributes:
        names: of the clients, sorted.
        gram: inner products of their updates, float64 [n, n], all rounds in the same unit.
        error: standard error of a cosine; 0 where the rows were whole updates.
    """

    names: tuple[str, ...]
    gram: Gram
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class SplitLimits:
    """When a cluster is split (`[clusters]` of fed.toml).

    Attributes:
        window: T, rounds that are added up.
        eps1: the mean update must be shorter than this part of the typical update.
        eps2: the longest update must be longer than this part of the longest one of the first rounds.
        separation: how much larger a client's mean cosine to its own part must be than to the other part.
        smallest: clients of a part.
    """

    window: int = 3
    eps1: float = 0.7
    eps2: float = 0.05
    separation: float = 0.3
    smallest: int = 7


@dataclass(frozen=True, slots=True)
class Split:
    """What came of looking at a cluster.

    Attributes:
        parts: the larger one, then the one that leaves, names sorted; empty where nobody leaves.
        unsure: clients that stand between the parts; they are in the part that they are nearer to.
        why: "split", or what speaks against one: "rounds", "clients", "moving", "standing", "together", "small".
        mean_length: of the mean update, in units of the typical one.
        margin: mean cosine to the own part less that to the other one, of the f + 1st worst client.
        cross: largest cosine of two clients of different parts.
    """

    parts: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    unsure: tuple[str, ...] = ()
    why: str = "rounds"
    mean_length: float = 0.0
    margin: float = 0.0
    cross: float = 0.0


def cosines(gram: Gram) -> Gram:
    """Cosines of all pairs, float64 [n, n] within -1..1; 0 where a row is zero."""
    length = np.sqrt(np.maximum(gram.diagonal(), 0.0))
    scale = np.outer(length, length)
    return np.clip(np.divide(gram, scale, out=np.zeros_like(scale), where=scale > TINY), -1.0, 1.0)


def averaged(rounds: Sequence[RowAngles], names: Sequence[str]) -> tuple[Gram, NDArray[np.float64]]:
    """Mean cosines over the rounds in which both were there.

    Returns:
        cosines, float64 [n, n], 0 where two never met; and how often each pair met, float64 [n, n].
    """
    total, met = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for rows in rounds:
        here = [at for at, name in enumerate(names) if name in rows.names]
        place = [rows.names.index(names[at]) for at in here]
        total[np.ix_(here, here)] += cosines(rows.gram)[np.ix_(place, place)]
        met[np.ix_(here, here)] += 1
    return np.divide(total, met, out=np.zeros_like(total), where=met > 0), met


def halves(cosine: Gram) -> NDArray[np.bool_]:
    """Two parts of the clients: the sign of the first principal direction, then each to whom it is more alike.

    Args:
        cosine: float64 [n, n]; not changed.

    Returns:
        bool [n], True in the part without the first client; all False where there is one part.
    """
    n = len(cosine)
    centring = np.eye(n) - 1 / n
    direction = np.linalg.eigh(centring @ cosine @ centring)[1][:, -1]
    side = direction > 0
    for _ in range(STEPS):
        own, other = means(cosine, side)
        after = np.where(own >= other, side, ~side)
        if (after == side).all():
            break
        side = after
    return side != side[0]


def means(cosine: Gram, side: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Each client's mean cosine to the others of its part, and to the other part, float64 [n]; 0 without any."""
    bare = cosine.copy()
    np.fill_diagonal(bare, 0.0)
    same = np.equal.outer(side, side)
    counts = same.sum(axis=1)
    own = (bare * same).sum(axis=1) / np.maximum(counts - 1, 1)
    other = (bare * ~same).sum(axis=1) / np.maximum(len(side) - counts, 1)
    return own, other


def look(rounds: Sequence[RowAngles], first: float, members: Sequence[str], limits: SplitLimits, f: int) -> Split:
    """Whether a cluster is two.

    Clients that were not in half of the rounds are not judged; they stay. Up to f of the others may stand between the
    parts, wherever they push: more than that, and it is one cluster. A part of f clients or fewer could be attackers
    alone, and is no cluster: the defence has to bear it.

    Args:
        rounds: of the cluster since it last changed, oldest first.
        first: length of the longest update of the first rounds; 0 where it is not known.
        members: of the cluster.
        limits: when to split.
        f: attackers that are expected among them.
    """
    if len(rounds) < limits.window:
        return Split()
    rounds = rounds[-limits.window :]
    names = sorted(n for n in members if 2 * sum(n in rows.names for rows in rounds) > len(rounds))
    if len(names) < 2 * max(limits.smallest, f + 1):
        return Split(why="clients")
    mean_length = float(np.mean([_mean_length(rows.gram) for rows in rounds]))
    longest = max(float(np.sqrt(max(rows.gram.diagonal().max(), 0.0))) for rows in rounds)
    if mean_length >= limits.eps1:
        return Split(why="moving", mean_length=mean_length)
    if longest <= limits.eps2 * first:
        return Split(why="standing", mean_length=mean_length)
    return _judged(rounds, names, limits, f, mean_length)


def _judged(
    rounds: Sequence[RowAngles], names: Sequence[str], limits: SplitLimits, f: int, mean_length: float
) -> Split:
    cosine, met = averaged(rounds, names)
    side = halves(cosine)
    own, other = means(cosine, side)
    error = _error(rounds, side, met)
    margins = own - other - 2 * error
    clear = margins >= limits.separation
    unsure = tuple(name for name, sure in zip(names, clear, strict=True) if not sure)
    apart = np.not_equal.outer(side, side)
    found = Split(
        unsure=unsure,
        why="together",
        mean_length=mean_length,
        margin=float(np.sort(margins)[min(f, len(margins) - 1)]),
        cross=float(cosine[apart].max()) if apart.any() else 0.0,
    )
    if not side.any() or len(unsure) > f or not all(_holds(rows, names, side, limits) for rows in rounds):
        return found
    sizes = (clear & ~side).sum(), (clear & side).sum()
    if min(sizes) <= f or min(side.sum(), (~side).sum()) < limits.smallest:
        return _with(found, why="small")
    staying = ~side if (~side).sum() >= side.sum() else side
    parts = (
        tuple(name for name, stays in zip(names, staying, strict=True) if stays),
        tuple(name for name, stays in zip(names, staying, strict=True) if not stays),
    )
    return _with(found, why="split", parts=parts)


def _holds(rows: RowAngles, names: Sequence[str], side: NDArray[np.bool_], limits: SplitLimits) -> bool:
    """Whether one round alone says the same of the clients on the whole: no single round can make a split."""
    here = [at for at, name in enumerate(names) if name in rows.names]
    part = side[here]
    if part.all() or not part.any():
        return False
    place = [rows.names.index(names[at]) for at in here]
    own, other = means(cosines(rows.gram)[np.ix_(place, place)], part)
    return float(np.median(own - other)) >= limits.separation


def _error(rounds: Sequence[RowAngles], side: NDArray[np.bool_], met: NDArray[np.float64]) -> Values:
    """Standard error of a client's margin by the error of the cosines, float64 [n]."""
    error = max(rows.error for rows in rounds)
    same = np.equal.outer(side, side)
    own, other = (met * same).sum(axis=1), (met * ~same).sum(axis=1)
    return error * np.sqrt(1 / np.maximum(own, 1) + 1 / np.maximum(other, 1))


def _mean_length(gram: Gram) -> float:
    """Length of the mean row in units of the root mean square of the lengths."""
    n, typical = len(gram), float(np.maximum(gram.diagonal(), 0.0).mean()) if len(gram) else 0.0
    return float(np.sqrt(max(float(gram.sum()), 0.0) / n**2 / typical)) if typical > TINY else 1.0


def _with(found: Split, **changes: object) -> Split:
    from dataclasses import replace

    return replace(found, **changes)  # pyright: ignore[reportArgumentType]


def length_of(rows: RowAngles) -> float:
    """The longest update of a round, in the unit of the Gram matrix."""
    return float(np.sqrt(max(rows.gram.diagonal().max(), 0.0))) if len(rows.gram) else 0.0


def agreement(rounds: Sequence[RowAngles], client: str, members: Sequence[str]) -> tuple[float, float, int] | None:
    """How far a client agrees with the members of a cluster, and they with one another.

    Args:
        rounds: of the cluster; those without the client do not count.
        client: whom it is about.
        members: who surely belongs there.

    Returns:
        (mean cosine of the client to the members, median of the members' mean cosines to one another, rounds); None
        where it met fewer than two of them.
    """
    seen = [rows for rows in rounds if client in rows.names]
    others = sorted(name for name in members if name != client and any(name in rows.names for rows in seen))
    if len(others) < 2:
        return None
    names: Sequence[str] = [client, *others]
    cosine, met = averaged(seen, names)
    theirs = cosine[1:, 1:].copy()
    np.fill_diagonal(theirs, 0.0)
    between = theirs.sum(axis=1) / np.maximum((met[1:, 1:] > 0).sum(axis=1) - 1, 1)
    return float(cosine[0, 1:].mean()), float(np.median(between)), len(seen)


Scores = Mapping[str, float]
AGREES = 0.5
"""Part of what members have in common with one another that a newcomer must have with them: as for the defence."""


def where_next(cluster: str, score: float, *, between: float, tried: Scores, clusters: Sequence[str]) -> str:
    """Where a newcomer goes from a cluster in which it was seen for long enough.

    Args:
        cluster: where it is.
        score: its mean cosine to the members there.
        between: theirs to one another, the median.
        tried: clusters where it was before -> its score there.
        clusters: those with rounds of their own, in order.

    Returns:
        the same cluster where it agrees; else the next one that it was not in; else the one with the best score.
    """
    if score >= AGREES * max(between, 0.0) and score > 0:
        return cluster
    known = {**tried, cluster: score}
    new = [each for each in clusters if each not in known]
    return new[0] if new else max(known, key=lambda each: (known[each], each == cluster))
