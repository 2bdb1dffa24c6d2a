"""Free-riders are flagged in time and nobody honest is: a part of docs/benchmarks.md, with a seed of its own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.bench.rounds.free_riders import IN_TIME, KINDS, NOISY, FreeRiderOptions, Game, Outcome, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SEED = 3


def played(mode: str, alpha: float) -> Outcome:
    return play(Game(mode, alpha, SEED), FreeRiderOptions())  # type: ignore[arg-type]


@pytest.mark.usefixtures("fashion_mnist")
@pytest.mark.parametrize("alpha", [0.5, 0.1])
def test_in_whole_updates_every_kind_shows_within_three_rounds(alpha: float) -> None:
    found = played("updates", alpha)
    flagged: Mapping[str, int] = found.flagged
    assert all(0 < flagged[kind] <= IN_TIME for kind in KINDS), flagged
    assert flagged[NOISY] == 0
    assert found.false == {}


@pytest.mark.usefixtures("fashion_mnist")
def test_behind_masks_zeros_and_steps_show_and_nobody_honest_is_flagged() -> None:
    found = played("sketches", 0.1)
    assert 0 < found.flagged["free-zero"] <= IN_TIME
    assert found.flagged["free-replay-global"] > 0
    assert found.false == {}
