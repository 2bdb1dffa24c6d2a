"""What codec and defence cost in accuracy (`python -m tests.bench accuracy`), shortened: fewer rounds and seeds.

docs/benchmarks.md has the whole of it.
"""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from roughfed.sketch.buckets import NORM_BOUND
from tests.bench.harness.rounds import MaskedPlan, MaskedRounds
from tests.bench.rounds.accuracy import AccuracyOptions, Run, play
from tests.bench.rounds.conditions import CONDITIONS

SHORT = AccuracyOptions(rounds=30, seeds=(0, 1))
POINT = 0.01


class Played:
    """Runs by condition, each played once."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}

    def runs(self, name: str) -> list[Run]:
        if name not in self._runs:
            self._runs[name] = [play(CONDITIONS[name], SHORT, seed=seed) for seed in SHORT.seeds]
        return self._runs[name]

    def accuracy(self, name: str) -> float:
        return statistics.fmean(run.settled for run in self.runs(name))


@pytest.fixture(scope="module")
def played(fashion_mnist: str) -> Played:
    del fashion_mnist  # it is here
    return Played()


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestLearning:
    def test_the_codec_at_full_rate_costs_no_accuracy(self, played: Played) -> None:
        run = played.runs("codec")[0]
        assert run.upload_bytes <= 0.26 * played.runs("float32")[0].upload_bytes
        assert abs(played.accuracy("codec") - played.accuracy("float32")) <= 0.3 * POINT

    def test_a_quarter_of_the_coordinates_costs_less_than_a_point(self, played: Played) -> None:
        run = played.runs("codec-1/4")[0]
        assert run.upload_bytes <= 0.065 * played.runs("float32")[0].upload_bytes
        assert played.accuracy("codec-1/4") >= played.accuracy("float32") - 1.0 * POINT

    @pytest.mark.parametrize("attack", ["sign-flip-10", "scale-10"])
    def test_what_ruins_plain_averaging_is_kept_out(self, played: Played, attack: str) -> None:
        for plain, attacked in zip(played.runs("float32"), played.runs(f"float32:{attack}"), strict=True):
            assert attacked.settled <= plain.settled - 20 * POINT
        assert played.accuracy(f"defended:{attack}") >= played.accuracy("float32") - 3 * POINT

    def test_flipped_labels_are_kept_out(self, played: Played) -> None:
        assert played.accuracy("defended:label-flip") >= played.accuracy("float32") - 3 * POINT

    @pytest.mark.parametrize("name", ["codec", "codec-1/4", "defended:sign-flip-10", "defended:scale-10"])
    def test_no_honest_client_comes_near_the_bound_on_norms(self, played: Played, name: str) -> None:
        for run in played.runs(name):
            assert run.honest_over_bound == run.void == 0
            assert run.honest_norm <= 1.4 < NORM_BOUND


@pytest.mark.parametrize("clients", [20, 40])
@pytest.mark.parametrize("keep_one_in", [1, 4])
@pytest.mark.parametrize("clip_norm", [0.1, 10.0, 1000.0])
def test_no_honest_update_is_over_the_bound_while_c_finds_its_place(
    clip_norm: float, keep_one_in: int, clients: int
) -> None:
    """Norms that differ by ten, layers of unequal scale, C far too small or too large at first, with feedback."""
    size, rng = 20_000, np.random.default_rng(0)
    rounds = MaskedRounds(size, clients, MaskedPlan(clip_norm=clip_norm, keep_one_in=keep_one_in), seed=1)
    layers = np.repeat([1.0, 0.1, 5.0, 0.0], size // 4)
    norms = rng.lognormal(0.0, 0.7, size=clients)
    common = rng.normal(size=size)
    for number in range(60):
        deltas = {}
        for client, norm in enumerate(norms):
            delta = (common + rng.normal(size=size)) * layers
            delta *= norm * 0.97**number / np.linalg.norm(delta)
            deltas[f"client-{client:02d}"] = delta.astype(np.float32)
        result = rounds.play(deltas)
        assert result.excluded == {}
        assert max(max(halves) for halves in result.norms.values()) < NORM_BOUND
