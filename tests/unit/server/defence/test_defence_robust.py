"""The rows of a verdict become one: against slow loops, whatever the slices and threads, in a few tiles of memory."""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec import CODECS
from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import RULES, Situation, tiles, view_of_arrays
from roughfed.server.defence.rules import median, trimmed_mean
from roughfed.server.defence.verdict import Coefficients, Coordinatewise
from roughfed.server.defence.view import reader
from roughfed.server.storage.slices import in_order
from roughfed.server.uploads.spool import opened

N, SIZE = 11, 1000


def rows_of(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"c{at:02}": rng.normal(size=SIZE).astype(np.float32) for at in range(N)}


def in_pieces(how: Coefficients | Coordinatewise, rows: dict[str, np.ndarray], *, width: int, threads: int) -> bytes:
    mean = combined(how, {name: reader(row) for name, row in rows.items()})
    with ThreadPoolExecutor(threads) as pool:
        return b"".join(piece.tobytes() for piece in in_order(pool, mean, SIZE, width=width))


HOWS = {
    "weights": lambda names: Coefficients({name: (-0.5) ** at for at, name in enumerate(names)}),
    "median": lambda names: Coordinatewise(names, median.of),
    "trimmed": lambda names: Coordinatewise(names, partial(trimmed_mean.of, 3)),
}


@pytest.mark.parametrize("how", HOWS)
def test_neither_slices_nor_tiles_nor_threads_change_a_bit(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(1)
    found = {in_pieces(HOWS[how](tuple(rows)), rows, width=SIZE, threads=1)}
    for tile, width, threads in ((64, 128, 2), (64, 100, 1), (7, 1, 2), (1000, 333, 4)):
        monkeypatch.setattr(tiles, "WIDTH", tile)
        monkeypatch.setattr(tiles, "SUM_WIDTH", tile)
        found.add(in_pieces(HOWS[how](tuple(rows)), rows, width=width, threads=threads))
    assert len(found) == 1


def test_coefficients_are_taken_as_they_stand() -> None:
    rows = rows_of(2)
    del rows["c01"]  # nobody reads a row of weight 0, nor one that is not named
    how = Coefficients({"c02": -2.0, "c00": 0.25, "c01": 0.0})
    found = combined(how, {name: reader(row) for name, row in rows.items()})(10, 20)
    np.testing.assert_allclose(found, (0.25 * rows["c00"] - 2.0 * rows["c02"])[10:20], rtol=1e-6)
    assert not combined(Coefficients({}), {})(0, 5).any()


def test_only_the_named_rows_are_in_the_tile_in_the_order_of_their_names() -> None:
    rows = rows_of(3)
    seen: list[np.ndarray] = []

    def of(tile: np.ndarray) -> np.ndarray:
        seen.append(tile.copy())
        tile[:] = 0  # it is a copy
        return np.ones(tile.shape[1], np.float32)

    names = ("c02", "c05", "c07")
    assert (
        combined(Coordinatewise(names, of), {name: reader(row) for name, row in rows.items()})(5, 9).tolist() == [1] * 4
    )
    np.testing.assert_array_equal(seen[0], [rows[name][5:9] for name in names])
    np.testing.assert_array_equal(rows["c02"], rows_of(3)["c02"])


@pytest.mark.parametrize("codec", CODECS)
def test_encoded_rows_are_tiled_as_what_they_decode_to(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "WIDTH", 300)  # no multiple of a codec's block
    rows, decoded = rows_of(4), {}
    for name, row in rows.items():
        payload = CODECS[codec].encode(row)
        (tmp_path / name).write_bytes(payload)
        decoded[name] = CODECS[codec].decode(payload, 0, SIZE, size=SIZE)
    with ExitStack() as stack:
        fills = {name: stack.enter_context(opened(tmp_path / name, codec=codec, size=SIZE)) for name in rows}
        found = combined(Coordinatewise(tuple(rows), median.of), fills)(0, SIZE)
    np.testing.assert_array_equal(found, np.median([*decoded.values()], axis=0))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.gives == "coordinates"])
@pytest.mark.parametrize("f", [0, 1, 2])
def test_equal_rows_give_that_row_whoever_is_hostile(name: str, f: int) -> None:
    honest = rows_of(5)["c00"]
    rows = {f"c{at:02}": honest for at in range(N)} | {f"c{at:02}": np.float32(-1e6) * honest for at in range(f)}
    how = RULES[name].judge(view_of_arrays(rows, kind="updates"), Situation(f)).combine
    if how is None:
        assert f == 0
        return
    np.testing.assert_allclose(
        combined(how, {key: reader(row) for key, row in rows.items()})(0, SIZE), honest, rtol=1e-6
    )


@pytest.mark.parametrize("how", HOWS)
def test_memory_is_a_few_tiles(how: str, tmp_path: Path) -> None:
    """30 rows of 400,000 coordinates, 48 MB, read by two threads in slices of 1 MiB."""
    size, names = 400_000, tuple(f"c{at:02}" for at in range(30))
    one = np.random.default_rng(6).normal(size=size + 30).astype(np.float32)
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(one[at : at + size].tobytes())
    with ExitStack() as stack:
        rows = {name: stack.enter_context(opened(tmp_path / name, codec="identity", size=size)) for name in names}
        mean = combined(HOWS[how](names), rows)
        gc.collect()
        tracemalloc.start()
        try:
            with ThreadPoolExecutor(2) as pool:
                total = sum(len(piece) for piece in in_order(pool, mean, size, ahead=2))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert total == size
    tile = 4 * len(names) * tiles.WIDTH
    assert peak < 2 * ((1 << 20) + 3 * tile) + (1 << 20)  # a slice each, a tile, the same in order, and what is kept
