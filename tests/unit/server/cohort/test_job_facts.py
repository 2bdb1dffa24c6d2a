"""What a round asks for, and what the server makes of the sums: nothing of what fewer than four are behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config.trainer import TrainerSettings
from roughfed.errors import ConfigError
from roughfed.secagg.statistics import KINDS
from roughfed.server.cohort import statistics
from roughfed.server.cohort.statistics import Shape, asked, check_shape, class_prior, facts_of, hidden, transition
from roughfed.types import Spec, TensorSpec
from roughfed.wire.job_facts import decode_facts, encode_facts

SHAPE = Shape(10, 128)


def names_in(settings: TrainerSettings, number: int, rounds: int = 30) -> set[str]:
    return {text.partition(":")[0] for text in asked(settings, SHAPE, number=number, rounds=rounds)}


def test_the_defaults_ask_for_nothing_and_tell_the_rounds() -> None:
    settings = TrainerSettings()
    assert asked(settings, SHAPE, number=1, rounds=5) == ()
    assert facts_of(statistics.wanted_facts(settings), {}, lambda _: [], planned=5) == {"rounds": (5.0,)}


def test_a_weight_of_its_own_and_a_global_matrix_ask_for_their_facts() -> None:
    assert statistics.wanted_facts(TrainerSettings(self_weight=True)) == ("class-loss-histogram",)
    assert {"class-loss-histogram", "trained", "class-owner"} <= names_in(TrainerSettings(self_weight=True), 2, 3)


def test_a_global_prior_and_calibrations_ask_for_their_sums() -> None:
    assert names_in(TrainerSettings(prior="global"), 7) == {"class-count", "class-owner"}
    features = {"feature-count", "feature-sum", "feature-outer", "trained"}
    assert features & names_in(TrainerSettings(calibrate="ccvr"), 29) == set()
    assert features <= names_in(TrainerSettings(calibrate="ccvr"), 30)
    lengths = dict(text.split(":") for text in asked(TrainerSettings(calibrate="ccvr"), SHAPE, number=30, rounds=30))
    assert (lengths["feature-sum"], lengths["feature-outer"], lengths["trained"]) == ("1280", "8256", "1")
    assert all({"head-gradient", "trained"} <= names_in(TrainerSettings(calibrate="creff"), n) for n in (1, 17, 30))


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.training])
@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 10, 11, 37, 200])
def test_a_statistic_is_asked_as_often_as_a_client_gives_it(name: str, rounds: int) -> None:
    due = [n for n in range(1, rounds + 1) if statistics._due(name, n, rounds)]
    often = KINDS[name].often
    assert due
    if often:
        assert len(due) <= often


@pytest.mark.parametrize(
    ("settings", "shape", "key"),
    [
        ({"prior": "global"}, Shape(0), "trainer.prior"),
        ({"calibrate": "ccvr"}, Shape(0), "trainer.calibrate"),
        ({"calibrate": "ccvr"}, Shape(10, 0), "trainer.calibrate"),
        ({"calibrate": "creff"}, Shape(100, 512), "trainer.calibrate"),
        ({"self_weight": True}, Shape(0), "trainer.self_weight"),
        ({"self_weight": True, "prior": "global"}, Shape(1200), "trainer.prior"),
        ({"self_weight": True}, Shape(1300), "trainer.self_weight"),
    ],
)
def test_what_the_model_cannot_give_is_refused(settings: dict[str, Any], shape: Shape, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_shape(TrainerSettings.model_validate(settings), shape)
    assert caught.value.key == key


def test_the_last_matrix_with_a_row_for_each_class_is_the_classifier() -> None:
    spec = Spec(
        (TensorSpec("a", (10, 99)), TensorSpec("b", (64, 99)), TensorSpec("c", (10, 64)), TensorSpec("d", (10,)))
    )
    assert Shape.of(spec, 10) == Shape(10, 64)
    assert Shape.of(spec, 7) == Shape(7, 0)
    assert Shape.of(spec, 0) == Shape(0, 0)


def test_a_prior_that_everybody_is_behind_is_the_share_of_the_counts() -> None:
    assert class_prior((10, 30, 60), (4, 5, 6)) == (0.1, 0.3, 0.6)
    assert (
        class_prior((), ()) == class_prior((0, 0), (4, 4)) == class_prior((1, 2), (3, 3)) == class_prior((1,), ()) == ()
    )


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9)), min_size=2, max_size=12))
def test_nothing_is_told_of_a_class_alone_that_few_own(rows: list[tuple[int, int]]) -> None:
    counts, owners = [c for c, _ in rows], [n for _, n in rows]
    few, prior = hidden(owners), class_prior(counts, owners)
    assert {c for c, n in enumerate(owners) if n < 4} <= few
    assert not any(owners[c] for c in few) or max(owners[c] for c in few) >= 4 or len(few) == len(rows), "what they sum"
    if prior:
        assert sum(prior) == pytest.approx(1.0)
        assert len({prior[c] for c in few}) <= 1
        for c in set(range(len(rows))) - few:
            assert prior[c] == counts[c] / sum(counts)


def test_rows_of_a_transition_are_shares_and_what_few_own_keeps_its_labels() -> None:
    counts = (8, 0, 7, 2, 5, 7, 0, 5, 7)  # by given label, then by the class that they seem to be of
    found = np.array(transition(counts, (4, 4, 4))).reshape(3, 3)
    np.testing.assert_allclose(found, [[0.8, 0.2, 0], [0, 0.5, 0.5], [1 / 3] * 3])
    np.testing.assert_array_equal(transition(counts, (9, 3, 2)), [1, 0, 0, 0, 1, 0, 0, 0, 1])
    four = np.array(transition((9, 1, 0, 0, 1, 9, 0, 0, 0, 0, 5, 5, 0, 0, 5, 5), (9, 9, 8, 2))).reshape(4, 4)
    np.testing.assert_array_equal(four[2:], np.eye(4)[2:])
    np.testing.assert_allclose(four[:2], [[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0]])
    assert transition(counts[:8], (4, 4, 4)) == transition((), (4, 4)) == ()


def test_what_fits_is_spoken() -> None:
    settings, classes = TrainerSettings(prior="global", self_weight=True), 1176
    check_shape(settings, Shape(classes))
    statics = {"class-count": [5] * classes, "class-owner": [9] * classes}
    table = {"trained": (9,), "class-loss-histogram": [2**20] * 16 * classes}
    found = facts_of(statistics.wanted_facts(settings), statics, lambda _: [table], planned=3)
    assert sum(map(len, found.values())) == 1 + 17 * classes
    assert decode_facts(encode_facts(found)) == found


def test_facts_are_made_of_the_newest_sum_that_four_are_behind() -> None:
    rounds: list[Mapping[str, Sequence[int]]] = [
        {"trained": (3,), "loss-histogram": (9, 9)},
        {"loss-histogram": (8, 8)},
        {"trained": (4,), "loss-histogram": (5, 6)},
        {"trained": (9,), "loss-histogram": (1, 1)},
    ]
    found = facts_of({"loss-histogram"}, {}, lambda _: rounds, planned=3)
    assert found == {"rounds": (3.0,), "loss-histogram": (5.0, 6.0)}
    statics = {"class-owner": (4, 5, 2, 3)}
    table = {"trained": (4,), "class-loss-histogram": tuple(range(64))}
    (_, told) = facts_of({"class-loss-histogram"}, statics, lambda _: [table], planned=3).values()
    assert told == (0.0,) * 16 + tuple(float(n) for n in range(16, 32)) + (0.0,) * 32
