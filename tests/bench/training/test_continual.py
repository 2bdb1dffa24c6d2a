"""What the continual methods reach (`python -m tests.bench continual`). docs/benchmarks.md has the whole of it."""

from __future__ import annotations

import statistics

import pytest

from roughfed.data import load
from roughfed.errors import ConfigError
from tests.bench.training.continual import CONDITIONS, MNIST, play

SEEDS = (0, 1, 2)
PUBLISHED = [name for name, row in CONDITIONS.items() if row.published is not None and name != "s-mnist fine-tune"]


def accuracy(name: str) -> float:
    """In points, the mean of the seeds."""
    condition = CONDITIONS[name]
    try:
        load(condition.data)
    except ConfigError as error:
        pytest.skip(f"needs {condition.data}: {error}")
    return 100 * statistics.fmean(play(condition, seed=seed)["accuracy"] for seed in SEEDS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestContinual:
    def test_a_replay_remembers_what_plain_training_forgets(self) -> None:
        assert accuracy("fine-tune") <= 22
        assert accuracy("der++ 200") >= 77
        assert accuracy("der++ 500") >= 80

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_a_published_table_comes_out_within_two_standard_deviations(self, name: str) -> None:
        published = CONDITIONS[name].published
        assert CONDITIONS[name].data == MNIST
        assert published is not None
        mean, deviation = published
        assert abs(accuracy(name) - mean) <= 2 * deviation
