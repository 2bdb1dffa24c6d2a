"""The default: exclusion by evidence, not by quota (this project's own; docs/defences.md says how it was chosen).

n rows, of which at most f are hostile. Left out are rows longer than three times the typical norm, however many, and
beside them those against whom most speaks, never more than f in all:

* copies: all but one of rows that are as good as the same (`evidence.parties`);
* rows whose evidence |(A, N, R)|_4 is above 1, each part 0 where it is below: A, how much less than the median row they
  agreed with the others over their last rounds; N, how much longer than the typical row they were; R, how much less
  than the median they agreed with the root row, where there is one.

A and R are deviations of a ratio from 1, in units of 0.5 or of twice the rows' own spread, whichever is more: where
honest rows differ much, it takes more to be suspicious; the 4-norm, because honest rows with much data are both longer
and less alike. N is the mean logarithm of norm / typical norm in units of log 2, with one more round of none, so that a
single long row is not enough unless it is very long.

Works on norms and angles only, so alike on updates and on sketches. A client that is left out goes on being judged:
whoever behaves is back after some rounds. The rule has nothing to be set but f.
"""

from __future__ import annotations

import numpy as np

from roughfed.server.defence.evidence import EvidenceTotals, agreement, floored, parties, typical
from roughfed.server.defence.gram import Values, enough, middle
from roughfed.server.defence.rule import ROOT, Situation
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.view import View

LESS, SPREADS, LONGER, PRIOR = 0.5, 2.0, 0.68, 0.05
CERTAIN = 5.0
"""Standard errors of the agreement that the prior is at least: what sketches of few rounds say by chance is nothing."""

FAR_TOO_LONG = 3.0
"""Times the typical norm: one such row that is let in undoes many rounds; no honest one in our trials was so long."""

COPY, REASONS = "copy", ("disagrees", "long", "root")
COPIED = 1.5
"""Evidence against a copy: being one says less than having turned against the others for many rounds."""


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
    evidence = np.maximum(_evidence(record, heads, errors), 0)  # [n, 3]
    own: Values = np.linalg.norm(evidence, ord=4, axis=1)
    score = np.where(heads, own, np.maximum(own, COPIED))
    far = np.sqrt(np.maximum(gram.diagonal(), 0)) > FAR_TOO_LONG * typical(gram)
    ranked = np.lexsort((-score, ~far))  # of equals, in the order of the names
    out = [int(at) for place, at in enumerate(ranked) if far[at] or (place < f and score[at] > 1)]
    reasons = {view.names[at]: _reason(evidence[at], copied=not heads[at], far=bool(far[at])) for at in sorted(out)}
    shown = np.where(far, np.maximum(score, FAR_TOO_LONG), score)
    scores = dict(zip(view.names, shown.tolist(), strict=True))
    return Verdict(reasons, scores, state=record.state(situation.state, situation.round))


def _reason(evidence: Values, *, copied: bool, far: bool) -> str:
    return "long" if far else COPY if copied else REASONS[int(evidence.argmax())]


def _figures(view: View, first: np.ndarray, f: int) -> Values:
    """Agreement, that of the median row, log norm / median, agreement with the root, the median's; float64 [n, 5]."""
    gram, heads = view.gram(), first == np.arange(len(view))
    agrees = agreement(gram, first, f)
    norm = np.sqrt(np.maximum(gram.diagonal(), 0))
    longer = np.log(np.maximum(norm, 1e-9 * typical(gram) or 1.0) / (typical(gram) or 1.0))
    rooted = np.zeros(len(view))
    if ROOT in view.extras:
        inner, sq_norm = view.against(ROOT)
        rooted = np.clip(inner / np.maximum(floored(gram) * sq_norm**0.5, 1e-300), -1, 1)
    ones = np.ones(len(view))
    medians = np.median(agrees[heads]), np.median(rooted[heads])
    return np.column_stack([agrees, medians[0] * ones, np.clip(longer, -3, 3), rooted, medians[1] * ones])


def _evidence(record: EvidenceTotals, heads: np.ndarray, errors: tuple[float, float]) -> Values:
    """A, N and R, float64 [n, 3]; `errors`: standard errors of one round's agreement, and of that with the root."""
    sums, weight = record.sums, record.weight
    mean = sums / weight[:, None]
    priors = [np.maximum(PRIOR, CERTAIN * error / np.sqrt(weight)) for error in errors]  # [n] each
    longer = sums[:, 2] / (weight + 1) / LONGER
    return np.column_stack(
        [_less(mean[:, 0], mean[:, 1], priors[0], heads), longer, _less(mean[:, 3], mean[:, 4], priors[1], heads)]
    )


def _less(own: Values, median: Values, prior: Values, heads: np.ndarray) -> Values:
    """How much less than the median row, in units of the limit; where nobody agrees with anybody, next to nothing."""
    ratio = (own + prior) / (np.maximum(median, 0) + prior)
    return (1 - ratio) / max(LESS, SPREADS * middle(ratio[heads])[1])
