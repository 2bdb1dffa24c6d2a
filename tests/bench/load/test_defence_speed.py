"""What a verdict and the aggregate after it cost (`python -m tests.bench defence-speed`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from roughfed.server.defence import RULES
from tests.bench.load.defence_speed import DIMS, DefenceSpeedOptions, run_defence_speed_bench

PARAMS = 500_000
GOAL_S, CORES, SIZE = 10, 2, 10_000_000
"""10 s on two cores for 100 updates of 10 million parameters: processor time grows with the parameters."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_rule_is_fast_enough_in_little_memory(tmp_path: Path) -> None:
    found = run_defence_speed_bench(DefenceSpeedOptions(params=PARAMS, folder=tmp_path), say=lambda _name, _it: None)
    whole, few = found["updates"], found["sketches"]
    assert isinstance(whole, dict)
    assert isinstance(few, dict)
    assert found["skipped"] == []
    assert set(whole) == {name for name, rule in RULES.items() if "updates" in rule.sees}
    for name, figures in whole.items():
        assert figures["cpu_seconds"] * SIZE / PARAMS <= GOAL_S * CORES, name
        assert figures["memory"] <= 1.5, name
    for dim in DIMS:
        assert set(few[str(dim)]) == {name for name, rule in RULES.items() if "sketches" in rule.sees}
        for name, figures in few[str(dim)].items():
            assert figures["seconds"] <= 0.1, name
    assert not list(tmp_path.iterdir())
