"""Personal models beside the common one and none: a part of docs/benchmarks.md, one seed, fewer rounds and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.bench.training.personal import ALONE, GLOBAL, TUNED, PersonalOptions, run_personal_bench
from tests.bench.training.personal_clients import LocalOptions

pytestmark = pytest.mark.slow

METHODS = (GLOBAL, "FedRep", "Ditto", "Ditto, weak")
RECOMMENDED = (TUNED, "Ditto")
"""What docs/personal.md recommends where nobody knows how unlike the clients are."""


@pytest.fixture(scope="module")
def result(fashion_mnist: str) -> dict[str, Any]:
    del fashion_mnist  # it is here
    options = PersonalOptions(LocalOptions(examples=20_000, rounds=6), seeds=(0,), methods=METHODS)
    return cast("dict[str, Any]", run_personal_bench(options, say=_unheard))


def _unheard(_name: str, _means: Mapping[str, object]) -> None:
    """Nobody listens."""


@pytest.mark.timeout(1800)
def test_where_clients_are_unlike_a_model_of_their_own_helps_the_worst_of_them(result: dict[str, Any]) -> None:
    table = result["results"]["0.1"]
    for row in ("FedRep", "Ditto", *RECOMMENDED):
        assert table[row]["mean"] > table[GLOBAL]["mean"] + 0.05, row
        assert table[row]["worst10"] > table[GLOBAL]["worst10"] + 0.10, row


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("row", RECOMMENDED)
def test_where_they_are_alike_it_costs_next_to_nothing(result: dict[str, Any], row: str) -> None:
    table = result["results"]["5"]
    best = max(table[GLOBAL]["mean"], table[ALONE]["mean"])
    assert table[row]["mean"] >= best - 0.01  # half a point over three seeds; one of them swings by more


def test_the_model_without_norms_has_no_fedbn() -> None:
    options = PersonalOptions(methods=("FedBN",), workers=1)
    assert run_personal_bench(options, say=_unheard)["left_out"] == {"FedBN": "mlp has no normalisation layers"}
