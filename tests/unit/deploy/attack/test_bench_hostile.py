"""Who attacks in a bench, what these clients know and send, and which benches of attacks would show none."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from roughfed.deploy.attack.poison import POISONS
from roughfed.errors import ConfigError, TrainerError
from tests.bench.command import DrawnOutput, answered
from tests.bench.harness.hostile import Attackers, hostile_names
from tests.bench.harness.learners import LearningOptions
from tests.bench.rounds.conditions import ATTACKS, CONDITIONS
from tests.bench.rounds.poisoning import BENCH, JITTER, PoisoningOptions, poison_of, run_poisoning_bench

NAMES = [f"client-{number:03d}" for number in range(1, 6)]
HOSTILE = {"client-002", "client-004"}
SIZE = 12


class Trained:
    """Clients whose updates are drawn by client, round and whatever is wrong with their data."""

    names = NAMES

    def update(self, index: int, number: int, *, wrong: Any = None) -> np.ndarray:
        if number == 9 and index in (0, 1):
            raise TrainerError("it diverged", reason="diverged")
        seed = [index, number, *(wrong.data if wrong else "").encode()]
        return np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)


def attackers(attack: str, **more: Any) -> Attackers:
    return Attackers(ATTACKS.get(attack, POISONS.get(attack)), cast("Any", Trained()), HOSTILE, seed=3, **more)


def honest(number: int = 1) -> dict[str, np.ndarray]:
    return {name: Trained().update(index, number) for index, name in enumerate(NAMES)}


@pytest.mark.parametrize(("attack", "factor"), [("", 1), ("sign-flip", -1), ("sign-flip-10", -10), ("scale-10", 10)])
def test_only_the_hostile_send_something_else(attack: str, factor: float) -> None:
    found, own = attackers(attack).updates(1), honest()
    assert list(found) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(found[name], own[name] * np.float32(factor if name in HOSTILE else 1))


def test_wrong_data_are_the_hostile_ones_alone() -> None:
    found, own = attackers("label-flip").updates(1), honest()
    assert {name for name in NAMES if not np.array_equal(found[name], own[name])} == HOSTILE


def test_the_attackers_know_the_honest_updates_and_no_others() -> None:
    found, own = attackers("ipm").updates(1), honest()
    mean = np.mean([own[name] for name in NAMES if name not in HOSTILE], axis=0, dtype=np.float64)
    for name in HOSTILE:
        np.testing.assert_allclose(found[name], -0.5 * mean, rtol=1e-6)
    noisy = attackers("ipm", jitter=JITTER).updates(1)
    first, second = (noisy[name] - found[name] for name in sorted(HOSTILE))
    assert np.linalg.norm(first) == pytest.approx(JITTER * np.linalg.norm(0.5 * mean), rel=1e-5)
    assert not np.array_equal(first, second)


def test_a_replay_is_of_the_first_update_and_of_the_last_step() -> None:
    own, step = attackers("free-replay-own"), np.arange(SIZE, dtype=np.float32)
    first = own.updates(1)
    again = own.updates(2)
    assert all(np.array_equal(first[name], again[name]) == (name in HOSTILE) for name in NAMES)
    found = attackers("free-replay-global").updates(2, step)
    assert all(np.array_equal(found[name], step) for name in HOSTILE)


def test_who_diverges_sends_nothing() -> None:
    assert set(attackers("sign-flip").updates(9)) == set(NAMES) - {"client-001", "client-002"}


@pytest.mark.parametrize(("share", "clients", "count"), [(0.2, 20, 4), (0.29, 100, 29), (0.3, 10, 3), (0.1, 19, 1)])
def test_a_share_is_rounded_down_as_it_is_written(share: float, clients: int, count: int) -> None:
    names = [str(number) for number in range(clients)]
    found = hostile_names(names, share, 1)
    assert len(found) == count
    assert found == hostile_names(names, share, 1)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"attackers": 0.1}, "--attackers"),  # of 5 clients nobody: it would be called an attack, and be none
        ({"attackers": 0.0}, "--attackers"),
        ({"attackers": 1.0}, "--attackers"),
        ({"expected": 0.5}, "defence.f"),
        ({"attacks": ["sign-flop"]}, "--attacks"),
        ({"attacks": ["no attack+noise"]}, "--attacks"),
        ({"attacks": ["sign-flip+noise"]}, "--attacks"),
        ({"defences": ["kram"]}, "--defences"),
    ],
)
def test_a_bench_that_would_measure_something_else_is_refused(changes: dict[str, Any], key: str) -> None:
    options = PoisoningOptions(**{"learning": LearningOptions(clients=5), "attacks": ["alie+noise"], **changes})
    with pytest.raises(ConfigError) as refused:
        run_poisoning_bench(options, say=lambda _name, _figures: pytest.fail("it was played"))
    assert refused.value.key == key


@pytest.mark.parametrize("text", ["no json", "[1]", '{"bench": "accuracy"}'])
def test_only_a_result_of_this_bench_is_drawn(tmp_path: Path, text: str) -> None:
    given = tmp_path / "result.json"
    given.write_text(text)
    output = DrawnOutput(drawn=given, plot=tmp_path / "heat.svg")
    with pytest.raises(ConfigError) as refused:
        answered(cast("Any", None), "poisoning", BENCH, PoisoningOptions(), output)
    assert "tests.bench poisoning" in refused.value.cure
    assert not (tmp_path / "heat.svg").exists()


def test_the_rows_of_both_benches_are_of_one_table() -> None:
    assert {condition.attack for condition in CONDITIONS.values()} == {"", *ATTACKS}
    assert all(poison_of(name) == (POISONS[name], 0.0) for name in ATTACKS if name != "scale-10")
