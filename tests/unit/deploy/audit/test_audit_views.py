"""What the audit shows an attacker is what the server sees, and the attacker's algebra is that of the real sketch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from roughfed.codec.rotation import rotate
from roughfed.deploy.audit.views import MODES, chain_params, group_views, make_sketcher, sketch_map

SIZE, DIM, GROUP = 5000, 32, 8


def bytes_of(rng: np.random.Generator) -> Callable[[int], bytes]:
    return rng.bytes


@pytest.fixture
def deltas() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(GROUP, SIZE)).astype(np.float32)


def test_the_map_gives_the_claim_of_codes_that_are_exact() -> None:
    """An update that lies on the grid of codes loses nothing by rounding: claim and map agree to the last digits."""
    params = chain_params(SIZE, GROUP, 70.0, 3)
    sketcher = make_sketcher(params, DIM, GROUP, 3)
    delta = np.random.default_rng(2).normal(size=SIZE).astype(np.float32)
    rotated = np.zeros(params.layout.padded, dtype=np.float32)
    rotated[:SIZE] = delta
    rotate(rotated, params.layout, params.seed)
    codes = np.clip(np.rint(rotated / params.step) + params.lanes.zero, 0, params.lanes.levels - 1)
    off_grid = (codes - params.lanes.zero) * params.step - rotated  # what rounding adds, rotated

    claim = sketcher.claim(sketcher.of_codes(codes.astype(params.lanes.dtype)))
    matrix = sketch_map(sketcher, params).astype(np.float64)

    # the rounding error reaches the claim through the same map, before the tail is cut off: bound it by its own norm
    rows = np.sqrt(np.square(matrix).sum(axis=1))
    assert np.abs(claim - matrix @ delta).max() < 4 * rows.max() * off_grid.std()
    assert np.corrcoef(claim, matrix @ delta)[0, 1] > 0.99


def test_the_map_is_orthonormal_but_for_the_step() -> None:
    params = chain_params(4096, GROUP, 70.0, 3)  # no padding: the rotation is square
    sketcher = make_sketcher(params, DIM, GROUP, 3)
    matrix = sketch_map(sketcher, params).astype(np.float64) * params.step
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(DIM), atol=1e-5)


def test_every_mode_has_its_view(deltas: np.ndarray) -> None:
    views = group_views(deltas, DIM, seed=5, entropy=bytes_of(np.random.default_rng(0)))

    assert tuple(views) == MODES
    numbers = {mode: view.numbers for mode, view in views.items()}
    assert numbers["one sketch"] == DIM
    assert numbers["sketches"] == GROUP * DIM + SIZE
    assert {numbers[m] for m in ("updates", "updates, coded", "sums")} == {SIZE}
    assert {mode: view.clients for mode, view in views.items()} == {
        "updates": 1,
        "updates, coded": 1,
        "one sketch": 1,
        "sketches": GROUP,
        "sums": GROUP,
    }


def test_the_sum_is_the_mean_of_the_group_and_hides_one_client(deltas: np.ndarray) -> None:
    views = group_views(deltas, DIM, seed=5, entropy=bytes_of(np.random.default_rng(0)))
    mean, coded = views["sums"].mean, views["updates, coded"].mean
    assert mean is not None
    assert coded is not None
    assert np.linalg.norm(mean - deltas.mean(axis=0)) < 0.2 * np.linalg.norm(mean)
    assert 0 < np.linalg.norm(coded - deltas[0]) < 0.2 * np.linalg.norm(deltas[0])
    np.testing.assert_array_equal(views["updates"].mean, deltas[0])


def test_secrets_change_the_rounding_and_nothing_else(deltas: np.ndarray) -> None:
    one, two = (group_views(deltas, DIM, seed=5, entropy=bytes_of(np.random.default_rng(s))) for s in (0, 1))
    assert one["one sketch"].sketches is not None
    assert two["one sketch"].sketches is not None
    np.testing.assert_array_equal(one["one sketch"].sketches[1], two["one sketch"].sketches[1])
    assert (one["one sketch"].sketches[0] != two["one sketch"].sketches[0]).any()
