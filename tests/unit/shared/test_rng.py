"""Derived seeds: the same for ever, and different for everything that they are for."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.rng import derive, generator

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "seeds.json").read_text())
labels = st.lists(st.integers() | st.text(max_size=12), max_size=4)


@pytest.mark.parametrize("vector", VECTORS["derive"], ids=lambda v: str(v["of"]))
def test_seeds_stay_what_they_were(vector: dict[str, object]) -> None:
    assert derive(*vector["of"]) == vector["seed"]  # pyright: ignore[reportGeneralTypeIssues]


def test_the_numbers_behind_a_seed_stay_what_they_were() -> None:
    rng = generator(*VECTORS["generator"]["of"])
    assert rng.integers(0, 2**32, size=4).tolist() == VECTORS["generator"]["integers"]
    assert rng.permutation(8).tolist() == VECTORS["generator"]["permutation"]


@given(seed=st.integers(0), other=st.integers(0), first=labels, second=labels)
def test_each_purpose_has_its_own_seed(seed: int, other: int, first: list[str | int], second: list[str | int]) -> None:
    a, b = derive(seed, *first), derive(other, *second)
    assert 0 <= a < 2**63
    same = seed == other and [(type(x), x) for x in first] == [(type(x), x) for x in second]
    assert (a == b) == same


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((1, "7"), (1, 7)),
        ((1, "a", "b"), (1, "ab")),
        ((1, 23), (12, 3)),
        ((1,), (1, "")),
        ((1, "a", "b"), (1, "b", "a")),
    ],
)
def test_parts_do_not_run_into_one_another(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    assert derive(*one) != derive(*two)


def test_a_generator_is_repeatable_and_independent() -> None:
    first, again, other = (generator(3, "cohort", n).random(100) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.4
