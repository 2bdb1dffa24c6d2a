"""The default: exclusion by evidence, not by quota (this project's own; docs/defences.md says how it was chosen).

n rows, of which at most f are hostile. Left out are rows far longer than the typical one, or than what clients cut
theirs to, however many, and beside them those against whom most speaks, never more than f in all:

* copies: all but one of rows that are as good as the same (`evidence.parties`);
* rows whose evidence |(P, A, N, R)|_4 is above 1, each part 0 where it is below: P, how hard a few of them pulled
  together over their last rounds where the others do not go (`evidence.pulls`); A, how much less than the median row
  they agreed with the others; N, how much longer than the typical row they were; R, how much less than the median they
  agreed with the root row, where there is one.

Odd is not wrong: a client with rare data agrees with few, and harms nobody alone. What f colluders do to a mean, they
do by going the same way, or backwards. P is how far the pull lies above the median of the rows, in units of 0.16 or of
four times the rows' spread, whichever is more; where honest rows differ much, it takes more to be suspicious. A and R
are deviations of a ratio from 1, in units of 0.65 or of 2.6 times the spread. N is the mean logarithm of norm / typical
norm in units of log 2, or of 2.6 times the spread, with one more round of none, so that a single long row is not enough
unless it is very long. The 4-norm, because honest rows with much data are both longer and less alike.

Who is suspicious is told even where it is not left out: all with evidence above 1, and where the rows fall in two camps
(`roughfed.server.defence.camps`) the smaller one, if it is of more than f.

Works on norms and angles only, so alike on updates and on sketches. A client that is left out goes on being judged:
whoever behaves is back after some rounds. The rule has nothing to be set but f.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.server.defence.camps import camps
from roughfed.server.defence.evidence import EvidenceTotals, agreement, floored, parties, pulls, typical
from roughfed.server.defence.gram import Values, enough, middle
from roughfed.server.defence.rule import ROOT, Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import View

TOGETHER, LESS, LONGER, PRIOR = 0.16, 0.65, 0.68, 0.1
PULL_SPREADS, SPREADS = 4.0, 2.6
CERTAIN = 5.0
"""Standard errors of the agreement that the prior is at least: what sketches of few rounds say by chance is nothing."""

FAR_TOO_LONG = 3.0
"""Times the typical norm: one such row that is let in undoes many rounds; no honest one in our trials was so long."""
UNCUT_ERRORS = 3.0
"""Standard errors of a sketched norm by which it may exceed what clients cut their updates to."""

COPY, REASONS = "copy", ("together", "disagrees", "long", "root")
COPIED = 1.1
"""Evidence against a copy: being one says less than having pulled with others for many rounds."""


def min_rows(f: int) -> int:
    """Fewest rows among which f can be a minority."""
    return 2 * f + 1


def judge(view: View, situation: Situation) -> Verdict:
    """Leave rows out, each for its strongest reason; the scores are the evidence, in units of the limit.

    Args:
        view: rows of clients, with "root" where there is one.
        situation: f, and what the rule remembers.

    Raises:
        TooFewClients: fewer than 2f + 1 rows.
    """
    f = enough(view, situation, min_rows)
    if not f:
        return Verdict(state=situation.state)  # nobody could be left out: so many updates need not be read
    gram = view.gram()
    first = parties(gram, view.cosine_error, view.rounding)
    heads = first == np.arange(len(view))
    record = EvidenceTotals.after(situation.state, view.names, _figures(view, first, f))
    pairs = max(1, heads.sum() - 1 - 2 * f)  # whose cosines are averaged
    errors = view.cosine_error / pairs**0.5, view.cosine_error
    evidence = np.maximum(_evidence(record, heads, errors), 0)  # [n, 4]
    own: Values = np.linalg.norm(evidence, ord=4, axis=1)
    counts = in_turn(first, situation.rng())
    score = np.where(counts, own, np.maximum(own, COPIED))
    limit = longest(view)
    far = np.sqrt(np.maximum(gram.diagonal(), 0)) > limit * (typical(gram) or np.inf)
    known = np.array([name in situation.vouched for name in view.names])
    ranked = np.lexsort((-score, known, ~far))  # of equals, in the order of the names
    out = [int(at) for place, at in enumerate(ranked) if far[at] or (place < f and score[at] > 1 and not known[at])]
    reasons = {
        view.names[at]: _reason(evidence[at], copied=not counts[at] and own[at] <= COPIED, far=bool(far[at]))
        for at in sorted(out)
    }
    shown = np.where(far, np.maximum(score, limit), score)
    scores = dict(zip(view.names, shown.tolist(), strict=True))
    smaller, directions = camps(situation.state, view.names, gram, situation.round)
    suspects = frozenset(
        view.names[at] for at in np.flatnonzero((shown > 1) | (smaller if smaller.sum() > f else False))
    )
    state = {**record.state(situation.state, situation.round), **directions}
    return Verdict(reasons, scores, state=state, suspects=suspects)


def longest(view: View) -> float:
    """Norm beyond which a row is out at once, in typical norms: far too long, or not cut as all others cut theirs."""
    usual = typical(view.gram())
    uncut = view.longest * (1 + UNCUT_ERRORS * view.cosine_error / 2**0.5)
    return min(FAR_TOO_LONG, uncut / usual) if usual else FAR_TOO_LONG


def in_turn(first: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Who counts for its party in a round, bool [n]: drawn by lot, so that nobody can see to whose turn it is."""
    counts = first == np.arange(len(first))
    for head in np.unique(first[~counts]):
        members = np.flatnonzero(first == head)
        counts[members] = members == rng.choice(members)
    return counts


