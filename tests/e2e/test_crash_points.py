"""Every crash point that the product lists is met alone, in a masked round, by one of the tests here."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from roughfed.crash import CLIENT_POINTS, SERVER_POINTS, TRAINER_POINTS

from . import test_clusters, test_edge_masked, test_masked_crash, test_masked_rare, test_masked_trainer, test_taken_back

ELSEWHERE = [*test_masked_rare.OF_SERVER, *test_clusters.SPLIT_KILLS, *test_edge_masked.KILLS, *test_taken_back.KILLS]
MET = {
    "server": [*test_masked_crash.SERVER, *ELSEWHERE],
    "client": [*test_masked_crash.CLIENT, *test_masked_rare.OF_CLIENT],
    "trainer": test_masked_trainer.TRAINER,
}
LISTED = {"server": SERVER_POINTS, "client": CLIENT_POINTS, "trainer": TRAINER_POINTS}


def points(cases: Iterable[str]) -> set[str]:
    """NAME and NAME:3 are the same point."""
    return {case.partition(":")[0] for case in cases}


@pytest.mark.parametrize("side", LISTED)
def test_every_point_is_met_alone_in_a_masked_round(side: str) -> None:
    """A new one goes to the side's list there by itself, unless it is named as one that such rounds never come to."""
    assert points(MET[side]) == set(LISTED[side])


def test_what_an_ordinary_round_does_not_come_to_is_met_elsewhere_by_name() -> None:
    away = {*test_masked_crash.NOT_OF_SERVER, *test_masked_crash.NOT_OF_CLIENT}
    assert away <= points([*ELSEWHERE, *test_masked_rare.OF_CLIENT])
    assert away.isdisjoint(points([*test_masked_crash.SERVER, *test_masked_crash.CLIENT]))
