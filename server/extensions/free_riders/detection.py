"""Free-riders: clients that train nothing and are given the model. What each sends is held against what it could be.

Lin et al., "Free-riders in Federated Learning: Attacks and Defenses", https://arxiv.org/abs/1911.12560 (noise, delta
weights); Fraboni et al., AISTATS 2021, https://arxiv.org/abs/2006.11901 (disguised free-riders).

n rows of clients. Five kinds, each with a figure for every row and round:

* ZERO: nothing, or as good as nothing;
* NOISE: no angle to anybody that is not chance, where honest rows have one (the mean square of its cosines, held
  against that of the median row), and none to its own last update either. Who has a class that nobody else has pulls a
  way of its own, too, but the same one in every round;
* STEP: the last global step sent back. On whole rows the cosine to it. On sketches what is left when the step is taken
  off, which is nothing but rounding then;
* OWN: its own earlier update. Of whole rows a few numbers are kept (`marks`), and equal ones are the same update;
* COPY: another client's update of this round. Of the two, the one that came later: who copies must have it first.

On sketches only ZERO and STEP are told. Each round's sketch is of other coordinates, so no row can be held against an
own earlier one; and two clients that have nothing but the same rare class differ less than 128 numbers show.

A figure is turned into evidence, the logarithm of how much better "free-rider" explains it than the honest row most
like one, and added up over the rounds, never below 0 (Page, "Continuous Inspection Schemes", Biometrika 1954): one
round says little, honest rows drift down, free-riders up. A row is flagged while its evidence is above LIMIT.

What is not seen: noise that is added to a copy or an own old update makes another update of it. Honest clients with one
class alone, and few examples, have cosines of 0.995 with one another and of 0.998 with their own last update: whatever
is told from noisy copies would flag them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roughfed.server.defence.evidence import typical
from roughfed.server.defence.gram import Values
from roughfed.server.defence.rule import PREVIOUS
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import Gram, View

ZERO, NOISE, STEP, OWN, COPY = "zero", "noise", "last-step", "own-old", "copy"
KINDS = (ZERO, NOISE, STEP, OWN, COPY)

LIMIT, CEILING = 1.0, 1.5
"""Evidence is in units of what flags; above the ceiling it does not grow: whoever trains again is soon clear."""

CERTAIN = 0.5
"""Evidence of a figure that leaves no doubt: two rounds of it."""

REMEMBERED = 0.15
"""Of the evidence that a row was nothing, less with each round in which it is something."""

FORGOTTEN = 100
"""Rounds after which what is known of a client that is away is dropped."""

NOTHING_LENGTH, NOTHING_SKETCH = 1e-4, 0.02
"""Times the typical norm. An honest client whose few examples the model knows by heart sends a hundredth of it: what is
short and not nothing has a direction, and the other figures look at that. On sketches the rounding of a row counts as
well, of which a row of zeros has none."""

STEP_COSINE, SAME_SINE = 0.95, 0.01
"""Honest rows: cosine to the last step up to 0.7, sine of the angle to another row or to an own old one from 0.05."""

NEARER = 0.25
"""Times the median row's distance to the last step, or to its own old updates, which a sent one is nearer than. Small
steps of clients with like data all go the same way, round after round: what all are near to, nobody has sent back."""

FEWEST = 5
"""Rows that are something, below which nobody can be told to agree with nobody."""


@dataclass(frozen=True, slots=True)
class RoundRows:
    """What is known of the rows of a round.

    Attributes:
        view: of clients' updates or sketches, with the extra row PREVIOUS where it is there.
        echo: sine of the angle to the nearest of its own earlier updates, float64 [n]; 1 where none is known.
        again: cosine to its own last update, about, float64 [n]; 1 where none is known.
        arrival: place of each row in the order in which the updates came, int [n]; the first is 0.
    """

    view: View
    echo: Values
    again: Values
    arrival: np.ndarray


@dataclass(frozen=True, slots=True)
class FreeRiderFinding:
    """What speaks for a free-rider.

    Attributes:
        flags: client -> the kind that most speaks for.
        evidence: client -> kind -> evidence so far, in units of what flags; 0 is left out.
        twins: client -> whose update it sent as well, in this round.
        state: to be kept for the next round.
    """

    flags: Mapping[str, str]
    evidence: Mapping[str, Mapping[str, float]]
    twins: Mapping[str, str]
    state: State


def judge(seen: RoundRows, state: State, round_number: int) -> FreeRiderFinding:
    """Add this round's evidence to what there was.

    Args:
        seen: the rows.
        state: of the last call; empty in the first round.
        round_number: of the round.

    Returns:
        the flags of the rows of this round; who is away keeps what is known of it, for a while.
    """
    names, n = seen.view.names, len(seen.view)
    if not n:
        return FreeRiderFinding({}, {}, {}, state)
    fresh, twin = _evidence(seen)
    before = np.array([state.get(name, np.zeros(len(KINDS) + 1))[:-1] for name in names])
    total = np.clip(before + fresh, 0.0, CEILING)  # [n, kinds]
    kept = {name: row for name, row in state.items() if round_number - row[-1] <= FORGOTTEN}
    now = dict(zip(names, np.column_stack([total, np.full(n, float(round_number))]), strict=True))
    against = total.max(axis=1)
    against = np.maximum(against, total[:, 0] + total[:, 1:].max(axis=1))  # who sent nothing is looked at more closely
    kinds = [KINDS[-1 - int(at)] for at in total[:, ::-1].argmax(axis=1)]  # of equals the one that says more
    flags = {name: kind for name, kind, sum_ in zip(names, kinds, against, strict=True) if sum_ >= LIMIT}
    evidence = {
        name: {kind: float(value) for kind, value in zip(KINDS, row, strict=True) if value > 0}
        for name, row in zip(names, total, strict=True)
    }
    twins = {name: names[int(at)] for name, at in zip(names, twin, strict=True) if at >= 0}
    return FreeRiderFinding(flags, {name: row for name, row in evidence.items() if row}, twins, {**kept, **now})


def _evidence(seen: RoundRows) -> tuple[Values, np.ndarray]:
    """Of this round alone, float64 [n, kinds], and whose copy each row is, int [n] or -1."""
    view = seen.view
    gram, raw = view.gram(), view.raw_squares()[: len(view)]
    sketched = view.cosine_error > 0
    usual = float(np.median(raw)) if sketched else typical(gram) ** 2
    nothing = raw <= usual * (NOTHING_SKETCH if sketched else NOTHING_LENGTH) ** 2
    found = np.zeros((len(view), len(KINDS)))
    found[:, 0] = np.where(nothing, CERTAIN, -REMEMBERED)
    twin = np.full(len(view), -1)
    if sketched:
        found[:, 2] = _step_in_sketches(view)
    else:
        found[:, 1] = np.where(seen.again < OF_ITS_OWN, noise_evidence(gram, ~nothing), -CERTAIN)
        cosine = _cosines_to(view, PREVIOUS) if PREVIOUS in view.extras else np.zeros(len(view))
        twin = copies(gram, seen.arrival, ~nothing)
        stepped = (cosine > STEP_COSINE) & _stands_out(1 - cosine, ~nothing)
        found[:, 2] = np.where(stepped, CERTAIN, -CERTAIN)
        found[:, 3] = np.where((seen.echo < SAME_SINE) & _stands_out(seen.echo, ~nothing), CERTAIN, -CERTAIN)
        found[:, 4] = np.where(twin >= 0, CERTAIN, -CERTAIN)
    found[nothing, 1:] = 0.0  # a row that is nothing has no direction
    return found, twin


# -- noise -------------------------------------------------------------------------------------------------------------

LOWEST, CHANCE, SPREAD = 0.2, 0.04, 0.07
"""Of the median row's mean squared cosine: an honest row's least, a disguised noise's most, the standard error."""

