"""Rounds whose defence has rows of the server's own: the last step, and an update of examples that it holds out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from roughfed.errors import ConfigError, TrainerError
from roughfed.server.defence import ROOT, RULES, Situation, Verdict, View
from roughfed.server.round import engine
from roughfed.server.round.updates import reference_updates
from roughfed.server.storage.store import RoundRow, Store
from roughfed.training import Turn
from roughfed.types import Evaluation, Signed, Spec, TensorSpec

from .rig import DELTAS, NAMES, SPEC, Rig, newest, scene

ROOT_LENGTH = 2.0
FLTRUST = {"rule": "fltrust", "f": 1, "root": 20}


class Teacher:
    """The server's trainer: its update is the same everywhere, with a little of the seed; it can fail."""

    def __init__(self, *, fails: bool = False, have: tuple[int, ...] = (50, 50)) -> None:
        self.fails, self.have = fails, have
        self.made: list[tuple[int, int]] = []
        self.aside: tuple[int, ...] = ()

    async def evaluate(self, params: Path, *, model_digest: bytes) -> Evaluation | None:
        return None

    async def calibrate(self, params: Path, out: Path, given: Mapping[str, object]) -> None:
        return None

    async def root_counts(self) -> tuple[int, ...]:
        if self.fails:
            raise TrainerError("no memory")
        return self.have

    def hold_out(self, take: Any, *, seed: int) -> None:
        self.aside = tuple(take)

    async def fit_root(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn, steps: int
    ) -> bool:
        self.made.append((turn.round, steps))
        if not self.fails:
            (ROOT_LENGTH + np.random.default_rng(seed).normal(size=SPEC.size)).astype("<f4").tofile(delta)
        return not self.fails

    async def stop(self) -> None:
        """Nothing runs."""


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "extras").glob("*"))


# -- the last step -----------------------------------------------------------------------------------------------------


def test_centered_clipping_starts_from_the_last_step(tmp_path: Path) -> None:
    """Updates 1, 2, 3 everywhere. Round 1 from 0: tau = 2, so 1 + 2 + 2 over 3. Round 2 from 5/3: tau = 2/3."""
    for number, wanted in ((1, 5 / 3), (2, 5 / 3 + (5 / 3 - 2 / 3 / 3 + 1 / 9 + 2 / 9))):
        row, _ = scene(tmp_path, rounds=2, defence={"rule": "centered-clipping", "f": 1})
        assert row.outcome == "committed"
        assert (row.round, row.excluded) == (number, {})
        np.testing.assert_allclose(newest(tmp_path)[1], np.full(SPEC.size, wanted), rtol=1e-6)
        assert left(tmp_path) == []


def test_without_the_file_of_the_version_before_there_is_no_last_step(tmp_path: Path) -> None:
    settings = {"rule": "centered-clipping", "f": 1}
    scene(tmp_path, rounds=2, defence=settings)
    store = Store(tmp_path)
    store.model_path(store.versions()[0][1]).unlink()
    store.close()
    row, _ = scene(tmp_path, rounds=2, defence=settings)
    assert row.outcome == "committed"
    np.testing.assert_allclose(newest(tmp_path)[1], np.full(SPEC.size, 2 * 5 / 3), rtol=1e-6)


# -- the server's own update -------------------------------------------------------------------------------------------


def test_who_goes_the_other_way_is_left_out_and_nobody_is_longer_than_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DELTAS, "gamma", np.full(SPEC.size, -50.0, dtype="<f4"))
    teacher = Teacher()
    row, rig = scene(tmp_path, defence=FLTRUST, worker=teacher)
    assert row.sets == {"alpha": "", "beta": "", "gamma": "fltrust"}
    assert rig.closed["gamma"].reason == "fltrust"
    root = np.linalg.norm(ROOT_LENGTH + np.random.default_rng(0).normal(size=SPEC.size))
    assert np.linalg.norm(newest(tmp_path)[1]) == pytest.approx(root, rel=0.1)
    assert teacher.made == [(1, 0)]
    assert left(tmp_path) == []


class Died(Exception):
    """The process dies here."""


@pytest.mark.parametrize("defence", [FLTRUST, {"rule": "centered-clipping", "f": 1}], ids=lambda d: str(d["rule"]))
@pytest.mark.parametrize("files", ["there", "gone"])
def test_dead_between_verdict_and_commit_the_same_bits_come_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str, defence: dict[str, Any]
) -> None:
    for folder in (tmp_path / "whole", tmp_path / "broken"):
        scene(folder, rounds=2, defence=defence, worker=Teacher())
    scene(tmp_path / "whole", rounds=2, defence=defence, worker=Teacher())

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(engine, "place", die)
        with pytest.raises(Died):
            scene(tmp_path / "broken", rounds=2, defence=defence, worker=Teacher())
    root = ["00000002-root"] if defence["rule"] == "fltrust" else []
    assert left(tmp_path / "broken") == ["00000002-previous", *root]  # the last step is for free-riders, too
    if files == "gone":
        for name in left(tmp_path / "broken"):
            (tmp_path / "broken" / "extras" / name).unlink()
    teacher = Teacher()
    row, _ = scene(tmp_path / "broken", dict.fromkeys(NAMES, "leaves"), rounds=2, defence=defence, worker=teacher)
    assert (row.round, row.outcome) == (2, "committed")
    assert bool(teacher.made) == (files == "gone" and defence["rule"] == "fltrust")  # what is there is not made again
    for (version, ours), theirs in [(newest(tmp_path / "broken"), newest(tmp_path / "whole")[1])]:
        assert version == 2
        np.testing.assert_array_equal(ours, theirs)


