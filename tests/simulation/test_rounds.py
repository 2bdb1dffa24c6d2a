"""Whole rounds without gRPC, cut at every crash point: the bytes of the next model are always the same."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from roughfed import crash
from roughfed.config.contribution import Contribution
from roughfed.server.cohort.collection import Collection
from roughfed.server.context.round_state import RoundState
from roughfed.server.round.engine import judge, updates_of
from roughfed.server.storage.store import Store

from .rig import NAMES, SPEC, Rig, newest, scene


class Killed(BaseException):
    """What a kill -9 is to the code: nothing catches it."""


def test_an_honest_round_is_the_mean_and_everybody_hears_of_it(tmp_path: Path) -> None:
    row, rig = scene(tmp_path)
    assert row.outcome == "committed"
    assert row.sets == dict.fromkeys(NAMES, "")
    version, flat = newest(tmp_path)
    assert version == 1
    np.testing.assert_array_equal(flat, np.full(SPEC.size, 2.0))
    assert {name: closed.verdict for name, closed in rig.closed.items()} == dict.fromkeys(NAMES, "accepted")
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "reason", "verdict"),
    [
        ("poison", "not-finite", "excluded"),
        ("absurd", "magnitude", "excluded"),
        ("fails", "client-failed: user-code", "excluded"),
        ("leaves", "gone", None),
    ],
)
def test_one_that_does_not_contribute_is_named_and_the_others_count(
    tmp_path: Path, behaviour: str, reason: str, verdict: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Collection.lost.__kwdefaults__, "grace", 0.05)  # a lost client is not waited for long
    row, rig = scene(tmp_path, {"beta": behaviour})
    assert row.sets == {"alpha": "", "beta": reason, "gamma": ""}
    np.testing.assert_array_equal(newest(tmp_path)[1], np.full(SPEC.size, 2.0))  # the mean of 1 and 3
    assert (closed.verdict if (closed := rig.closed.get("beta")) else None) == verdict


def test_below_the_quorum_nothing_is_averaged(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"beta": "poison", "gamma": "fails"})
    assert row.outcome == "abandoned"
    assert newest(tmp_path)[0] == 0
    assert rig.closed["alpha"].outcome == "abandoned"


def test_too_few_for_the_defence_is_no_round(tmp_path: Path) -> None:
    """One attacker among three clients: Multi-Krum needs five."""
    row, rig = scene(tmp_path, defence={"rule": "multi-krum", "f": 0.4})
    assert row.outcome == "abandoned"
    assert {closed.outcome for closed in rig.closed.values()} == {"abandoned"}
    assert newest(tmp_path)[0] == 0


def test_a_defence_that_expects_nobody_changes_nothing(tmp_path: Path) -> None:
    row, _ = scene(tmp_path, defence={"rule": "multi-krum", "f": 0.1})
    assert row.accepted == list(NAMES)


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"gamma": "silent"}, deadline=0.3)
    assert row.sets == {"alpha": "", "beta": "", "gamma": "late"}
    assert rig.closed["gamma"].verdict == "late"


PASSED = {
    "round-opened": 1, "jobs-sent": 1, "upload-started": 3, "upload-partial": 15, "upload-complete": 3,
    "receipt-journaled": 3, "sets-journaled": 1, "model-written": 1, "committed": 1, "announced": 1,
}  # fmt: skip
"""How often the server comes by in one round: once, or for each client and chunk."""
CUTS = [(point, nth) for point, times in PASSED.items() for nth in (1, 2) if nth <= times]


@pytest.mark.parametrize(("point", "nth"), CUTS)
def test_a_round_cut_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    scene(undisturbed := tmp_path / "undisturbed")
    passed: list[str] = []

    def kill(name: str) -> None:
        passed.append(name)
        if passed.count(point) >= nth:
            for task in asyncio.all_tasks():  # the whole process ends, not only who came by
                task.cancel()
            raise Killed(name)

    with monkeypatch.context() as patch, suppress(Killed, asyncio.CancelledError):
        patch.setattr(crash, "point", kill)
        scene(tmp_path)
    assert passed.count(point) >= nth
    store = Store(tmp_path)
    if (last := store.last_round()) is not None and last.outcome is None:
        store.close()
        row, _ = scene(tmp_path)
        assert (row.round, row.sets) == (1, dict.fromkeys(NAMES, ""))
    store.close()
    version, flat = newest(tmp_path)
    assert version == 1
    np.testing.assert_array_equal(flat, newest(undisturbed)[1])


def test_a_receipt_that_the_engine_has_not_heard_of_counts(tmp_path: Path) -> None:
    """The journal decides: its client was told that the update counts."""

    async def scenario() -> dict[str, str] | None:
        with ThreadPoolExecutor(2) as executor:
            rig = Rig(tmp_path, executor)
            watched = rig.ctx.config
            rig.ctx.settings.config = watched.model_copy(update={"contribution": Contribution(free_riders="off")})
            await rig.create()
            row = await rig.play({})  # its updates are gone afterwards: nobody is to look at them again
            assert rig.ctx.state.round is not None
            assert rig.ctx.state.round.collection is None
            again = Rig(tmp_path, executor)
            again.ctx.settings.config = rig.ctx.config
            again.ctx.state.round = round_ = RoundState(row)
            round_.collection = Collection(frozenset(NAMES), 3, 2, 0.0, received={"alpha"})
            await judge(again.ctx, round_, updates_of(again.ctx, round_))
            again.store.close()
            return round_.row.sets

    assert asyncio.run(scenario()) == dict.fromkeys(NAMES, "")
