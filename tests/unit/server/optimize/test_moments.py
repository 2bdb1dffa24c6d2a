"""What the server optimizers remember: the same bytes as of whole vectors, one state with each model, crash or not."""

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from roughfed.config.aggregation import Optimize
from roughfed.errors import StorageError
from roughfed.params import raise_variances, read_flat, variance_ranges, write_model
from roughfed.server.aggregate.combine import NotFinite, combine
from roughfed.server.model import downlink
from roughfed.server.model.retention import Quality
from roughfed.server.optimize import RULES, stepper
from roughfed.server.optimize import state as state_files
from roughfed.server.optimize.adaptive import Stepper
from roughfed.server.storage import slices as slicing
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec

SPEC = Spec(
    (TensorSpec("w", (900,)), TensorSpec("bn.mean", (50,), kind="buffer"), TensorSpec("bn.var", (87,), kind="variance"))
)
START = raise_variances(np.linspace(-1, 1, SPEC.size, dtype=np.float32), variance_ranges(SPEC))
REMEMBERING = sorted(name for name, rule in RULES.items() if rule.keeps)


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


def stepping(name: str) -> Stepper:
    return stepper(Optimize.model_validate({"rule": name}))


def delta_of(version: int) -> np.ndarray:
    return np.random.default_rng(version).normal(size=SPEC.size).astype(np.float32)


def write(store: Store, name: str, delta: np.ndarray, *, quantised: bool = False) -> tuple[int, bytes]:
    """The next version's files under their names, not committed."""
    version, base = store.latest_model()
    step = stepping(name)
    files = downlink.next_files(store, version + 1, quantised=quantised, stepper=step)
    with ThreadPoolExecutor(3) as executor:
        digest = combine(
            store.model_path(base),
            lambda start, stop: delta[start:stop],
            spec=SPEC,
            stepper=step,
            into=files,
            executor=executor,
        )
    downlink.place(store, files, version + 1, digest)
    return version + 1, digest


def play(store: Store, name: str, *versions: int, quantised: bool = False) -> None:
    for version in versions:
        made, digest = write(store, name, delta_of(version), quantised=quantised)
        asyncio.run(store.commit(made, version=made, digest=digest, now=0.0))


def contents(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.folder / "models").iterdir()}


@pytest.mark.parametrize("name", RULES)
def test_slices_give_the_bytes_of_the_whole_vector_version_after_version(store: Store, name: str) -> None:
    step = stepping(name)
    params, state = START.copy(), step.begin(SPEC.size)
    for version in (1, 2, 3):
        before = params
        params, state = step.step(params, delta_of(version), state)
        params[900:] = before[900:] + delta_of(version)[900:]  # running statistics become the clients' mean
        raise_variances(params, variance_ranges(SPEC))
        play(store, name, version)
        assert read_flat(store.model_path(store.latest_model()[1])).tobytes() == params.tobytes()
        kept = [contents(store)[f"{version:08d}.opt-{name}-{part}"] for part in step.rule.keeps]
        assert kept == [vector.tobytes() for vector in state]


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name", REMEMBERING)
def test_a_death_between_any_two_stages_changes_nothing(
    store: Store, name: str, quantised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each rename on the way to a version, and after the last; what was there is deleted or made again."""
    play(store, name, 1, 2, quantised=quantised)
    downlink.sweep(store)
    committed = contents(store)
    wanted = write(store, name, delta_of(3), quantised=quantised)
    whole = contents(store)
    downlink.sweep(store)
    assert contents(store) == committed
    renames = len(whole.keys() - committed.keys())
    assert renames == 1 + len(RULES[name].keeps) + 2 * quantised

    for lived in range(renames):
        left = lived

        def dying(source: Path, target: Path) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            source.replace(target)

        with monkeypatch.context() as patch:
            for module in (state_files, downlink):
                patch.setattr(module, "place_durably", dying)
            with pytest.raises(KeyboardInterrupt):
                write(store, name, delta_of(3), quantised=quantised)
        downlink.sweep(store)
        assert write(store, name, delta_of(3), quantised=quantised) == wanted
        made = contents(store)
        assert {key: made[key] for key in whole} == whole
        write(store, name, delta_of(4), quantised=quantised)  # the round may bring something else, too
        assert write(store, name, delta_of(3), quantised=quantised) == wanted


def test_the_state_of_the_newest_version_is_kept_and_no_other(store: Store) -> None:
    play(store, "fedyogi", 1, 2, 3, 4)
    Quality(store).prune(keep_last=3, keep_best=False)
    assert {name for name in contents(store) if ".opt-" in name} == {
        "00000004.opt-fedyogi-m",
        "00000004.opt-fedyogi-v",
    }
    write(store, "fedyogi", delta_of(5))
    (store.folder / "models" / "next.opt-fedyogi-m").write_bytes(b"half")
    downlink.sweep(store)
    assert {name[:8] for name in contents(store) if ".opt-" in name} == {"00000004"}


def test_another_rule_begins_anew_and_says_so(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        play(store, "fedadam", 1, 2)
        assert not caplog.records
        play(store, "fedyogi", 3)
    assert "begins anew at version 3" in caplog.text
    step = stepping("fedyogi")
    _, (m, _) = step.step(START, delta_of(3), step.begin(SPEC.size))
    assert contents(store)["00000003.opt-fedyogi-m"] == m.tobytes()


def test_a_state_that_lost_bytes_stops_the_round(store: Store) -> None:
    play(store, "fedavgm", 1)
    path = store.folder / "models" / "00000001.opt-fedavgm-m"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StorageError, match="ends at byte"):
        write(store, "fedavgm", delta_of(2))


def test_a_state_that_is_not_finite_leaves_no_file(store: Store) -> None:
    before = contents(store)
    delta = np.full(SPEC.size, 1e30, np.float32)  # a number, and so is what Adam would step; its square is none
    with pytest.raises(NotFinite):
        write(store, "fedadam", delta)
    assert contents(store) == before