def test_a_rule_that_needs_it_does_without_a_round_where_it_cannot_be_made(tmp_path: Path) -> None:
    row, _ = scene(tmp_path, defence=FLTRUST, worker=Teacher(fails=True))
    assert row.outcome == "abandoned"
    assert newest(tmp_path)[0] == 0
    assert left(tmp_path) == []


def test_a_rule_that_only_wants_it_is_asked_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    def judge(view: View, _: Situation) -> Verdict:
        seen.append(view.extras)
        return Verdict()

    wants = dataclasses.replace(RULES["fltrust"], needs=frozenset(), wants=frozenset({ROOT}), judge=judge)
    monkeypatch.setitem(RULES, "fltrust", wants)
    for fails, root in ((True, 20), (False, 20), (False, 0)):
        folder = tmp_path / f"{fails}-{root}"
        row, _ = scene(folder, defence=FLTRUST | {"root": root}, worker=Teacher(fails=fails))
        assert row.outcome == "committed"
    assert seen == [(), (ROOT,), ()]


# -- before the first round --------------------------------------------------------------------------------------------


def prepared(folder: Path, worker: Any, *, whole: Spec = SPEC, **defence: Any) -> None:
    with ThreadPoolExecutor(1) as executor:
        rig = Rig(folder, executor, worker=worker, defence=FLTRUST | defence)
        try:
            asyncio.run(reference_updates.prepare(rig.ctx, whole))
        finally:
            rig.store.close()


def test_the_examples_are_set_aside_before_the_first_round(tmp_path: Path) -> None:
    teacher = Teacher(have=(30, 30, 0, 30))
    prepared(tmp_path, teacher)
    assert teacher.aside == (7, 7, 0, 6)


@pytest.mark.parametrize(
    ("worker", "options", "cause"),
    [
        (Teacher(), {"root": 0}, "makes of its own examples"),
        (Teacher(have=(0,)), {}, "no data of its own"),
        (Teacher(have=(30, 5)), {}, "5 examples of class 1"),
        (Teacher(fails=True), {}, "no memory"),
        (Teacher(), {"whole": Spec((TensorSpec("w", (501,)),))}, "no whole model"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(tmp_path: Path, worker: Teacher, options: Any, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        prepared(tmp_path, worker, **options)
    assert (caught.value.key, bool(caught.value.cure)) == ("defence.root", True)


def test_files_of_rounds_that_are_over_are_swept(tmp_path: Path) -> None:
    (tmp_path / "extras").mkdir()
    for name in ("00000003-root", "00000004-root", "00000004-root.new", "00000004-previous"):
        (tmp_path / "extras" / name).touch()
    ctx: Any = SimpleNamespace(store=SimpleNamespace(folder=tmp_path))
    row = RoundRow(4, Signed(b"", b"", ""), (), 1, 0.0, None, None, None)
    reference_updates.sweep(ctx, row)
    assert left(tmp_path) == ["00000004-previous", "00000004-root"]
    reference_updates.sweep(ctx, dataclasses.replace(row, outcome="committed"))
    assert left(tmp_path) == []


# -- how long it is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "examples", "settings", "steps"),
    [
        ({}, 0, {}, 0),
        ({"a": 30, "b": 50, "c": 9000}, 0, {}, 50),
        ({"a": 30, "b": 50, "liar": 9000}, 0, {}, 30),
        ({"a": 0, "b": 0}, 640, {"epochs": 2}, 20),
        ({"a": 0, "b": 0}, 640, {"epochs": 2, "max_steps": 7}, 7),
        ({"a": 0, "b": 0}, 1 << 20, {"epochs": 2}, 2 * 4 * reference_updates.MOST_EPOCHS),  # one of them lies
    ],
)
def test_it_takes_as_many_steps_as_clients_do(
    said: dict[str, int], examples: int, settings: dict[str, int], steps: int
) -> None:
    sets = {name: "fltrust" if name == "liar" else "" for name in said}
    row = RoundRow(
        1, Signed(b"", b"", ""), tuple(said), 1, 0.0, sets, "committed", None, sums={"examples": (examples,)}
    )
    received = {name: SimpleNamespace(statement=SimpleNamespace(num_steps=count)) for name, count in said.items()}
    trainer = SimpleNamespace(**{"epochs": 1, "batch_size": 32, "max_steps": 0} | settings)
    ctx: Any = SimpleNamespace(
        run="run",
        config=SimpleNamespace(trainer=trainer, defence=SimpleNamespace(root=100)),
        store=SimpleNamespace(
            committed=lambda *, before, most: [row] if said and before > 1 and most else [],
            rounds=lambda *, until: [row] if said and until else [],
            receipts=lambda _run, _number: received,
        ),
    )
    assert reference_updates.usual_steps(ctx, 2) == steps
