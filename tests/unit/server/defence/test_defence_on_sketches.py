"""The defence on real claims: updates through the whole codec, sketched, judged as if they were all there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import pytest

from roughfed.codec.chain import encode
from roughfed.codec.plan import ChainParams, clip_sigmas, plan_lanes
from roughfed.server.defence import ROUNDING, RULES, Situation, View, view_of_claims
from roughfed.sketch.buckets import Sketcher, bucket_sizes

D = 1 << 15
DIM = 128
C = 10.0


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def sketched(
    updates: Mapping[str, np.ndarray], round_: int, *, group: int = 16, keep_one_in: int = 1, rounding: float = 0.0
) -> View:
    """What the server makes of the updates: clip, rotate, subset, round, sketch, view."""
    params = ChainParams(D, plan_lanes(group), C, digest("codec", round_), keep_one_in)
    rms = (params.lanes.levels - 1) / 2 / clip_sigmas(params.lanes.levels)
    sizes = bucket_sizes(params.sent, DIM, bits=params.lanes.bits, code_rms=rms, colluders=5)
    lanes = params.lanes
    sketcher = Sketcher(digest("sketch", round_), params.sent, DIM, sizes=sizes, dtype=lanes.dtype, zero=lanes.zero)
    claims = {
        name: sketcher.claim(sketcher.of_codes(encode(update, None, params, secret=digest(name, round_)).codes))
        for name, update in updates.items()
    }
    return view_of_claims(claims, length=params.sent, norm_unit=rms * math.sqrt(params.sent), rounding=rounding)


def in_full(updates: Mapping[str, np.ndarray]) -> View:
    """The same updates as rows of their own, in units of C and clipped, but neither rounded nor sketched."""
    rows = {name: update.astype(np.float64) for name, update in updates.items()}
    clipped = {name: row * min(1, C / np.linalg.norm(row)) for name, row in rows.items()}
    return view_of_claims(clipped, length=D, norm_unit=C)


def honest(seed: int, n: int, *, norm: float = 0.5, alike: float = 0.7) -> dict[str, np.ndarray]:
    """n updates of about `norm` C around a common direction, cosine alike^2 to each other, layers of unequal scale."""
    rng = np.random.default_rng(seed)
    layers = np.repeat([1.0, 0.2, 3.0, 0.5], D // 4)
    common = rng.normal(size=D)
    rows = (alike * common + math.sqrt(1 - alike**2) * rng.normal(size=(n, D))) * layers
    rows *= norm * C * rng.uniform(0.8, 1.2, size=(n, 1)) / np.linalg.norm(rows, axis=1, keepdims=True)
    return {f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}


ATTACKS = {"sign-flip": -1.0, "sign-flip-scaled": -3.0, "scale": 10.0}


@pytest.mark.parametrize("keep_one_in", [1, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_sketches_name_the_attackers_that_full_updates_name(attack: str, keep_one_in: int) -> None:
    attackers = {"c03", "c07", "c11", "c19"}
    for round_ in range(3):
        updates = honest(round_, 20)
        for name in attackers:
            updates[name] = updates[name] * np.float32(ATTACKS[attack])
        judge = RULES["multi-krum"].judge
        assert judge(in_full(updates), Situation(4)).excluded.keys() == attackers
        found = judge(sketched(updates, round_, keep_one_in=keep_one_in), Situation(4)).excluded
        assert found == dict.fromkeys(attackers, "multi-krum")


def test_the_gram_of_sketches_is_close_to_the_true_one() -> None:
    """Off by |a| |b| sqrt((1 + cos^2) / dim), a little more for the rounding of the codes, and not to one side."""
    errors = []
    for round_ in range(12):
        updates = honest(100 + round_, 6)
        true, claimed = in_full(updates).gram(), sketched(updates, round_).gram()
        norms = np.sqrt(true.diagonal())
        errors.append((claimed - true) / np.outer(norms, norms))
    squares = np.sqrt(np.mean(np.square(errors), axis=0))  # [n, n]
    off_diagonal = ~np.eye(6, dtype=bool)
    expected = math.sqrt(2 / DIM)
    assert 0.6 * expected < squares.diagonal().mean() < 1.5 * expected
    assert 0.4 * expected < squares[off_diagonal].mean() < 1.4 * expected
    assert abs(np.mean(errors, axis=0)[off_diagonal].mean()) < expected


def test_norms_are_estimated_in_units_of_c() -> None:
    for norm in (0.25, 0.5, 0.8):
        updates = honest(int(100 * norm), 8, norm=norm)
        estimates = np.sqrt(sketched(updates, 5).gram().diagonal())
        true = [np.linalg.norm(updates[name]) / C for name in sorted(updates)]
        assert np.max(np.abs(estimates / true - 1)) < 0.35
        assert abs(np.mean(estimates / true) - 1) < 0.15


@pytest.mark.parametrize("norm", [0.3, 0.5])
def test_without_rounding_equal_updates_lie_at_distance_zero_and_norms_are_right(norm: float) -> None:
    updates = honest(7, 8, norm=norm)
    updates["c01"] = updates["c00"]
    true = in_full(updates).gram()
    grams = [sketched(updates, round_, rounding=ROUNDING).gram() for round_ in range(12)]
    mean = np.mean(grams, axis=0)
    np.testing.assert_allclose(mean.diagonal(), true.diagonal(), rtol=0.15)
    assert abs(mean[0, 0] + mean[1, 1] - 2 * mean[0, 1]) < 0.15 * true[0, 0]


@pytest.mark.parametrize("norm", [1e-4, 0.05, 0.1, 0.13])
def test_updates_that_are_short_beside_the_first_clip_are_nobodys_copies(norm: float) -> None:
    """Before C has followed the norms, a code is rounding for the most part; honest clients must not pay for it."""
    out = [
        why
        for round_ in range(4)
        for why in RULES["default"]
        .judge(sketched(honest(round_, 20, norm=norm), round_, rounding=ROUNDING), Situation(4))
        .excluded.values()
    ]
    assert "copy" not in out
    assert len(out) <= 2
