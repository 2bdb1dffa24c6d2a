"""The quantised way down at the server: the same bytes as of the whole vector, one error at a time, crash or not."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec.downlink import apply, payload_bytes, quantise
from roughfed.config.aggregation import Optimize
from roughfed.digest import content_digest
from roughfed.errors import RemoteProtocolError, StorageError
from roughfed.params import raise_variances, read_flat, variance_ranges, write_model
from roughfed.server.aggregate.combine import NotFinite, combine
from roughfed.server.model import downlink
from roughfed.server.model.retention import Quality
from roughfed.server.optimize import stepper
from roughfed.server.storage import slices as slicing
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec

AVERAGE = stepper(Optimize())
SPEC = Spec((TensorSpec("w", (900,)), TensorSpec("bn.var", (100,), kind="variance"), TensorSpec("b", (37,))))
START = np.linspace(-1, 1, SPEC.size, dtype=np.float32)
raise_variances(START, variance_ranges(SPEC))


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "SLICE", 256)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A run at version 0."""
    store = Store(tmp_path)
    path = tmp_path / "models" / "first.safetensors"
    digest = write_model(path, SPEC, [START])
    path.rename(store.model_path(digest))
    asyncio.run(store.create_run("run-1", SPEC, digest, 0.0))
    yield store
    store.close()


def delta_of(version: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(version).normal(size=SPEC.size) * scale).astype(np.float32)


def write(store: Store, delta: np.ndarray, *, quantised: bool = True) -> tuple[int, bytes]:
    """The next version's files under their names, not committed."""
    version, base = store.latest_model()
    files = downlink.next_files(store, version + 1, quantised=quantised, stepper=AVERAGE)
    with ThreadPoolExecutor(3) as executor:
        digest = combine(
            store.model_path(base),
            lambda start, stop: delta[start:stop],
            spec=SPEC,
            stepper=AVERAGE,
            into=files,
            executor=executor,
        )
    downlink.place(store, files, version + 1, digest)
    return version + 1, digest


def commit(store: Store, version: int, digest: bytes) -> None:
    asyncio.run(store.commit(version, version=version, digest=digest, now=0.0))


def play(store: Store, *versions: int) -> None:
    for version in versions:
        commit(store, *write(store, delta_of(version)))


def contents(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.folder / "models").iterdir()}


def test_slices_give_the_bytes_of_the_whole_vector_version_after_version(store: Store) -> None:
    params, error, floors = START.copy(), np.zeros(SPEC.size, np.float32), variance_ranges(SPEC)
    for version in (1, 2, 3):
        update = raise_variances(params + delta_of(version), floors) - params
        payload = quantise(update, error)
        params = raise_variances(params + update, floors)

        play(store, version)
        digest = store.latest_model()[1]
        assert downlink.delta_path(store, version).read_bytes() == payload
        assert len(payload) == payload_bytes(SPEC.size)
        assert downlink.error_path(store, version).read_bytes() == error.tobytes()
        assert read_flat(store.model_path(digest)).tobytes() == params.tobytes()
        assert digest == content_digest(params.tobytes())
    assert error.any()


def test_variances_stay_above_zero_after_rounding_too(store: Store) -> None:
    low, high = variance_ranges(SPEC)[0]
    delta = delta_of(5, 3.0)
    delta[low:high] = -10  # the target is zero exactly; what the payload says lies beside it
    commit(store, *write(store, delta))
    unbounded = START.copy()
    apply(downlink.delta_path(store, 1).read_bytes(), unbounded)
    made = read_flat(store.model_path(store.latest_model()[1]))
    assert (unbounded[low:high] < 0).any()
    np.testing.assert_array_equal(made[low:high], np.maximum(unbounded[low:high], 0))
    np.testing.assert_array_equal(made[:low], unbounded[:low])


def test_a_crash_before_the_commit_changes_nothing_of_what_is_made_again(store: Store) -> None:
    play(store, 1, 2)
    committed = contents(store)
    write(store, delta_of(3))
    first = contents(store)
    write(store, delta_of(3))  # the process died before the commit; the round is played again
    assert contents(store) == first
    write(store, delta_of(4))  # or it was abandoned, and the round after it brought something else
    assert contents(store).items() >= committed.items()
    write(store, delta_of(3))
    assert contents(store).items() >= first.items()


