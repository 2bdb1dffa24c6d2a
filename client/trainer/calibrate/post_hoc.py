"""Post-hoc logit adjustment (Menon et al., ICLR 2021, equation 9): b_c <- b_c - log pi_c, tau = 1.

pi is the share of a class in all clients' examples; never beside a training that adjusts for it already.
"""

from __future__ import annotations

from roughfed.client.trainer.training.classifier_sums import Classifier, CohortSums

LEAST = 1e-3
"""Smallest share that is adjusted for: a class nearly nobody has must not win everywhere."""


def post_hoc(given: CohortSums) -> Classifier:
    """Shift the biases by the class counts; a class without a count keeps its own, relative to the largest class."""
    start = given.classifier
    counts = given.sum_of("class-count", len(start.bias))
    share = (counts / counts.sum().clamp_min(1.0)).clamp_min(LEAST)
    shift = (share / share.max()).log().float()
    shift[counts == 0] = 0.0
    return Classifier(start.weight.clone(), start.bias - shift)
