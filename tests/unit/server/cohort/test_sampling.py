"""Who takes part: repeatable, fair, and blind to the order of arrival."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.cohort_order import draw_order
from roughfed.server.cohort.sampling import able, choose

names = st.lists(st.text("abcdef-0123", min_size=1, max_size=8), max_size=30, unique=True)


@given(connected=names, invited=st.integers(0, 40), seed=st.integers(0), number=st.integers(1), data=st.data())
def test_a_cohort_is_a_function_of_the_set(
    connected: list[str], invited: int, seed: int, number: int, data: st.DataObject
) -> None:
    cohort = choose(connected, invited=invited, seed=seed, round_number=number)
    assert list(cohort) == sorted(set(cohort))
    assert set(cohort) <= set(connected)
    assert len(cohort) == min(invited, len(connected))
    shuffled = data.draw(st.permutations(connected))
    assert choose(shuffled, invited=invited, seed=seed, round_number=number) == cohort


def test_everybody_gets_a_turn() -> None:
    connected = [f"c{i:02d}" for i in range(20)]
    counts = Counter(name for n in range(1000) for name in choose(connected, invited=5, seed=1, round_number=n))
    assert set(counts) == set(connected)
    assert 180 < min(counts.values()) <= max(counts.values()) < 320  # 250 expected, sd 14


def test_seed_and_round_both_matter() -> None:
    connected = [f"c{i:02d}" for i in range(50)]
    drawn = {choose(connected, invited=10, seed=seed, round_number=n) for seed in range(5) for n in range(20)}
    assert len(drawn) == 100


def test_a_cohort_of_an_old_run_can_be_drawn_again() -> None:
    """A fixed vector: the report of a run names cohorts, and anybody may check them."""
    connected = [f"client-{i}" for i in range(10)]
    assert choose(connected, invited=3, seed=42, round_number=7) == ("client-2", "client-5", "client-9")


def test_only_who_can_encode_is_asked_and_the_others_are_named(caplog: pytest.LogCaptureFixture) -> None:
    offered = {"b": ("identity", "int8"), "a": ("int8",), "c": ("identity",), "d": ()}
    assert able(offered, "int8") == ["a", "b"]
    assert [record.getMessage().endswith("as int8: c, d") for record in caplog.records] == [True]
    caplog.clear()
    assert able({"a": ("int8",)}, "int8") == ["a"]
    assert not caplog.records


@given(connected=names, invited=st.integers(0, 40), beacon=st.binary(min_size=32, max_size=32), data=st.data())
def test_in_a_masked_round_the_first_in_the_order_of_the_beacon_are_asked(
    connected: list[str], invited: int, beacon: bytes, data: st.DataObject
) -> None:
    """Whatever the seed of the run, and whatever the order in which they came."""
    order = draw_order(beacon, 7)
    cohort = choose(connected, invited=invited, seed=1, round_number=7, order=order)
    shuffled = data.draw(st.permutations(connected))
    assert choose(shuffled, invited=invited, seed=2, round_number=7, order=order) == cohort
    assert set(cohort) == set(sorted(connected, key=order)[:invited])


def test_with_a_beacon_too_everybody_gets_a_turn() -> None:
    connected = [f"c{i:02d}" for i in range(20)]
    orders = [draw_order(bytes([n % 100]) * 32, n) for n in range(1000)]
    counts = Counter(n for order in orders for n in choose(connected, invited=5, seed=1, round_number=1, order=order))
    assert set(counts) == set(connected)
    assert 180 < min(counts.values()) <= max(counts.values()) < 320
