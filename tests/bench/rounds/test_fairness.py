"""What fairness rules give the worst served clients, and what liars and defences make of it: with one seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.bench.rounds.fairness import FEDAVG, ROWS, FairnessOptions, run_fairness_bench

pytestmark = pytest.mark.slow

FAIR = ("q-fedavg 2", "term 2", "q-fedavg 2, masked", "term 2, masked")
FLIPPED = "q-fedavg 2, masked, label-flip, default"


@pytest.fixture(scope="module")
def result(fashion_mnist: str) -> dict[str, Any]:
    del fashion_mnist  # it is here
    rows = (FEDAVG, f"{FEDAVG}, masked", *FAIR, FLIPPED)
    return cast("dict[str, Any]", run_fairness_bench(FairnessOptions(seeds=(0,), rows=rows), say=_unheard))


def _unheard(_name: str, _figures: Mapping[str, object]) -> None:
    """Nobody listens."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", FAIR)
def test_the_worst_tenth_gains_and_the_mean_hardly_pays(result: dict[str, Any], row: str) -> None:
    found = result["results"][row]
    assert found["gain"] >= 5
    assert found["price"] <= 1
    assert found["std"] < result["results"][FEDAVG]["std"]


@pytest.mark.timeout(1800)
def test_the_defence_leaves_liars_out_although_they_are_weighed_up(result: dict[str, Any]) -> None:
    found = result["results"][FLIPPED]
    assert found["excluded_hostile"] > 0.5
    assert found["hostile_weight"] < ROWS[FLIPPED].cap / 2
    assert found["worst10"] > result["results"][f"{FEDAVG}, masked"]["worst10"]
