"""What clients found about a model comes out of masked sums as it would out of their examples together."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from roughfed.client.round.statistics import client_values
from roughfed.config import FederationConfig
from roughfed.measures import figures, pooled
from roughfed.secagg import statistics
from roughfed.server.masked.opening import MOST_CONFUSED, wanted_statistics
from roughfed.server.masked.outcome import Result, summed_evaluation
from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation, Evaluations

LEVELS = 16
CONFIG = FederationConfig.model_validate(
    {"federation": {"name": "t"}, "model": {"name": "mlp"}, "data": {"name": "digits"}}
)


def evaluation(classes: int, seed: int) -> Evaluation:
    draw = np.random.default_rng(seed)
    table = draw.integers(0, 40, (classes, classes))
    examples, right = int(table.sum()), int(table.trace())
    correct = draw.multinomial(right, np.full(BINS, 1 / BINS))
    count = correct + draw.multinomial(examples - right, np.full(BINS, 1 / BINS))
    sure = [draw.integers(0, n * CONFIDENCE_ONE + 1) for n in count]
    return Evaluation(
        bytes(32),
        examples,
        0.5 * examples,
        tuple(table.sum(axis=1).tolist()),
        tuple(table.diagonal().tolist()),
        confusion=tuple(table.reshape(-1).tolist()),
        calibration=tuple(int(n) for n in (*count, *correct, *sure)),
    )


def through_sums(evaluations: list[Evaluation], classes: int) -> Evaluation | None:
    """As clients, masks and server treat them; the masks cancel."""
    asked = statistics.read_statistics(wanted_statistics(CONFIG, classes), LEVELS)
    dtype = np.dtype(np.uint8)
    total = np.zeros(statistics.tail_lanes(asked), dtype=dtype)
    for one in evaluations:
        about: Any = SimpleNamespace(class_counts=(0,) * classes)
        trained: Any = SimpleNamespace(num_examples=9)
        given = client_values(about, Evaluations(one), trained)
        fitting = {s.name: given[s.name] for s in asked if len(given.get(s.name, ())) == s.length}
        assert set(fitting) == {s.name for s in asked}
        total += statistics.encode(fitting, asked, levels=LEVELS, dtype=dtype)
    sums, cut = statistics.decode_sum(total, len(evaluations), asked, levels=LEVELS)
    assert cut == 0
    return summed_evaluation(Result(sums=sums), bytes(32))


@pytest.mark.parametrize("classes", [2, 10, MOST_CONFUSED, MOST_CONFUSED + 1])
def test_the_sum_of_masked_evaluations_is_their_pool(classes: int) -> None:
    evaluations = [evaluation(classes, seed) for seed in range(5)]
    whole = pooled(evaluations)
    assert whole is not None
    if classes > MOST_CONFUSED:
        whole = replace(whole, confusion=())
    assert through_sums(evaluations, classes) == whole


def test_the_largest_counts_fit() -> None:
    most = statistics.KINDS["confusion"].largest
    one = Evaluation(bytes(32), most, 0.0, (most, 0), (most, 0), confusion=(most, 0, 0, 0))
    one = replace(one, calibration=(*([0] * 14), most, *([0] * 14), most, *([0] * 14), most * CONFIDENCE_ONE))
    assert through_sums([one] * 5, 2) == pooled([one] * 5)


def test_a_liar_makes_no_more_right_than_there_are() -> None:
    """Sums contradict one another where somebody lied: the figures stay shares."""
    sums = {"evaluated": (2,), "eval-loss": (0,), "eval-count": (3, 0), "eval-correct": (9, 9)}
    sums |= {"calibration": (1,) * BINS + (7,) * BINS, "confidence": (10**6,) * BINS}
    found = summed_evaluation(Result(sums=sums), bytes(32))
    assert found is not None
    assert (found.class_correct, found.calibration[BINS:]) == ((3, 0), (1,) * BINS + (CONFIDENCE_ONE,) * BINS)
    assert (figures(found).accuracy, figures(found).calibration_error) == (1.0, 0.0)


def test_pools_of_different_classes_keep_what_can_be_added() -> None:
    both = pooled([evaluation(3, 1), evaluation(2, 2)])
    assert both is not None
    assert (len(both.class_count), both.confusion, len(both.calibration)) == (3, (), 3 * BINS)
    bare = pooled([evaluation(3, 1), replace(evaluation(3, 2), confusion=(), calibration=())])
    assert bare is not None
    assert (bare.confusion, bare.calibration) == ((), ())
