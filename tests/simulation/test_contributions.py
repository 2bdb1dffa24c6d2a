"""Scores beside the rounds: what is kept, who evaluates, what the summaries say, and what a kill leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from roughfed import crash
from roughfed.config.contribution import Contribution
from roughfed.errors import ConfigError, TrainerError
from roughfed.params import read_flat
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.contribution import METHODS, replay
from roughfed.server.extensions.contribution.extension import ContributionScoring as Scoring
from roughfed.server.extensions.contribution.retained import Shelf
from roughfed.server.round.engine import run_round
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.run import run_rounds
from roughfed.server.storage.store import RoundRow, Store

from . import masked_rig
from .masked_rig import MaskedRig
from .rig import NAMES, Rig
from .test_defence_groups import deltas_of


class Judge:
    """A worker whose models are as good as their mean parameter, and that may fail, or hang until it is let go."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble, self.go_on = trouble, asyncio.Event()
        self.go_on.set()
        self.calls = 0

    async def root_counts(self) -> tuple[int, ...]:
        return (50, 50)

    async def evaluate(self, params: Path, *, model_digest: bytes) -> None:
        return None

    async def score(self, asked: Mapping[str, Any]) -> list[tuple[int, float, Sequence[int], Sequence[int]]]:
        await self.go_on.wait()
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble
        base = read_flat(Path(asked["params"]))
        rows = [np.fromfile(path, dtype="<f4") for path in asked["updates"]]
        found = []
        for weights in asked["weights"]:
            worth = float(base.mean()) + sum(w * float(row.mean()) for w, row in zip(weights, rows, strict=True))
            found.append((100, -100 * worth, (50, 50), (25, 25)))
        return found


Engine = Callable[[ServerContext], Any]


def scores_of(ctx: ServerContext) -> Scoring:
    return next(each for each in ctx.extensions.all if isinstance(each, Scoring))


async def one_round(ctx: ServerContext) -> RoundRow:
    await scores_of(ctx).prepare()
    row = await run_round(ctx)
    await scores_of(ctx).finish()
    return row


def summaries(folder: Path) -> list[dict[str, Any]]:
    with closing(Store(folder)) as store:
        return [(row.summary or {}).get("contribution", {}) for row in store.rounds()]  # pyright: ignore[reportReturnType]


def play(
    folder: Path, worker: Judge | None, engine: Engine, behave: Mapping[str, str] | None = None, **given: Any
) -> Any:
    """Something with a federation of three whose updates are worth 1, 2 and 3, a third of that each in the mean."""

    async def whole() -> Any:
        with ThreadPoolExecutor(2) as executor:
            rig = Rig(folder, executor, worker=cast(Any, worker), num_classes=2, rounds=3, evaluate_every=0)
            rig.ctx.settings.config = rig.ctx.config.model_copy(
                update={"contribution": Contribution.model_validate({"method": "shapley", "utility": "loss"} | given)}
            )
            if rig.store.run() is None:
                await rig.create()
            return await rig._among_clients(engine, behave or {}, NAMES)

    return asyncio.run(whole())


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if "updates" in row.sees])
def test_a_round_is_scored_by_the_weights_that_its_updates_have(tmp_path: Path, method: str) -> None:
    play(tmp_path, Judge(), one_round, method=method, utility="auto" if method == "cgsv" else "loss")
    (found,) = summaries(tmp_path)
    scores = found["scores"]
    if method == "cgsv":
        assert found["evaluations"] == 0
        assert {parts["round"] for parts in scores.values()} == {1.0}  # all go the same way
    else:
        assert found["evaluations"] == (4 if method == "leave-one-out" else 8)
        for at, name in enumerate(NAMES):
            assert scores[name]["round"] == pytest.approx((at + 1) / 3)
            assert scores[name]["total"] == scores[name]["round"] == scores[name]["loss"]
            assert scores[name]["accuracy"] == scores[name]["balanced-accuracy"] == 0.0
    assert not (tmp_path / "contribution").exists()
    assert not list((tmp_path / "spool").iterdir())


def test_who_is_left_out_gets_nothing_for_the_round_and_who_fails_is_not_in_it(tmp_path: Path) -> None:
    async def two_rounds(ctx: ServerContext) -> None:
        await one_round(ctx)
        ctx.clients.revoked.add("beta")  # its update comes, and does not count
        await run_round(ctx)
        await scores_of(ctx).finish()

    play(tmp_path, Judge(), two_rounds, {"gamma": "fails"})
    first, second = summaries(tmp_path)
    assert first["scores"].keys() == {"alpha", "beta"}
    assert first["scores"]["beta"]["round"] > 0
    assert second["scores"]["beta"]["round"] == 0.0
    assert second["scores"]["beta"]["total"] == first["scores"]["beta"]["total"]
    assert "gamma" not in second["scores"]


def test_a_round_that_comes_while_another_is_scored_is_not_judged_and_says_so(tmp_path: Path) -> None:
    worker = Judge()

    async def three_rounds(ctx: ServerContext) -> None:
        await scores_of(ctx).prepare()
        worker.go_on.clear()
        for _ in range(2):
            row = await run_round(ctx)
            assert row.outcome == "committed"  # nothing waited
        assert len(list((tmp_path / "contribution").glob("*.row"))) == 3  # of the first alone
        worker.go_on.set()
        await scores_of(ctx).finish()
        await run_round(ctx)
        await scores_of(ctx).finish()

    play(tmp_path, worker, three_rounds)
    first, second, third = summaries(tmp_path)
    assert second["skipped"] == "an earlier round is still being scored"
    assert "skipped" not in first
    for name, parts in third["scores"].items():
        assert parts["total"] == first["scores"][name]["round"] + parts["round"]


