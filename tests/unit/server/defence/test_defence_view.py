"""Views: inner products from files and from claims, weighted sums, and what is refused."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.codec import CODECS
from roughfed.errors import LocalProtocolError, StorageError
from roughfed.server.defence import passes
from roughfed.server.defence.view import View, view_of_claims, view_of_files


def spool(folder: Path, rows: np.ndarray) -> dict[str, Path]:
    paths = {f"c{i:03}": folder / f"{i}.update" for i in range(len(rows))}
    for path, row in zip(paths.values(), rows, strict=True):
        path.write_bytes(row.astype("<f4").tobytes())
    return paths


def claims_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"c{i:03}": row for i, row in enumerate(rows)}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "TILE_BYTES", 8 * 5 * 64)  # 64 coordinates of 5 rows


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_the_gram_of_files_is_that_of_their_rows(tmp_path: Path, size: int) -> None:
    rows = np.random.default_rng(size).normal(size=(5, size)).astype(np.float32)
    seen = view_of_files(spool(tmp_path, rows), size=size)
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_allclose(seen.gram(), exact, rtol=1e-12, atol=1e-12 * size)
    np.testing.assert_array_equal(seen.gram(), seen.gram().T)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [1, 40, 65, 1000])
def test_a_weighted_sum_leaves_out_rows_of_weight_zero(tmp_path: Path, size: int) -> None:
    rows = np.random.default_rng(size).normal(size=(5, size)).astype(np.float32)
    paths = spool(tmp_path, rows)
    paths["c002"].unlink()  # nobody reads it
    weights = [0.25, 1.0, 0.0, -2.0, 1 / 3]
    total = view_of_files(paths, size=size).weighted_sum(weights)
    assert total.dtype == np.float32
    np.testing.assert_allclose(total, np.array(weights) @ rows.astype(np.float64), rtol=1e-6, atol=1e-6)
    assert not view_of_files(paths, size=size).weighted_sum([0.0] * 5).any()


def test_small_differences_of_large_rows_are_not_lost(tmp_path: Path) -> None:
    """float32 products of such rows give distances that are off by factors, and negative ones."""
    rng = np.random.default_rng(0)
    rows = (100 * rng.normal(size=5000) + 1e-2 * rng.normal(size=(4, 5000))).astype(np.float32)
    gram = view_of_files(spool(tmp_path, rows), size=5000).gram()
    norms = gram.diagonal()
    distances = norms[:, None] + norms[None, :] - 2 * gram
    exact = [[np.sum((a.astype(float) - b) ** 2) for b in rows] for a in rows]
    np.testing.assert_allclose(distances, exact, rtol=1e-5, atol=1e-5)


def test_large_finite_values_do_not_overflow(tmp_path: Path) -> None:
    rows = np.full((2, 10), np.finfo(np.float32).max)
    seen = view_of_files(spool(tmp_path, rows), size=10)
    assert np.isfinite(seen.gram()).all()
    assert np.isposinf(seen.weighted_sum([1.0, 1.0])).all()  # beyond float32: seen by whoever makes a model of it


def test_the_gram_is_computed_once_and_only_when_asked_for(tmp_path: Path) -> None:
    paths = spool(tmp_path, np.ones((3, 8)))
    seen = view_of_files(paths, size=8)
    late = view_of_files(dict.fromkeys(paths, tmp_path / "later"), size=8)  # opens nothing yet
    gram = seen.gram()
    paths["c000"].unlink()
    assert np.shares_memory(seen.gram(), gram)
    with pytest.raises(ValueError, match="read-only"):
        gram[0, 0] = 1
    with pytest.raises(StorageError, match="later"):
        late.gram()


@pytest.mark.parametrize("length", [0, 4 * 7, 4 * 8 - 1])
def test_a_file_that_is_too_short_is_refused(tmp_path: Path, length: int) -> None:
    paths = spool(tmp_path, np.ones((3, 8)))
    paths["c001"].write_bytes(bytes(length))
    seen = view_of_files(paths, size=8)
    before = open_files()
    for compute in (seen.gram, lambda: seen.weighted_sum([1.0, 1.0, 1.0])):
        with pytest.raises(StorageError, match=f"ends at byte {length}"):
            compute()
    assert open_files() == before


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("codec", CODECS)
def test_encoded_updates_are_seen_as_what_they_decode_to(tmp_path: Path, codec: str) -> None:
    rows = np.random.default_rng(6).normal(size=(5, 700)).astype(np.float32)
    paths, decoded = {f"c{i:03}": tmp_path / str(i) for i in range(5)}, []
    for path, row in zip(paths.values(), rows, strict=True):
        payload = CODECS[codec].encode(row)
        path.write_bytes(payload)
        decoded.append(CODECS[codec].decode(payload, 0, 700, size=700).astype(np.float64))
    seen = view_of_files(paths, size=700, codec=codec)
    np.testing.assert_allclose(seen.gram(), np.array(decoded) @ np.array(decoded).T, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(seen.weighted_sum([0.2] * 5), np.mean(decoded, axis=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(tmp_path: Path, odd: float) -> None:
    rows = np.ones((3, 8))
    rows[1, 3] = odd
    with pytest.raises(LocalProtocolError, match=r"admitted: c001$"):
        view_of_files(spool(tmp_path, rows), size=8).gram()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), order=st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, order: object
) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, 50))
    paths = spool(tmp_path_factory.mktemp("spool"), rows)
    claims, names = claims_of(rows), sorted(paths)
    order.shuffle(names)  # type: ignore[attr-defined]
    for one, other in (
        (view_of_files(paths, size=50), view_of_files({k: paths[k] for k in names}, size=50)),
        (
            view_of_claims(claims, length=900, norm_unit=3.0),
            view_of_claims({k: claims[k] for k in names}, length=900, norm_unit=3.0),
        ),
    ):
        assert one.names == other.names == tuple(sorted(names))
        assert one.gram().tobytes() == other.gram().tobytes()


@pytest.mark.usefixtures("small_tiles")
def test_the_number_of_threads_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PROJECTED", 70)
    paths = spool(tmp_path, np.random.default_rng(8).normal(size=(5, 1000)))
    found = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(passes, "THREADS", threads)
        seen = view_of_files(paths, size=1000)
        found.add((seen.gram().tobytes(), seen.weighted_sum([0.1] * 5).tobytes(), seen.projected(7, seed=3).tobytes()))
    assert len(found) == 1


def test_tiles_that_end_out_of_turn_are_added_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "THREADS", 2)
    later = threading.Event()

    def work(start: int, stop: int) -> tuple[int, int]:
        if start:
            later.set()
        else:
            assert later.wait(60)  # the first ends after the second
        return start, stop

    assert list(passes.shared_out(work, 7, 4)) == [(0, 4), (4, 7)]


def test_claims_are_scaled_to_units_of_c() -> None:
    claims = {"b": np.array([0.0, 3.0]), "a": np.array([2.0, 0.0])}
    before = {name: claim.copy() for name, claim in claims.items()}
    seen = view_of_claims(claims, length=50, norm_unit=10.0)
    assert seen.names == ("a", "b")
    assert (len(seen), seen.rows) == (2, "sketches")
    np.testing.assert_allclose(seen.gram(), [[4 * 25 / 100, 0], [0, 9 * 25 / 100]])
    for name, claim in before.items():
        np.testing.assert_array_equal(claims[name], claim)


def test_claims_that_cannot_be_compared_are_refused() -> None:
    for claims in ({"a": np.ones(4), "b": np.ones(6)}, {"a": np.ones((2, 2))}, {"a": np.ones(0)}):
        with pytest.raises(LocalProtocolError, match="cannot be compared"):
            view_of_claims(claims, length=50, norm_unit=1.0)
    for length, unit in ((0, 1.0), (50, 0.0), (50, float("nan"))):
        with pytest.raises(LocalProtocolError, match="with a unit of"):
            view_of_claims({"a": np.ones(4)}, length=length, norm_unit=unit)


def test_sketches_have_no_weighted_sum() -> None:
    seen = view_of_claims(claims_of(np.ones((2, 4))), length=50, norm_unit=1.0)
    for refusing in (seen, seen.only({"c000"})):
        with pytest.raises(LocalProtocolError, match="a view of sketches has no weighted sum"):
            refusing.weighted_sum([1.0] * len(refusing))


def test_weights_are_one_for_each_row(tmp_path: Path) -> None:
    seen = view_of_files(spool(tmp_path, np.ones((3, 8))), size=8)
    with pytest.raises(LocalProtocolError, match="2 weights for 3 rows"):
        seen.weighted_sum([1.0, 1.0])


def test_a_part_of_a_view_is_computed_from_the_whole(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(4, 30)).astype(np.float32)
    paths = spool(tmp_path, rows)
    seen = view_of_files(paths, size=30)
    part = seen.only(["c003", "c001"])
    assert (part.names, part.rows) == (("c001", "c003"), "updates")
    np.testing.assert_array_equal(part.gram(), seen.gram()[np.ix_([1, 3], [1, 3])])
    paths["c000"].unlink()
    np.testing.assert_array_equal(part.weighted_sum([2.0, 1.0]), seen.weighted_sum([0.0, 2.0, 0.0, 1.0]))
    with pytest.raises(LocalProtocolError, match="1 weights"):
        part.weighted_sum([1.0])
    with pytest.raises(LocalProtocolError, match="no row of eve"):
        seen.only({"c000", "eve"})


def test_nobody_is_a_view_too() -> None:
    empty: tuple[View, ...] = (view_of_files({}, size=8), view_of_claims({}, length=8, norm_unit=1.0))
    for seen in empty:
        assert seen.gram().shape == (0, 0)
        assert seen.only([]).names == ()
    assert not empty[0].weighted_sum([]).any()


def test_files_are_never_in_memory_together(tmp_path: Path) -> None:
    """20 rows of 1M: 80 MB on disk, a fifth of it in memory."""
    n, size = 20, 1_000_000
    rng = np.random.default_rng(4)
    one = rng.normal(size=size).astype(np.float32)
    paths = spool(tmp_path, np.lib.stride_tricks.as_strided(np.concatenate([one, one]), (n, size), (4 * 17, 4)))
    seen = view_of_files(paths, size=size)
    gc.collect()
    tracemalloc.start()
    try:
        gram = seen.gram()
        of_gram = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        seen.weighted_sum([1 / n] * n)
        of_sum = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert of_gram < passes.THREADS * (passes.TILE_BYTES + (1 << 20))
    assert of_sum < 4 * size + passes.THREADS * (1 << 20)
    for shift in (0, 1, 19):  # row i is `one` turned by 17 i
        exact = one.astype(np.float64) @ np.roll(one, -17 * shift).astype(np.float64)
        assert gram[0, shift] == pytest.approx(exact, rel=1e-9, abs=1e-6)
