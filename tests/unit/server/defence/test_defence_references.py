"""Rules against slow readings of their papers on whole rows, and against byzfl's where they mean the same.

byzfl counts one neighbour more in Krum: its f + 1 is our f. Its geometric median is as exact only with a small `nu`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import PREVIOUS, RULES, Situation, view_of_arrays
from roughfed.server.defence.gram import krum_scores, mixing
from roughfed.server.defence.view import reader

seeds = st.integers(0, 2**32 - 1)


def aggregate(name: str, rows: np.ndarray, f: int, previous: np.ndarray | None = None) -> np.ndarray:
    """What the round would make of float32 rows [n, D]."""
    named = {f"c{at:02}": row for at, row in enumerate(rows)}
    extras = {} if previous is None else {PREVIOUS: previous}
    verdict = RULES[name].judge(view_of_arrays(named, kind="updates", extras=extras), Situation(f))
    if verdict.combine is None:
        return np.mean([row for key, row in named.items() if key not in verdict.excluded], axis=0, dtype=np.float64)
    return combined(verdict.combine, {key: reader(row) for key, row in (named | extras).items()})(0, rows.shape[1])


def rows_of(seed: int, n: int, f: int) -> np.ndarray:
    """Around a common direction, of unequal lengths; f of them elsewhere."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=33) + rng.normal(size=(n, 33)) * rng.uniform(0.2, 2, size=(n, 1))
    rows[:f] = rng.choice([-3.0, 0.5, 20.0]) * rows[:f] + rng.normal(size=33)
    return rng.permutation(rows).astype(np.float32)


def krum(rows: np.ndarray, f: int) -> np.ndarray:
    """Section 4 of the paper."""
    n = len(rows)
    scores = [
        sum(sorted(float(np.sum((rows[i] - rows[j]) ** 2)) for j in range(n) if j != i)[: n - f - 2]) for i in range(n)
    ]
    return rows[int(np.argmin(scores))]


def nnm(rows: np.ndarray, f: int) -> np.ndarray:
    """Each row's nearest n - f are averaged; then each coordinate is trimmed."""
    n, mixed = len(rows), []
    for row in rows:
        order = sorted(range(n), key=lambda at, row=row: float(np.sum((rows[at] - row) ** 2)))
        mixed.append(np.mean([rows[at] for at in order[: n - f]], axis=0))
    return np.array([np.mean(sorted(column)[f : n - f]) for column in np.array(mixed).T])


def norm_bound(rows: np.ndarray, f: int) -> np.ndarray:
    """The mean of rows cut to the median norm."""
    del f
    norms = [float(np.linalg.norm(row)) for row in rows]
    bound = float(np.median(norms))
    return np.mean([row * min(1, bound / norm) for row, norm in zip(rows, norms, strict=True)], axis=0)


def weiszfeld(rows: np.ndarray, f: int) -> np.ndarray:
    """The fixed point of a mean by inverse distances."""
    del f
    point = rows.mean(axis=0)
    for _ in range(500):
        pull = [1 / max(float(np.linalg.norm(row - point)), 1e-9) for row in rows]
        point = sum(p * row for p, row in zip(pull, rows, strict=True)) / sum(pull)
    return point


REFERENCES = {"krum": krum, "nnm": nnm, "norm-bound": norm_bound, "geometric-median": weiszfeld}


@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=12)
@given(seed=seeds, n=st.integers(7, 11), data=st.data())
def test_a_rule_is_what_its_paper_says(name: str, seed: int, n: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(1, (n - 3) // 2))
    rows = rows_of(seed, n, f)
    expected = REFERENCES[name](rows.astype(np.float64), f)
    np.testing.assert_allclose(aggregate(name, rows, f), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def byzfl() -> types.ModuleType:
    """Its aggregators alone: the package itself would import torchvision and what draws pictures."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("needs byzfl: make setup")
    package = types.ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["byzfl"] = package
    try:
        return importlib.import_module("byzfl.aggregators")
    finally:
        del sys.modules["byzfl"]


def ours(name: str) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda rows, f: aggregate(name, rows, f)


def by_scores(rows: np.ndarray, f: int) -> np.ndarray:
    """The mean of the n - f - 1 rows with the best Krum scores: what byzfl's Multi-Krum keeps of f + 1."""
    wide = rows.astype(np.float64)
    return wide[np.argsort(krum_scores(wide @ wide.T, f), kind="stable")[: len(rows) - f - 1]].mean(axis=0)


def clipped(rows: np.ndarray, f: int) -> np.ndarray:
    return aggregate("centered-clipping", rows, f, rows[-1] / 2)


def byzfl_clipped(tools: types.ModuleType, rows: np.ndarray, f: int) -> np.ndarray:
    """With the radius that our rule takes: the upper median of the distances."""
    del f
    centre = rows[-1] / 2
    tau = float(np.sort(np.linalg.norm(rows - centre, axis=1))[len(rows) // 2])
    rule = tools.CenteredClipping(L=1, tau=tau)
    rule.m = centre  # its constructor takes none
    return rule(rows)


AGREEMENTS: dict[str, tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]] = {
    "krum": (ours("krum"), lambda tools, rows, f: tools.Krum(f + 1)(rows)),
    "multi-krum": (by_scores, lambda tools, rows, f: tools.MultiKrum(f + 1)(rows)),
    "nnm": (ours("nnm"), lambda tools, rows, f: tools.TrMean(f)(tools.NNM(f)(rows))),
    "mixing": (
        lambda rows, f: mixing(rows.astype(np.float64) @ rows.T.astype(np.float64), f) @ rows,
        lambda tools, rows, f: tools.NNM(f)(rows),
    ),
    "geometric-median": (
        ours("geometric-median"),
        lambda tools, rows, f: tools.GeometricMedian(nu=1e-6, T=500)(rows),
    ),
    "median": (ours("median"), lambda tools, rows, f: tools.Median()(rows)),
    "trimmed-mean": (ours("trimmed-mean"), lambda tools, rows, f: tools.TrMean(f)(rows)),
    "centered-clipping": (clipped, byzfl_clipped),
}


@pytest.mark.parametrize("name", AGREEMENTS)
def test_byzfl_finds_the_same(name: str, byzfl: types.ModuleType) -> None:
    own, other = AGREEMENTS[name]
    for seed in range(8):
        n = 9 + seed % 4
        f = 1 + seed % 3
        rows = rows_of(seed, n, f)
        np.testing.assert_allclose(own(rows, f), other(byzfl, rows.astype(np.float64), f), rtol=1e-4, atol=1e-5)
