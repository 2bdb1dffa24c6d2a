"""What sums over the clients must do for rough data (`python -m tests.bench federated-rough`, docs/benchmarks.md)."""

from __future__ import annotations

import statistics

import pytest

from tests.bench.training.federated_rough import CONDITIONS, play

SEEDS = (0, 1, 2)


class Played:
    """Means over the seeds, each federation played once."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, dict[str, float]]] = {}

    def means(self, name: str, finished: str = "") -> dict[str, float]:
        if name not in self._found:
            runs = [play(CONDITIONS[name], seed=seed) for seed in SEEDS]
            self._found[name] = {
                how: {key: statistics.fmean(run[how][key] for run in runs) for key in runs[0][how]} for how in runs[0]
            }
        return self._found[name][finished]


@pytest.fixture(scope="module")
def both(fashion_mnist: str) -> Played:
    del fashion_mnist  # it is here
    return Played()


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestSums:
    def test_a_finished_classifier_finds_the_tail_again(self, both: Played) -> None:
        plain, found = both.means("tail, plain"), both.means("tail, plain", "ccvr")
        assert found["balanced"] >= plain["balanced"] + 0.04
        assert found["tail"] >= plain["tail"] + 0.12
        assert found["worst"] >= plain["worst"] + 0.20

    @pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
    def test_noisy_clients_find_themselves(self, both: Played, kind: str) -> None:
        found = both.means(f"{kind}, plain, self-weight")
        assert found["auc"] >= 0.95
        assert found["weight_clean"] >= 0.95

    def test_symmetric_noise_costs_six_points_less(self, both: Played) -> None:
        found = both.means("symmetric, gce, self-weight")["balanced"]
        assert found >= both.means("symmetric, plain")["balanced"] + 0.06

    def test_asymmetric_noise_costs_less(self, both: Played) -> None:
        found = both.means("asymmetric, global-distillation, self-weight")["balanced"]
        assert found >= both.means("asymmetric, plain")["balanced"] + 0.015
