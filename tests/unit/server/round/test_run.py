"""When a run ends and goes on, what is evaluated and kept meanwhile, and where the first weights come from."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from roughfed.config.federation import FederationConfig, Model, RoundSettings
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.digest import content_digest
from roughfed.errors import ConfigError
from roughfed.params import read_flat
from roughfed.server.context import clock as clock_module
from roughfed.server.model.run_setup import open_run, write_given
from roughfed.server.round import run as run_module
from roughfed.server.storage.store import Store
from roughfed.types import Evaluation, Spec, TensorSpec
from tests.simulation.rig import NAMES, newest, whole_run


class Judge:
    """A worker that knows each version by its parameters, and finds `correct[version]` of 100 examples right."""

    def __init__(self, correct: Mapping[int, int] | None = None) -> None:
        self.correct, self.judged = correct or {}, list[int]()

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
        version = round(float(read_flat(params)[0]) / 2)  # each round adds 2
        self.judged.append(version)
        return Evaluation(model_digest, 100, 1.0, (100,), (self.correct.get(version, 50),))

    async def stop(self) -> None:
        """Nothing runs."""


def facts(folder: Path) -> Store:
    """The journal as the next process finds it; the caller closes it."""
    return Store(folder)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_run_ends_after_its_rounds_and_says_so(tmp_path: Path) -> None:
    reason, rig = whole_run(tmp_path, rounds=3)
    version, flat = newest(tmp_path)
    assert (reason, version) == ("rounds", 3)
    np.testing.assert_array_equal(flat, np.full(500, 6.0))
    farewell = rig.ctx.clients.farewell
    assert farewell is not None
    assert (farewell.reason, farewell.model_version, farewell.model_digest) == (
        "rounds",
        3,
        content_digest(flat.tobytes()),
    )
    store = facts(tmp_path)
    assert store.finished() == "rounds"
    store.close()


def test_abandoned_rounds_do_not_use_up_the_run_but_pause_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    recover = run_module.recover

    async def counted(ctx: Any, row: Any, lost: int) -> None:
        waited.append(lost)
        await recover(ctx, row, lost)
        ctx.state.stopping = ctx.state.paused  # an operator who looks, and stops the server

    monkeypatch.setattr(run_module, "recover", counted)
    monkeypatch.setattr(run_module, "PAUSE_S", 0.0)
    with pytest.raises(asyncio.CancelledError):
        whole_run(tmp_path, {"beta": "fails", "gamma": "fails"}, rounds=2)
    assert waited == list(range(1, run_module.LOST_ROUNDS + 1))
    assert newest(tmp_path)[0] == 0
    store = facts(tmp_path)
    assert store.finished() is None
    store.close()


def test_the_time_budget_ends_the_run_after_the_round_that_exceeds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[int] = []
    play = run_module.run_round

    async def counted(ctx: Any) -> Any:
        row = await play(ctx)
        played.append(row.round)
        return row

    monkeypatch.setattr(run_module, "run_round", counted)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 100.0 * len(played))
    monkeypatch.setattr(clock_module, "time", clock)  # this file's alone: asyncio's clock stays right
    reason, _ = whole_run(tmp_path, rounds=9, time_budget=150.0)
    assert (reason, played) == ("time-budget", [1, 2])


@pytest.mark.parametrize(
    ("correct", "last"),
    [
        ({1: 50, 2: 80, 3: 70, 4: 70}, 4),  # the best is 2
        ({1: 50, 2: 49, 3: 60, 4: 59, 5: 58}, 5),  # a new best starts the count again
        ({1: 90, 2: 50, 3: 90, 4: 50, 5: 50}, 5),  # the newest of equals is the best
    ],
)
def test_the_run_stops_so_many_rounds_after_the_best_version(
    tmp_path: Path, correct: dict[int, int], last: int
) -> None:
    reason, _ = whole_run(tmp_path, worker=Judge(correct), rounds=9, early_stop_rounds=2)
    assert (reason, newest(tmp_path)[0]) == ("early-stop", last)


def test_a_finished_run_goes_on_when_there_are_more_rounds(tmp_path: Path) -> None:
    assert whole_run(tmp_path, rounds=2)[0] == "rounds"
    reason, again = whole_run(tmp_path, rounds=2)
    assert (reason, newest(tmp_path)[0]) == ("rounds", 2)
    assert [job.train for _, job in again.jobs] == [False] * 3  # nothing is played again

    seen: list[str | None] = []

    class Watching(Judge):
        async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation:
            store = facts(tmp_path)
            seen.append(store.finished())
            store.close()
            return await super().evaluate(params, model_digest=model_digest)

    reason, _ = whole_run(tmp_path, worker=Watching(), rounds=4)
    version, flat = newest(tmp_path)
    assert (reason, version, seen) == ("rounds", 4, [None, None])  # meanwhile it is not over
    np.testing.assert_array_equal(flat, np.full(500, 8.0))


def test_an_early_stopped_run_stays_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"rounds": 9, "early_stop_rounds": 1}
    whole_run(tmp_path, worker=Judge({1: 80, 2: 20}), **options)
    reason, again = whole_run(tmp_path, worker=Judge(), **options)
    assert (reason, newest(tmp_path)[0]) == ("early-stop", 2)
    assert not any(job.train for _, job in again.jobs)


# -- what is kept and evaluated ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ({"keep_last": 3}, {2, 4, 5, 6}),
        ({"keep_last": 3, "keep_best": False}, {4, 5, 6}),
        ({"keep_last": 5}, {2, 3, 4, 5, 6}),
        ({"keep_last": 1, "keep_best": False}, {5, 6}),  # the base of the last round stays with its result
    ],
)
def test_the_last_and_the_best_versions_stay_on_disk(tmp_path: Path, model: dict[str, object], kept: set[int]) -> None:
    whole_run(tmp_path, worker=Judge({2: 99}), model=model, rounds=6)
    store = facts(tmp_path)
    files = {path.stem for path in (tmp_path / "models").iterdir()}
    assert files == {digest.hex() for version, digest in store.versions() if version in kept}
    assert [version for version, _ in store.versions()] == list(range(7))  # the journal forgets nothing
    store.close()


def test_evaluate_every_thins_out_both_the_servers_and_the_clients(tmp_path: Path) -> None:
    _, rig = whole_run(tmp_path, worker=(judge := Judge()), rounds=5, evaluate_every=2)
    assert judge.judged == [2, 4, 5]  # and the last, whatever its number
    asked = [(job.train, job.evaluate) for name, job in rig.jobs if name == "alpha"]
    assert asked == [(True, True), (True, False)] * 2 + [(True, True), (False, True)]
    store = facts(tmp_path)
    assert set(store.evaluations(5)) == {"", *NAMES}
    assert store.evaluations(3) == {}
    store.close()


def test_evaluate_every_0_evaluates_nothing(tmp_path: Path) -> None:
    _, rig = whole_run(tmp_path, worker=(judge := Judge()), rounds=2, evaluate_every=0)
    assert judge.judged == []
    assert [(job.train, job.evaluate) for _, job in rig.jobs] == [(True, False)] * 6


# -- the first weights -------------------------------------------------------------------------------------------------

GIVEN = Spec((TensorSpec("b", (2,)), TensorSpec("a", (2, 3))))
B, A = np.array([7.0, 8.0], dtype=np.float32), np.arange(6.0, dtype=np.float32).reshape(2, 3)


def test_given_weights_are_put_into_the_order_of_the_model(tmp_path: Path) -> None:
    save_file({"a": A, "b": B}, given := tmp_path / "given.safetensors")
    digest = write_given(path := tmp_path / "first.safetensors", GIVEN, given)
    flat = read_flat(path)
    assert flat.tolist() == [7.0, 8.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert digest == content_digest(flat.tobytes())


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": A, "bias": B}, r"tensor b: got nothing, want \(2,\)"),
        ({"a": A.T.copy(), "b": B}, r"tensor a: got \(3, 2\), want \(2, 3\)"),
        (None, "No such file"),
        (b"not safetensors at all", "given.safetensors: .+"),
    ],
    ids=["names", "shapes", "missing", "garbage"],
)
def test_given_weights_that_do_not_fit_are_refused(tmp_path: Path, tensors: Any, said: str) -> None:
    given, path = tmp_path / "given.safetensors", tmp_path / "first.safetensors"
    if isinstance(tensors, dict):
        save_file(tensors, given)
    elif tensors is not None:
        given.write_bytes(tensors)
    with pytest.raises(ConfigError, match=said) as refused:
        write_given(path, GIVEN, given)
    assert refused.value.key == "model.init"
    assert str(given) in str(refused.value)
    assert not path.exists()


def test_a_run_begins_with_the_given_weights_or_not_at_all(tmp_path: Path) -> None:
    origin, given = SyntheticOrigin(4), tmp_path / "given.safetensors"

    def begin(weights: np.ndarray) -> tuple[int, np.ndarray]:
        save_file({"weight": weights}, given)
        store = Store(tmp_path / "state")
        config = FederationConfig(round=RoundSettings(), model=Model(init=str(given)))
        try:
            asyncio.run(open_run(store, origin, config))
        finally:
            store.close()
        return newest(tmp_path / "state")

    with pytest.raises(ConfigError, match="tensor weight"):
        begin(np.zeros(5, dtype=np.float32))
    store = facts(tmp_path / "state")
    assert store.run() is None
    store.close()
    version, flat = begin(np.full(4, 3.0, dtype=np.float32))
    assert (version, flat.tolist()) == (0, [3.0] * 4)
