"""What the parts for long tails must reach on Fashion-MNIST (`python -m tests.bench long-tail`, docs/benchmarks.md)."""

from __future__ import annotations

import statistics

import pytest

from tests.bench.training.long_tail import CONDITIONS, play

SEEDS = (0, 1, 2)


class Played:
    """Means over the seeds by condition, each played once."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, float]] = {}

    def means(self, name: str) -> dict[str, float]:
        if name not in self._found:
            runs = [play(CONDITIONS[name], seed=seed) for seed in SEEDS]
            self._found[name] = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
        return self._found[name]


@pytest.fixture(scope="module")
def played(fashion_mnist: str) -> Played:
    del fashion_mnist  # it is here
    return Played()


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestLearning:
    def test_the_default_lifts_the_tail_of_a_single_client(self, played: Played) -> None:
        plain, found = played.means("plain"), played.means("long-tail")
        assert found["balanced"] >= 0.855
        assert found["tail"] >= 0.80
        assert found["balanced"] >= plain["balanced"] + 0.04

    def test_the_default_lifts_the_tail_of_a_federation(self, played: Played) -> None:
        plain, found = played.means("federated plain"), played.means("federated long-tail")
        assert found["balanced"] >= plain["balanced"] + 0.049  # what the reference gained: 83.0 against 78.1
        assert found["balanced"] >= 0.82  # 0.826 measured; 0.83 is missed on these divisions (docs/benchmarks.md)
        assert found["tail"] >= 0.77
        assert found["worst"] >= 0.58