NOISE_CERTAIN = 5.0
"""Nats that flag."""

OF_ITS_OWN = 0.6
"""Cosine to its own last update from which a row is of somebody's own; 31 numbers give that of noise as 0.2 or so."""


def noise_evidence(gram: Gram, something: np.ndarray) -> Values:
    """How much better chance alone explains the angles of a row than the least that honest rows have in common.

    Args:
        gram: inner products of whole rows, float64 [n, n]; not changed.
        something: rows that are not zero, bool [n].

    Returns:
        float64 [n], in units of what flags; 0 where there are too few rows.
    """
    n = len(gram)
    if something.sum() < FEWEST:
        return np.zeros(n)
    norm = np.sqrt(np.where(something, gram.diagonal(), np.inf))
    squares = (gram / np.outer(norm, norm)) ** 2
    np.fill_diagonal(squares, 0.0)
    mean = squares.sum(axis=1) / np.maximum(something.sum() - something, 1)  # [n]
    common = max(float(np.median(mean[something])), 1e-300)
    nats = ((mean / common - LOWEST) ** 2 - (mean / common - CHANCE) ** 2) / (2 * SPREAD**2)
    return np.where(something, np.clip(nats / NOISE_CERTAIN, -1.0, CERTAIN), 0.0)


# -- whole rows --------------------------------------------------------------------------------------------------------


