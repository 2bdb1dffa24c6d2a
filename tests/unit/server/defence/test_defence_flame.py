"""FLAME: its cluster against scikit-learn's HDBSCAN and a slow search, its clip against the paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import HDBSCAN

from roughfed.errors import TooFewClients
from roughfed.server.defence import Situation, View, view_of_arrays, view_of_claims
from roughfed.server.defence.gram import cosines
from roughfed.server.defence.rules.flame import judge
from roughfed.server.defence.verdict import Coefficients

seeds = st.integers(0, 2**32 - 1)


def named(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}


def sketches_of(rows: np.ndarray) -> View:
    return view_of_claims(named(rows), length=rows.shape[1], norm_unit=1.0)


def inside(view: View, f: int = 1) -> set[int]:
    excluded = judge(view, Situation(f)).excluded
    assert set(excluded.values()) <= {"flame"}
    return {at for at, name in enumerate(view.names) if name not in excluded}


def smallest_majority(distance: np.ndarray) -> set[int]:
    """Raise a threshold from distance to distance until a majority hangs together in the graph of what is nearer."""
    n = len(distance)
    for threshold in np.unique(distance):
        for start in range(n):
            seen, todo = {start}, [start]
            while todo:
                at = todo.pop()
                near = {other for other in range(n) if distance[at, other] <= threshold} - seen
                seen |= near
                todo += near
            if len(seen) > n // 2:
                return seen
    raise AssertionError


@settings(max_examples=40)
@given(seed=seeds, n=st.integers(4, 13), size=st.integers(2, 30))
def test_the_cluster_is_the_one_that_hdbscan_finds(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, size)) + rng.integers(0, 3) * rng.normal(size=size)
    distance = 1 - cosines(view_of_arrays(named(rows)).gram())
    np.fill_diagonal(distance, 0)
    found = inside(view_of_arrays(named(rows)))
    assert found == smallest_majority(distance)
    clustering = HDBSCAN(
        min_cluster_size=n // 2 + 1,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,  # pyright: ignore[reportArgumentType] (its stub says str)
    )
    labels = clustering.fit_predict(distance)
    assert found == set(np.flatnonzero(labels == 0).tolist())


@pytest.mark.parametrize("make", [lambda rows: view_of_arrays(named(rows)), sketches_of])
def test_a_cluster_of_the_minority_is_left_out_however_tight(make: type) -> None:
    """Nine rows of twenty that agree to the last bit, and eleven that agree only roughly."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=200) + 0.7 * rng.normal(size=(20, 200))
    rows[:9] = rng.normal(size=200)
    assert inside(make(rows), 9) == set(range(9, 20))


def test_norms_are_cut_to_the_median_of_all_and_each_counts_the_same() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=100) + 0.3 * rng.normal(size=(9, 100))
    rows[0] *= -50
    rows[1] *= 10
    rows[2] *= 0.1
    norm = np.linalg.norm(rows, axis=1)
    how = judge(view_of_arrays(named(rows)), Situation(1)).combine
    assert isinstance(how, Coefficients)
    members = inside(view_of_arrays(named(rows)))
    assert members.isdisjoint({0})
    for at, weight in enumerate(how.by_name.values()):
        expected = min(1.0, float(np.median(norm)) / norm[at]) / len(members) if at in members else 0.0
        assert weight == pytest.approx(expected, rel=1e-5)


def test_equal_rows_belong_together_and_a_sketch_is_only_chosen() -> None:
    verdict = judge(sketches_of(np.ones((7, 5))), Situation(3))
    assert (verdict.excluded, verdict.combine) == ({}, None)


def test_few_rows_and_nobody_suspected() -> None:
    assert judge(sketches_of(np.eye(2)), Situation(0)).excluded == {}
    with pytest.raises(TooFewClients) as caught:
        judge(sketches_of(np.eye(4)), Situation(2))
    assert (caught.value.needed, caught.value.got) == (5, 4)
