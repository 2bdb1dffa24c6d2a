"""FLTrust against a slow reading of the paper; it needs no majority."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import LocalProtocolError, TooFewClients
from roughfed.server.defence import Situation, View, view_of_arrays, view_of_claims
from roughfed.server.defence.rules.fltrust import judge
from roughfed.server.defence.verdict import Coefficients

seeds = st.integers(0, 2**32 - 1)


def named(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}


def view_of(rows: np.ndarray, root: np.ndarray) -> View:
    return view_of_arrays(named(rows), extras={"*root": root.astype(np.float32)})


def sketches_of(rows: np.ndarray, root: np.ndarray) -> View:
    return view_of_claims(named(rows), length=rows.shape[1], norm_unit=1.0, extras={"*root": root})


def aggregate(rows: np.ndarray, root: np.ndarray, f: int) -> np.ndarray:
    how = judge(view_of(rows, root), Situation(f)).combine
    assert isinstance(how, Coefficients)
    return sum((how.by_name[name] * row.astype(float) for name, row in named(rows).items()), np.zeros(len(root)))


def paper(rows: np.ndarray, root: np.ndarray) -> np.ndarray | None:
    """Equations 1 to 4, one client after another; None where nobody is trusted."""
    total, scores = np.zeros(len(root)), 0.0
    for row in rows:
        cosine = float(row @ root) / (np.linalg.norm(row) * np.linalg.norm(root))
        trust = max(0.0, cosine)
        total += trust * np.linalg.norm(root) / np.linalg.norm(row) * row
        scores += trust
    return total / scores if scores else None


def federation(seed: int, n: int, hostile: int, *, attack: float, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Rows around a common direction, the first `hostile` of them times `attack`, and a root of the same kind."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=size)
    rows = common + rng.normal(size=(n, size))
    root = common + rng.normal(size=size)
    rows[:hostile] *= attack
    return rows, root


@given(seed=seeds, n=st.integers(2, 12), size=st.integers(2, 40))
def test_it_is_the_papers_mean(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(n, size)) * rng.uniform(0.1, 9, size=(n, 1))).astype(np.float32).astype(float)
    root = rng.normal(size=size).astype(np.float32).astype(float)
    expected = paper(rows, root)
    if expected is None:
        with pytest.raises(TooFewClients):
            judge(view_of(rows, root), Situation(1))
        return
    np.testing.assert_allclose(aggregate(rows, root, 1), expected, atol=1e-4)
    excluded = judge(view_of(rows, root), Situation(1)).excluded
    assert excluded == {f"c{i:02}": "fltrust" for i, row in enumerate(rows) if row @ root <= 0}


@pytest.mark.parametrize("attack", [-1.0, -10.0, -1e4])
@pytest.mark.parametrize("make", [view_of, sketches_of])
def test_with_a_good_root_it_holds_against_six_in_ten(make: type, attack: float) -> None:
    rows, root = federation(3, 20, 12, attack=attack)
    verdict = judge(make(rows, root), Situation(12))
    assert verdict.excluded == {f"c{i:02}": "fltrust" for i in range(12)}
    clean = rows[12:].mean(axis=0)
    found = aggregate(rows, root, 12)
    assert found @ clean > 0.9 * np.linalg.norm(found) * np.linalg.norm(clean)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_lengths_count_for_nothing(scale: float) -> None:
    """A boosted update weighs what its direction weighs: nobody is longer than the root."""
    rows, root = federation(4, 10, 3, attack=scale)
    assert np.linalg.norm(aggregate(rows, root, 3)) <= np.linalg.norm(root)
    np.testing.assert_allclose(
        aggregate(rows, root, 3), aggregate(federation(4, 10, 0, attack=1)[0], root, 3), rtol=1e-3
    )


def test_of_sketches_who_has_little_trust_is_left_out_as_well() -> None:
    """A row that is all but orthogonal to the root would count in full: there are no weights behind masks."""
    rows, root = federation(5, 10, 0, attack=1)
    aside = np.random.default_rng(6).normal(size=400)
    aside -= aside @ root / (root @ root) * root
    rows[0] = 20 * aside + 0.1 * root
    assert judge(view_of(rows, root), Situation(1)).excluded == {}
    verdict = judge(sketches_of(rows, root), Situation(1))
    assert (verdict.excluded, verdict.combine) == ({"c00": "fltrust"}, None)


@pytest.mark.parametrize("make", [view_of, sketches_of])
def test_where_nobody_is_trusted_the_round_is_void(make: type) -> None:
    rows, root = federation(7, 6, 6, attack=-1.0)
    with pytest.raises(TooFewClients):
        judge(make(rows, root), Situation(2))
    with pytest.raises(TooFewClients):
        judge(make(0 * rows, root), Situation(2))


def test_without_a_root_it_cannot_work_and_with_nobody_suspected_it_need_not() -> None:
    rows = federation(8, 5, 0, attack=1)[0]
    with pytest.raises(LocalProtocolError, match="root"):
        judge(view_of_arrays(named(rows)), Situation(1))
    assert judge(view_of_arrays(named(rows)), Situation(0)).combine is None