def copies(gram: Gram, arrival: np.ndarray, something: np.ndarray) -> np.ndarray:
    """Whose update each row is a copy of: an earlier row at an angle of next to nothing; int [n], -1 for none.

    Args:
        gram: inner products of whole rows, float64 [n, n]; not changed.
        arrival: place in the order of arrival, int [n].
        something: rows that are not zero, bool [n].
    """
    norm = np.sqrt(np.maximum(gram.diagonal(), 1e-300))
    cosine = gram / np.outer(norm, norm)
    same = np.outer(something, something) & (1 - np.minimum(cosine, 1) ** 2 < SAME_SINE**2) & (cosine > 0)
    earlier = same & (arrival[None, :] < arrival[:, None])
    first = np.where(earlier, arrival[None, :], len(gram)).argmin(axis=1)
    return np.where(earlier.any(axis=1), first, -1)


def echoes(marks: Values, known: Mapping[str, Values], names: tuple[str, ...]) -> tuple[Values, Values]:
    """How like its own earlier updates each row is, by marks.

    Args:
        marks: a few numbers of each row, float64 [n, m].
        known: client -> those of its earlier updates, float64 [k, m], the last one at the end.
        names: of the rows.

    Returns:
        sine of the angle to the nearest one, and cosine to the last one, float64 [n] each; 1 and 1 where nothing is
        known, or the marks are zero.
    """
    sine, again = np.ones(len(names)), np.ones(len(names))
    for at, name in enumerate(names):
        own, old = marks[at], known.get(name)
        if old is None or not len(old) or not own.any():
            continue
        lengths = np.linalg.norm(old, axis=1) * np.linalg.norm(own)
        cosine = np.divide(old @ own, lengths, out=np.zeros(len(old)), where=lengths > 0)
        sine[at] = np.sqrt(max(0.0, 1 - max(0.0, float(cosine.max())) ** 2))
        again[at] = cosine[-1]
    return sine, again


def _stands_out(distance: Values, something: np.ndarray) -> np.ndarray:
    """Rows that are much nearer than the median of those that are something, bool [n]."""
    return distance < NEARER * np.median(distance[something]) if something.any() else something


def _cosines_to(view: View, extra: str) -> Values:
    inner, square = view.against(extra)
    norm = np.sqrt(np.maximum(view.gram().diagonal() * square, 1e-300))
    return inner / norm


# -- sketches ----------------------------------------------------------------------------------------------------------

ROUNDINGS = 3.0
"""Roundings between a replayed step and the server's own sketch of it: the client's, what it ctx back from the round
before, and the server's."""

LEFT = 1.3
"""Times the rounding that is left of an honest row, at least, when the step is taken off; where no more is left of the
median row, everybody goes the way of the step, and nobody can be told."""

HONEST_SHARE = 0.3
"""Times the step that is in an honest row which is short enough to be taken for one; in a replayed step it is 1."""

STEP_CERTAIN = 5.0
"""Nats that flag."""


def _step_in_sketches(view: View) -> Values:
    """Evidence that nothing but rounding is left of a row when the last step is taken off; float64 [n]."""
    n, rounding = len(view), view.rounding
    if PREVIOUS not in view.extras or not rounding:
        return np.zeros(n)
    inner, _ = view.against(PREVIOUS)
    raw = view.raw_squares()
    own = raw[n + view.extras.index(PREVIOUS)]
    square = own - rounding  # of the step itself
    if square <= rounding / 4:  # the step is lost in the rounding
        return np.zeros(n)
    left = (raw[:n] - 2 * inner + own) / (ROUNDINGS * rounding)  # [n], 1 of a replayed step
    if np.median(left) <= LEFT:
        return np.zeros(n)
    spread = 2**0.5 * view.cosine_error
    fits: Values = np.minimum(((left - LEFT) ** 2 - (np.maximum(left, 1) - 1) ** 2) / (2 * spread**2), 1.0)
    fits = np.where(left > LEFT, -((left - 1) ** 2) / (2 * spread**2), fits)
    share = inner / square
    error = view.cosine_error**2 * raw[:n] / square  # variance of the share
    error = np.maximum(error, 1e-300)
    agrees: Values = ((share - HONEST_SHARE) ** 2 - (np.minimum(share, 1) - 1) ** 2) / (2 * error)
    agrees = np.where(share < HONEST_SHARE, -((HONEST_SHARE - share) ** 2) / (2 * error) - 0.5, agrees)
    return np.clip(np.clip(fits, -STEP_CERTAIN, 1.0) + np.minimum(agrees, 2.0), -STEP_CERTAIN, 3.0) / STEP_CERTAIN