def _reason(evidence: Values, *, copied: bool, far: bool) -> str:
    return "long" if far else COPY if copied else REASONS[int(evidence.argmax())]


def _figures(view: View, first: np.ndarray, f: int) -> Values:
    """Pull above the median, agreement, its median, log norm / median, agreement with the root, its median; [n, 6]."""
    gram, heads = view.gram(), first == np.arange(len(view))
    agrees, pull = agreement(gram, first, f), pulls(gram, first, f)
    pull -= np.median(pull[heads])
    norm = np.sqrt(np.maximum(gram.diagonal(), 0))
    longer = np.log(np.maximum(norm, 1e-9 * typical(gram) or 1.0) / (typical(gram) or 1.0))
    rooted = np.zeros(len(view))
    if ROOT in view.extras:
        inner, sq_norm = view.against(ROOT)
        rooted = np.clip(inner / np.maximum(floored(gram) * sq_norm**0.5, 1e-300), -1, 1)
    ones = np.ones(len(view))
    medians = np.median(agrees[heads]), np.median(rooted[heads])
    return np.column_stack([pull, agrees, medians[0] * ones, np.clip(longer, -3, 3), rooted, medians[1] * ones])


def _evidence(record: EvidenceTotals, heads: np.ndarray, errors: tuple[float, float]) -> Values:
    """P, A, N and R, float64 [n, 4]; `errors`: standard errors of one round's agreement, and of that with the root."""
    sums, weight = record.sums, record.weight
    mean = sums / weight[:, None]
    priors = [np.maximum(PRIOR, CERTAIN * error / np.sqrt(weight)) for error in errors]  # [n] each
    together = mean[:, 0] / max(TOGETHER, PULL_SPREADS * middle(mean[heads, 0])[1])
    disagrees = _less(mean[:, 1], mean[:, 2], priors[0], heads)
    longer = sums[:, 3] / (weight + 1)
    longer /= max(LONGER, SPREADS * middle(longer[heads])[1])
    return np.column_stack([together, disagrees, longer, _less(mean[:, 4], mean[:, 5], priors[1], heads)])


def _less(own: Values, median: Values, prior: Values, heads: np.ndarray) -> Values:
    """How much less than the median row, in units of the limit; where nobody agrees with anybody, next to nothing."""
    ratio = (own + prior) / (np.maximum(median, 0) + prior)
    return (1 - ratio) / max(LESS, SPREADS * middle(ratio[heads])[1])
