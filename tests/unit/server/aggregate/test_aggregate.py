"""The weighted mean of files, and the next model: the same bytes whoever was first and however many threads work."""

import gc
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.digest import content_digest
from roughfed.errors import StorageError
from roughfed.params import Flat, read_flat, variance_ranges, write_model
from roughfed.server.aggregate.combine import NotFinite, combine
from roughfed.server.model.downlink import NextFiles
from roughfed.server.optimize import RULES
from roughfed.server.optimize.adaptive import OptimizerOptions, OptimizerRule, State, Stepper
from roughfed.server.optimize.state import state_files
from roughfed.server.storage import slices as slicing
from roughfed.server.storage.slices import in_order, read_exactly, slices
from roughfed.server.uploads.spool import weighted_mean
from roughfed.types import Spec, TensorSpec

Rows = list[np.ndarray]


def slow_mean(rows: Rows, weights: Sequence[float]) -> np.ndarray:
    """float32, one row after another: what every party can repeat with a for loop."""
    total = np.zeros_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        total = total + (row if weight == 1.0 else row * np.float32(weight))
    return total / np.float32(sum(weights))


def spool(folder: Path, rows: Rows) -> list[Path]:
    paths = [folder / f"{i}.update" for i in range(len(rows))]
    for path, row in zip(paths, rows, strict=True):
        path.write_bytes(row.astype("<f4").tobytes())
    return paths


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(slicing, "SLICE", 64)
    return 64


@given(
    seed=st.integers(0, 2**32 - 1),
    weights=st.lists(st.floats(0.25, 1e6), min_size=1, max_size=6),
    start=st.integers(0, 50),
    count=st.integers(0, 50),
)
def test_a_slice_is_the_slow_mean_bit_for_bit_and_close_to_the_exact_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, weights: list[float], start: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=100).astype(np.float32) for _ in weights]
    files = spool(tmp_path_factory.mktemp("spool"), rows)
    with weighted_mean(list(zip(files, weights, strict=True)), codec="identity", size=100) as mean:
        got = mean(start, start + count)
    part = [row[start : start + count] for row in rows]
    np.testing.assert_array_equal(got, slow_mean(part, weights))
    exact = np.average(np.array(part, dtype=np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-5)


@given(size=st.integers(0, 2000))
def test_slices_cover_every_coordinate_once(size: int) -> None:
    whole = slicing.SLICE
    places = list(slices(size * 1000))
    assert [start for start, _ in places] == list(range(0, size * 1000, whole))
    assert [stop for _, stop in places] == [*[start for start, _ in places[1:]], *([size * 1000] if places else [])]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 4])
def test_results_come_in_order_and_only_a_few_ahead(small_slices: int, threads: int, ahead: int) -> None:
    started: list[int] = []

    def work(start: int, stop: int) -> int:
        started.append(start)
        return start

    with ThreadPoolExecutor(threads) as executor:
        taken = 0
        for taken, start in enumerate(in_order(executor, work, 64 * 50, ahead=ahead)):
            assert start == taken * small_slices
            assert len(started) <= taken + ahead + 1
        assert taken == 49


def test_an_error_in_a_slice_comes_out(small_slices: int) -> None:
    def work(start: int, stop: int) -> int:
        if start == 128:
            raise StorageError("gone")
        return start

    with ThreadPoolExecutor(2) as executor, pytest.raises(StorageError, match="gone"):
        list(in_order(executor, work, 1000))


SPEC = Spec(
    (
        TensorSpec("w", (10, 50)),
        TensorSpec("bn.var", (30,), kind="variance"),
        TensorSpec("b", (7,)),
        TensorSpec("last.var", (1,), kind="variance"),
    )
)


def next_model(folder: Path, rows: Rows, *, order: Sequence[int], threads: int = 2, lr: float = 1.0) -> bytes:
    """The bytes of the next model; files are written in the order of arrival, and named by the client."""
    paths = [folder / f"{i}.update" for i in range(len(rows))]
    for i in order:
        paths[i].write_bytes(rows[i].tobytes())
    base = folder / "base.safetensors"
    write_model(base, SPEC, [np.linspace(0, 1, SPEC.size, dtype=np.float32)])
    weighted = [(path, float(i + 1)) for i, path in enumerate(paths)]
    with ThreadPoolExecutor(threads) as executor, weighted_mean(weighted, codec="identity", size=SPEC.size) as mean:
        digest = combine(
            base,
            mean,
            spec=SPEC,
            stepper=Stepper("sgd", RULES["sgd"], OptimizerOptions(lr=lr)),
            into=NextFiles(folder / "next.safetensors"),
            executor=executor,
        )
    made = read_flat(folder / "next.safetensors").tobytes()
    assert digest == content_digest(made)
    return made


