"""A defence where the server sees sums: groups are its rows, and who is with an attacker is out with it."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed import crash
from roughfed.server.defence.findings import Exclusions, shown
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.storage.store import RoundRow, Store

from .masked_rig import EXAMPLES, SPEC, Flat, MaskedRig, masking_of_row
from .rig import newest

ATTACKER = "c03"


def deltas_of(clients: int, *, attack: bool = True) -> dict[str, Flat]:
    """Updates along a common direction, norm about 1; the attacker goes the other way as far as the clip lets it."""
    rng = np.random.default_rng(clients)
    common = rng.normal(size=SPEC.size)
    rows = common / np.linalg.norm(common) + 0.02 * rng.normal(size=(clients, SPEC.size))
    deltas = {f"c{i:02}": row.astype(np.float32) for i, row in enumerate(rows)}
    if attack:
        deltas[ATTACKER] *= -1000
    return deltas


def rig(folder: Path, clients: int, rule: str, *, attack: bool = True, **options: Any) -> MaskedRig:
    defence = {"rule": rule} | ({"f": 1} if rule != "none" else {})
    return MaskedRig(folder, deltas_of(clients, attack=attack), settings={"defence": defence}, **options)


def groups_of(row: RoundRow, folder: Path) -> list[list[str]]:
    """Who was added up with whom, as the summary says."""
    with closing(Store(folder)) as store:
        summary = json.loads(store.journal.read("SELECT summary FROM rounds WHERE round = ?", row.round)[0]["summary"])
    return [group["members"] for group in summary["groups"]]


def test_a_rule_that_chooses_leaves_the_attackers_group_out_and_the_rest_is_exact(tmp_path: Path) -> None:
    """Five groups of seven, clients of all weights: Multi-Krum holds against one of the groups."""
    played = rig(tmp_path, 35, "multi-krum", quarters={"c00": 1, "c10": 2, "c20": 3, "c30": 1})
    row = played.play()
    groups = groups_of(row, tmp_path)
    (spoilt,) = (group for group in groups if ATTACKER in group)
    assert (len(groups), row.outcome) == (5, "committed")
    assert row.sets == {name: "multi-krum" if name in spoilt else "" for name in played.deltas}
    assert {name: closed.reason for name, closed in played.closed.items()} == row.sets  # everybody is told
    np.testing.assert_array_equal(newest(tmp_path)[1], played.mean(row.accepted, masking_of_row(row)))
    assert row.sums["examples"] == (28 * EXAMPLES,)
    assert not list((tmp_path / "spool").iterdir())
    with closing(Store(tmp_path)) as store:
        scores = json.loads(store.journal.read("SELECT scores FROM defence")[0]["scores"])
    assert max(scores, key=scores.__getitem__) == f"group-{groups.index(spoilt):03}"


def test_a_rule_over_coordinates_works_on_the_means_of_the_groups(tmp_path: Path) -> None:
    """Three groups of seven; the median of their means is none that the attacker chose."""
    played = rig(tmp_path, 21, "median")
    row = played.play()
    masking = masking_of_row(row)
    means = np.stack([played.mean(sorted(group), masking) for group in groups_of(row, tmp_path)])
    assert row.sets == dict.fromkeys(played.deltas, "")
    np.testing.assert_array_equal(newest(tmp_path)[1], np.median(means, axis=0).astype(np.float32))
    honest = played.mean([name for name in row.accepted if name != ATTACKER], masking)
    plain = played.mean(row.accepted, masking)
    assert np.linalg.norm(newest(tmp_path)[1] - honest) < 0.75 * np.linalg.norm(plain - honest)


def test_a_share_is_of_the_clients_and_not_of_the_groups_wherever_it_is_told(tmp_path: Path) -> None:
    played = MaskedRig(tmp_path, deltas_of(21), settings={"defence": {"rule": "median", "f": 0.05}})
    row = played.play()
    with closing(Store(tmp_path)) as store:
        told = shown(store, ConfiguredRule.of(played.ctx.config, store.journal), Exclusions(store))
        summary = json.loads(store.journal.read("SELECT summary FROM rounds")[0]["summary"])["defence"]
    assert (row.outcome, told["judged"], told["tolerated"]) == ("committed", 3, 1)
    assert (summary["judged"], summary["f"]) == (3, 1)


def test_without_a_defence_nothing_is_kept_apart(tmp_path: Path) -> None:
    played = rig(tmp_path, 21, "none")
    row = played.play()
    assert row.accepted == sorted(played.deltas)
    np.testing.assert_array_equal(newest(tmp_path)[1], played.mean(row.accepted, masking_of_row(row)))
    with closing(Store(tmp_path)) as store:
        assert store.journal.read("SELECT * FROM defence") == []


def test_too_few_groups_void_the_round(tmp_path: Path) -> None:
    """One group: `roughfed plan` refuses it; a round that comes to it all the same is never averaged."""
    played = rig(tmp_path, 8, "median")
    row = played.play()
    assert row.outcome == "abandoned"
    assert newest(tmp_path)[0] == 0
    assert {closed.outcome for closed in played.closed.values()} == {"abandoned"}
    assert not list((tmp_path / "spool").iterdir())


class Killed(BaseException):
    """What a kill -9 is to the code: nothing catches it."""


@pytest.mark.parametrize("point", ["judged-decided", "agreed-decided", "sets-journaled", "model-written"])
def test_a_server_that_is_killed_judges_the_same_groups_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def kill(name: str) -> None:
        if name == point:
            for task in asyncio.all_tasks():  # the whole process ends, not only who came by
                task.cancel()
            raise Killed(name)

    with monkeypatch.context() as patch, suppress(Killed, asyncio.CancelledError):
        patch.setattr(crash, "point", kill)
        rig(tmp_path, 21, "median").play()
    with closing(Store(tmp_path)) as store:
        last = store.last_round()
        assert last is not None
        assert last.outcome is None
        seed = store.journal.read("SELECT seed FROM defence")
    played = rig(tmp_path, 21, "median")
    row = played.play()
    assert (row.round, row.outcome) == (1, "committed")
    means = np.stack([played.mean(sorted(g), masking_of_row(row)) for g in groups_of(row, tmp_path)])
    np.testing.assert_array_equal(newest(tmp_path)[1], np.median(means, axis=0).astype(np.float32))
    with closing(Store(tmp_path)) as store:
        again = store.journal.read("SELECT seed FROM defence")
    assert not seed or [r["seed"] for r in again] == [r["seed"] for r in seed]