def test_a_worker_that_fails_costs_the_scores_of_a_round_and_no_round(tmp_path: Path) -> None:
    row = play(tmp_path, Judge(TrainerError("no memory", reason="out-of-memory")), one_round)
    (found,) = summaries(tmp_path)
    assert row.outcome == "committed"
    assert found["skipped"] == "the models could not be evaluated"
    assert found["scores"] == {}
    assert not (tmp_path / "contribution").exists()


def test_a_loss_that_is_no_number_costs_the_scores_of_its_round_and_no_total(tmp_path: Path) -> None:
    class Diverged(Judge):
        async def score(self, asked: Mapping[str, Any]) -> list[tuple[int, float, Sequence[int], Sequence[int]]]:
            found = await super().score(asked)
            return [(n, float("nan"), *more) for n, _, *more in found] if self.trouble_now else found

        trouble_now = True

    worker = Diverged()

    async def two_rounds(ctx: ServerContext) -> None:
        await one_round(ctx)
        worker.trouble_now = False
        await run_round(ctx)
        await scores_of(ctx).finish()

    play(tmp_path, worker, two_rounds)
    first, second = summaries(tmp_path)
    assert (first["skipped"], first["scores"]) == ("the models could not be evaluated", {})
    assert all(parts["total"] == parts["round"] for parts in second["scores"].values())


def test_every_other_round_is_scored_where_the_settings_say_so(tmp_path: Path) -> None:
    async def three_rounds(ctx: ServerContext) -> None:
        await scores_of(ctx).prepare()
        for _ in range(3):
            await run_round(ctx)
            await scores_of(ctx).finish()

    play(tmp_path, Judge(), three_rounds, every=2)
    assert [bool(found.get("scores")) for found in summaries(tmp_path)] == [True, False, True]


def test_what_needs_data_is_refused_without_and_auto_does_without(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        play(tmp_path / "none", None, one_round)
    assert (caught.value.key, "test=" in caught.value.cure) == ("contribution.method", True)
    for folder, worker, method in (("with", Judge(), "gtg-shapley"), ("without", None, "cgsv")):
        play(tmp_path / folder, worker, one_round, method="auto", utility="auto")
        assert summaries(tmp_path / folder)[0]["method"] == method


class Killed(BaseException):
    """What a kill -9 is to the code: nothing catches it."""


@pytest.mark.parametrize(
    "point",
    [
        "committed",
        pytest.param("model-written", marks=pytest.mark.slow),
        pytest.param("announced", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_is_killed_scores_the_round_again_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    async def whole_run(ctx: ServerContext) -> str:
        await scores_of(ctx).prepare()
        return await run_rounds(ctx, RoundEvents(ctx))

    def kill(name: str) -> None:
        if name == point:
            for task in asyncio.all_tasks():
                task.cancel()
            raise Killed(name)

    play(tmp_path / "whole", Judge(), whole_run)
    with monkeypatch.context() as patch, suppress(Killed, asyncio.CancelledError):
        patch.setattr(crash, "point", kill)
        play(tmp_path / "killed", Judge(), whole_run)
    play(tmp_path / "killed", Judge(), whole_run)
    whole, killed = summaries(tmp_path / "whole"), summaries(tmp_path / "killed")
    assert len(killed) == 3
    first = [{n: p["round"] for n, p in found[0]["scores"].items()} for found in (whole, killed)]
    assert first[0] == first[1] != {}
    rounds = [{n: p for n, p in found["scores"].items() if "round" in p} for found in killed]
    assert replay("shapley", rounds).totals == {n: p["total"] for n, p in killed[-1]["scores"].items()}


def test_a_server_that_is_killed_once_its_scores_are_journaled_does_not_count_them_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def another(ctx: ServerContext) -> None:
        await scores_of(ctx).prepare()
        scores_of(ctx).resume()
        await scores_of(ctx).finish()
        await run_round(ctx)
        await scores_of(ctx).finish()

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "clear", lambda _: None)  # what comes after the scores never happens
        play(tmp_path, Judge(), one_round)
    assert list((tmp_path / "contribution").iterdir())
    play(tmp_path, Judge(), another)
    found = [one["scores"] for one in summaries(tmp_path)]
    assert len(found) == 2
    assert replay("shapley", found).totals == {name: parts["total"] for name, parts in found[-1].items()}
    assert not (tmp_path / "contribution").exists()


@pytest.mark.parametrize(("sees", "method", "clients"), [("sketches", "cgsv", 5), ("sums", "group-regression", 21)])
def test_rows_behind_masks_are_scored_without_a_single_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sees: str, method: str, clients: int
) -> None:
    monkeypatch.setattr(masked_rig, "run_round", one_round)
    tables = {"privacy": {"server_sees": sees}, "contribution": {"method": method}, "defence": {"rule": "none"}}
    played = MaskedRig(tmp_path, deltas_of(clients, attack=False), settings=tables)
    row = played.play()
    (found,) = summaries(tmp_path)
    assert (row.outcome, found["method"], found["evaluations"]) == ("committed", method, 0)
    assert found["scores"].keys() == played.deltas.keys()
    assert all(0.5 < parts["round"] <= 1 for parts in found["scores"].values())  # all go about the same way
    assert not list((tmp_path / "spool").iterdir())
    if sees == "sums":
        assert len({parts["group"] for parts in found["scores"].values()}) == 3
        assert found["needed_rounds"] == 9  # 20 differences, two a round