def updates(scale: float = 1.0) -> Rows:
    rng = np.random.default_rng(5)
    return [(scale * rng.normal(size=SPEC.size)).astype(np.float32) for _ in range(5)]


def test_the_next_model_does_not_depend_on_threads_or_arrival(tmp_path: Path, small_slices: int) -> None:
    made = set()
    for case, (threads, order) in enumerate([(1, range(5)), (2, (4, 2, 0, 1, 3)), (7, (3, 4, 1, 2, 0))]):
        folder = tmp_path / str(case)
        folder.mkdir()
        made.add(next_model(folder, updates(), order=order, threads=threads))
    assert len(made) == 1
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    wanted = np.linspace(0, 1, SPEC.size, dtype=np.float32) + slow_mean(updates(), weights)
    for low, high in variance_ranges(SPEC):
        wanted[low:high] = np.maximum(wanted[low:high], 0)
    assert made == {wanted.tobytes()}


@pytest.mark.parametrize("lr", [1.0, 0.1, 30.0])
def test_variances_never_become_negative_and_nothing_else_is_touched(
    tmp_path: Path, small_slices: int, lr: float
) -> None:
    made = np.frombuffer(next_model(tmp_path, updates(scale=5), order=range(5), lr=lr), dtype="<f4")
    floors = np.zeros(SPEC.size, dtype=bool)
    for low, high in variance_ranges(SPEC):
        floors[low:high] = True
    assert floors.sum() == 31
    assert (made[floors] >= 0).all()
    assert (made[~floors] < 0).any()


def test_finite_updates_whose_sum_is_not_finite_leave_no_model(tmp_path: Path) -> None:
    rows = updates()
    rows[2][7] = np.float32(3e38)
    with pytest.raises(NotFinite):
        next_model(tmp_path, rows, order=range(5))
    assert not (tmp_path / "next.safetensors").exists()


def test_an_update_that_lost_bytes_stops_the_round_and_leaves_no_model(tmp_path: Path) -> None:
    rows = updates()
    rows[2] = rows[2][:-1]
    with pytest.raises(StorageError, match="ends at byte"):
        next_model(tmp_path, rows, order=range(5))
    assert not (tmp_path / "next.safetensors").exists()


@given(offset=st.integers(0, 40), count=st.integers(0, 20))
def test_reads_are_exact(tmp_path_factory: pytest.TempPathFactory, offset: int, count: int) -> None:
    path = spool(tmp_path_factory.mktemp("r"), [np.arange(30, dtype=np.float32)])[0]
    into = np.full(count, -1, dtype=np.float32)
    fd = os.open(path, os.O_RDONLY)
    try:
        if count and offset + count > 30:
            with pytest.raises(StorageError):
                read_exactly(fd, into, 4 * offset)
        else:
            read_exactly(fd, into, 4 * offset)
            np.testing.assert_array_equal(into, np.arange(offset, offset + count))
    finally:
        os.close(fd)


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@pytest.mark.parametrize("name", ["sgd", "fedadam"])
def test_memory_does_not_grow_with_the_model_or_the_clients(tmp_path: Path, name: str) -> None:
    """100 MB x 8 updates (one sparse file each): a few slices are resident, whatever the sizes."""
    spec = Spec((TensorSpec("w", (25_000_000,)),))
    base, one = tmp_path / "base.safetensors", tmp_path / "sparse.update"
    write_model(base, spec, (np.zeros(1_000_000, dtype=np.float32) for _ in range(25)))
    with one.open("wb") as file:
        file.truncate(spec.size_bytes)
    gc.collect()
    before, peak = anonymous_bytes(), 0

    def watched(params: Flat, delta: Flat, state: State, options: OptimizerOptions) -> tuple[Flat, State]:
        nonlocal peak
        peak = max(peak, anonymous_bytes())
        return RULES[name].apply(params, delta, state, options)

    rule = RULES[name]
    stepper = Stepper(name, OptimizerRule(rule.init, watched, rule.keeps), OptimizerOptions())
    into = NextFiles(tmp_path / "next.safetensors", state=state_files(tmp_path, 1, stepper, base=0, first=True))
    eight = weighted_mean([(one, 1.0)] * 8, codec="identity", size=spec.size)
    with ThreadPoolExecutor(2) as executor, eight as mean:
        combine(base, mean, spec=spec, stepper=stepper, into=into, executor=executor)
    assert peak - before < 64 << 20
