"""The sketch: linear, the same for masks and codes, single coordinates, and a fair estimate of norms and angles."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.crypto.masks import add_mask
from roughfed.errors import ConfigError
from roughfed.sketch.buckets import NORM_BOUND, Sizes, Sketcher, bucket_sizes

SEED = bytes(range(32))


def sketcher(
    seed: bytes = SEED, *, length: int = 4096, dim: int = 64, bits: int = 8, sizes: Sizes | None = None
) -> Sketcher:
    return Sketcher(seed, length, dim, sizes=sizes or Sizes(50, 5), dtype=np.dtype(f"<u{bits // 8}"), zero=8)


def codes_of(rng: np.random.Generator, rms: float, length: int = 65536, zero: int = 8) -> np.ndarray:
    return (np.rint(rng.normal(size=length) * rms) + zero).astype(np.int64).astype(np.uint8)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([8, 16, 32]), clients=st.integers(2, 20))
def test_the_sketch_of_a_sum_is_the_sum_of_the_sketches(seed: int, bits: int, clients: int) -> None:
    """Modulo 2^w, whatever the lanes: masked uploads too."""
    rng = np.random.default_rng(seed)
    s = sketcher(bits=bits, length=512, sizes=Sizes(6, 2))
    lanes = rng.integers(0, 2**bits, size=(clients, 512), dtype=np.uint64).astype(f"<u{bits // 8}")
    before = lanes.copy()
    total = np.add.reduce(lanes, axis=0, dtype=lanes.dtype)
    np.testing.assert_array_equal(
        s.of_codes(total), np.add.reduce([s.of_codes(row) for row in lanes], axis=0, dtype=lanes.dtype)
    )
    np.testing.assert_array_equal(lanes, before)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_mask_is_sketched_without_making_it(bits: int) -> None:
    s = sketcher(bits=bits)
    for i in range(5):
        key = hashlib.sha256(bytes([i])).digest()
        mask = np.zeros(4096, dtype=f"<u{bits // 8}")
        add_mask(mask, key, 1)
        np.testing.assert_array_equal(s.of_mask(key), s.of_codes(mask))


@settings(max_examples=40)
@given(seed=st.binary(min_size=32, max_size=32), length=st.integers(64, 5000), share=st.floats(0.05, 1))
def test_every_coordinate_is_in_one_bucket_at_most(seed: bytes, length: int, share: float) -> None:
    many = max(1, int(length / 64 * share))
    s = sketcher(seed, length=length, sizes=Sizes(many, max(1, many // 3)))
    assert len(set(s.positions.tolist())) == len(s.positions) == 32 * (many + max(1, many // 3))
    assert 0 <= s.positions.min() <= s.positions.max() < length
    assert s.counts.tolist() == [many] * 32 + [max(1, many // 3)] * 32


def test_coordinates_and_signs_are_even() -> None:
    seen: Counter[int] = Counter()
    signs = 0
    for i in range(300):
        s = sketcher(hashlib.sha256(i.to_bytes(2, "big")).digest(), length=256, sizes=Sizes(2, 1))
        seen.update(s.positions.tolist())
        one = np.ones(256, dtype=np.uint8)
        signs += int(s.of_codes(one).view(np.int8).astype(int).sum())
    drawn = 300 * 96
    expected = drawn / 256  # 112.5, standard deviation about 8.4
    assert set(seen) == set(range(256))
    assert max(abs(n - expected) for n in seen.values()) < 5 * 8.4
    assert abs(signs) < 5 * drawn**0.5


def test_each_seed_has_its_own_sketch() -> None:
    codes = codes_of(np.random.default_rng(0), 3.0, 4096)
    sketches = {sketcher(hashlib.sha256(bytes([i])).digest()).of_codes(codes).tobytes() for i in range(20)}
    assert len(sketches) == 20


def test_the_zero_code_sketches_to_nothing() -> None:
    s = sketcher()
    zeros = np.full(4096, 8, dtype=np.uint8)
    assert not s.claim(s.of_codes(zeros)).any()
    total = (zeros * 5).astype(np.uint8)
    assert not s.claim(s.of_codes(total), clients=5).any()


@pytest.mark.parametrize("norm", [0.3, 1.0, 1.4])
def test_both_halves_estimate_the_norm(norm: float) -> None:
    rng, rms = np.random.default_rng(1), 3.33
    sizes = bucket_sizes(65536, 128, bits=8, code_rms=rms, colluders=5)
    for i in range(20):
        codes = codes_of(rng, rms * norm)
        s = sketcher(hashlib.sha256(bytes([i])).digest(), length=65536, dim=128, sizes=sizes)
        true = np.linalg.norm((codes - np.uint8(8)).view(np.int8).astype(float))
        for estimate in s.norms(s.claim(s.of_codes(codes))):
            assert 0.65 * true < estimate < 1.4 * true  # 64 buckets: 9 % standard deviation


def test_angles_between_sketches_are_those_between_updates() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(size=65536)
    errors = []
    for i in range(30):
        a, b = ((common + rng.normal(size=65536)) * 2.3 for _ in range(2))
        s = sketcher(hashlib.sha256(bytes([i])).digest(), length=65536, dim=128)
        ca, cb = (s.claim(s.of_codes((np.rint(v) + 8).astype(np.int64).astype(np.uint8))) for v in (a, b))
        errors.append(ca @ cb / np.linalg.norm(ca) / np.linalg.norm(cb) - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert np.sqrt(np.mean(np.square(errors))) < 0.11
    assert abs(np.mean(errors)) < 0.06


@pytest.mark.parametrize("factor", [2.5, 3, 5, 10, 40, 100])
def test_large_updates_do_not_wrap_below_the_bound(factor: float) -> None:
    """Test 10 of the protocol: dense, sparse and two-valued codes far above the bound are seen above it."""
    rng, rms = np.random.default_rng(int(factor)), 3.33
    sizes = bucket_sizes(65536, 128, bits=8, code_rms=rms, colluders=5)
    unit = rms * 65536**0.5
    two_valued = np.where(rng.random(65536) < (factor * rms / 128) ** 2, 128, 0)
    for i, values in enumerate([rng.normal(size=65536) * rms * factor, two_valued]):
        codes = (np.rint(values) + 8).astype(np.int64).astype(np.uint8)
        s = sketcher(hashlib.sha256(bytes([i])).digest(), length=65536, dim=128, sizes=sizes)
        assert max(s.norms(s.claim(s.of_codes(codes)))) > NORM_BOUND * unit


@pytest.mark.parametrize(("g", "levels", "c", "few"), [(5, 52, 2, 3), (8, 32, 3, 3), (16, 16, 5, 5)])
def test_the_buckets_have_the_sizes_of_the_design(g: int, levels: int, c: int, few: int) -> None:
    sizes = bucket_sizes(10**7, 128, bits=8, code_rms=levels / 2 / 2.4, colluders=c)
    assert sizes.few == few
    assert sizes.many == pytest.approx((0.48 * g) ** 2, rel=0.35)


def test_small_models_have_smaller_buckets_and_smaller_ones_are_refused() -> None:
    assert bucket_sizes(130, 128, bits=8, code_rms=3.0, colluders=5) == Sizes(1, 1)
    for length, dim in ((127, 128), (1000, 127), (1000, 0)):
        with pytest.raises(ConfigError) as caught:
            bucket_sizes(length, dim, bits=8, code_rms=3.0, colluders=5)
        assert caught.value.key == "sketch.dim"


def test_the_sketch_of_fixed_codes_is_frozen() -> None:
    """What clients and servers of different versions must agree on."""
    frozen = {
        8: "1165560cb99a77d1159af43c3ed8708f",
        16: "5491204ed22b0682d2786a15cb1f87b5",
        32: "57cf2d78d3f9a93409028977b43d75e9",
    }
    for bits, digest in frozen.items():
        s = sketcher(bits=bits)
        codes = (np.arange(4096) * 7 % 16).astype(f"<u{bits // 8}")
        lanes = np.concatenate([s.of_codes(codes), s.of_mask(bytes(32))]).tobytes()
        assert hashlib.sha256(s.positions.astype("<i8").tobytes() + lanes).hexdigest()[:32] == digest
