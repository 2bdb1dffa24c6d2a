"""What the training loop costs (`python -m tests.bench trainer`). docs/benchmarks.md has the table."""

from __future__ import annotations

import pytest

from roughfed.methods import PARTS
from tests.bench.load.trainer_speed import SpeedOptions, run_speed_bench


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_all_parts_off_the_loop_is_nearly_as_fast_as_a_bare_one() -> None:
    found = run_speed_bench(SpeedOptions(parts=False), say=lambda _name, _value: None)
    assert isinstance(found["speed"], float)
    assert found["speed"] >= 0.95


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_part_can_be_timed() -> None:
    found = run_speed_bench(SpeedOptions(examples=256, repeats=1), say=lambda _name, _value: None)
    assert isinstance(found["parts"], dict)
    assert set(found["parts"]) == set(PARTS) - {"cross-entropy", "mse"}
    assert all(cost > 0 for cost in found["parts"].values())
