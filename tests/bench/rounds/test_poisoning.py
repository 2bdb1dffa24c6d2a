"""What attacks leave of a model with the default defence: a part of docs/benchmarks.md, with one seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tests.bench.rounds.poisoning import CLEAN, MASKED, UNDEFENDED, PoisoningOptions, run_poisoning_bench

pytestmark = pytest.mark.slow

ATTACKS = (CLEAN, "sign-flip", "min-max", "backdoor", "inflated-count")
MODES = {"default": (4.0, 0.10), "default, sketches": (4.5, 0.15)}
"""Mode -> points below the undefended model without an attack, and success of a backdoor, that it may come to."""


@pytest.fixture(scope="module")
def result(fashion_mnist: str) -> dict[str, Any]:
    del fashion_mnist  # it is here
    options = PoisoningOptions(seeds=(0,), attacks=ATTACKS, defences=(UNDEFENDED, MASKED, *MODES))
    return cast("dict[str, Any]", run_poisoning_bench(options, say=_unheard))


def _unheard(_name: str, _figures: Mapping[str, object]) -> None:
    """Nobody listens."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("attack", ATTACKS[1:])
def test_an_attack_costs_little(result: dict[str, Any], attack: str, mode: str) -> None:
    points, success = MODES[mode]
    cell = result["results"][attack][mode]
    assert cell["delta_clean"] >= -points
    assert cell["delta_undefended"] >= -0.5
    assert cell["asr"] <= success


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES)
def test_the_defence_costs_little_where_nobody_attacks(result: dict[str, Any], mode: str) -> None:
    assert result["clean"][mode]["delta_clean"] >= -1.5  # a point over three seeds; one of them swings by more