def test_two_versions_with_the_same_parameters_keep_their_own_errors(store: Store) -> None:
    """What is fed back lies below float32's resolution of the parameters: they stay, the error does not."""
    commit(store, *write(store, np.full(SPEC.size, 1.5 * 2.0**20, np.float32), quantised=False))
    steps = np.random.default_rng(1).integers(1, 100, SPEC.size).astype(np.float32) / 8  # 1/8 is the resolution there
    commit(store, *write(store, steps))
    error = downlink.error_path(store, 2).read_bytes()
    version, digest = write(store, np.zeros(SPEC.size, np.float32))
    assert (version, digest) == (3, store.model(2))
    assert downlink.error_path(store, 2).read_bytes() == error
    assert downlink.error_path(store, 3).read_bytes() != error


@pytest.mark.parametrize("at", [3e38, -3e38])
def test_a_step_that_is_not_finite_leaves_no_file(store: Store, at: float) -> None:
    before = contents(store)
    delta = np.zeros(SPEC.size, np.float32)
    delta[600] = at
    commit(store, *write(store, delta))  # large, and still a number
    with pytest.raises(NotFinite):
        write(store, delta)
    assert contents(store).keys() - before.keys() == {
        downlink.delta_path(store, 1).name,
        downlink.error_path(store, 1).name,
        store.model_path(store.latest_model()[1]).name,
    }


def test_an_error_that_lost_bytes_stops_the_round(store: Store) -> None:
    play(store, 1)
    path = downlink.error_path(store, 1)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StorageError, match="ends at byte"):
        write(store, delta_of(2))


def test_what_is_served(store: Store) -> None:
    play(store, 1, 2)
    zero, one, two = (digest for _, digest in store.versions())
    found = downlink.source(store, two, base=one, spec=SPEC)
    assert (found.path, found.start, found.codec) == (downlink.delta_path(store, 2), 0, "int8")
    assert found.size_bytes == found.path.stat().st_size <= 0.3 * SPEC.size_bytes
    whole = downlink.source(store, two, base=b"", spec=SPEC)
    assert (whole.codec, whole.size_bytes) == ("identity", SPEC.size_bytes)
    assert whole.path.read_bytes()[whole.start :] == read_flat(whole.path).tobytes()
    for base, digest in ((zero, two), (two, one), (bytes(32), two), (two, bytes(32))):
        with pytest.raises(RemoteProtocolError) as refused:
            downlink.source(store, digest, base=base, spec=SPEC)
        assert refused.value.reason == "no-delta"
    with pytest.raises(RemoteProtocolError) as refused:
        downlink.source(store, bytes(32), base=b"", spec=SPEC)
    assert refused.value.reason == "unknown-model"
    assert downlink.base_digest(store, store.latest_model()[0]) == one


def test_an_uncommitted_delta_is_not_served_and_a_version_sent_whole_has_none(store: Store) -> None:
    zero = store.latest_model()[1]
    _, digest = write(store, delta_of(1))
    with pytest.raises(RemoteProtocolError):
        downlink.source(store, digest, base=zero, spec=SPEC)
    assert downlink.base_digest(store, store.latest_model()[0]) == b""
    downlink.delta_path(store, 1).unlink()
    commit(store, *write(store, delta_of(1), quantised=False))
    assert downlink.base_digest(store, store.latest_model()[0]) == b""


def test_deltas_go_with_their_models_and_one_error_is_kept(store: Store) -> None:
    play(store, 1, 2, 3, 4, 5)
    Quality(store).prune(keep_last=3, keep_best=False)
    names = contents(store).keys()
    assert {name for name in names if name.endswith(".delta")} == {f"{v:08d}.delta" for v in (3, 4, 5)}
    assert {name for name in names if name.endswith(".error")} == {"00000005.error"}
    assert {name for name in names if name.endswith("s")} == {store.model_path(d).name for _, d in store.versions()[3:]}


def test_a_start_sweeps_what_was_not_committed_and_the_run_goes_on_as_if_undisturbed(store: Store) -> None:
    play(store, 1, 2, 3)
    kept = contents(store).keys() - {"00000001.error"}  # that of 2 is what begins again if 3 is taken back
    version, digest = write(store, delta_of(4))
    (store.folder / "models" / "next.delta").write_bytes(b"half")
    (store.folder / "models" / "next.partial").write_bytes(b"half")
    downlink.sweep(store)
    assert contents(store).keys() == kept
    assert write(store, delta_of(4)) == (version, digest)
