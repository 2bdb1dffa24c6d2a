"""The white-box attackers of a bench: when they attack, what their updates add up to, and that they search."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from roughfed.errors import ConfigError
from tests.bench.harness.learners import LearningOptions
from tests.bench.harness.rounds import MaskedPlan, MaskedRounds
from tests.bench.harness.white_box import FORMS, Form, Stage, WhiteBox
from tests.bench.rounds.poisoning import PoisoningOptions, attacks, run_poisoning_bench

SIZE, NAMES = 400, [f"client-{number:03d}" for number in range(1, 9)]
HOSTILE = {"client-002", "client-005"}


class Found(WhiteBox):
    """Whose model is a line: its loss is what the parameters add up to."""

    def _slope(self, params: np.ndarray) -> np.ndarray:
        return np.ones_like(params)

    def _loss(self, params: np.ndarray) -> float:
        return float(params.sum())


def white_box(form: Form, rounds: int = 10) -> WhiteBox:
    share = SimpleNamespace(x=np.zeros((4, 2), np.float32), labels=np.zeros(4, np.int64))
    return Found(form, cast("Any", SimpleNamespace(names=NAMES, shares=[share] * 8)), HOSTILE, rounds=rounds, seed=1)


def trained() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    way = np.where(np.arange(SIZE) % 2, 1, -1)
    return {name: (way + rng.standard_normal(SIZE)).astype(np.float32) for name in NAMES}


def stage(longest: float, number: int = 5) -> Stage:
    """A round that leaves out which attacker is longer than so many median norms."""
    sent = trained()
    usual = float(np.median([np.linalg.norm(delta) for delta in sent.values()]))

    def rehearse(deltas: Any, _rounds: int) -> tuple[set[str], np.ndarray | None]:
        out = {name for name in HOSTILE if np.linalg.norm(deltas[name]) > longest * usual}
        return out, np.mean([delta for name, delta in deltas.items() if name not in out], axis=0)

    return Stage(number, np.zeros(SIZE, np.float32), sent, rehearse)


@pytest.mark.parametrize(
    ("form", "rounds"),
    [(FORMS["white-box"], range(1, 11)), (FORMS["white-box-late"], range(4, 11)), (Form(every=2), range(2, 11, 2))],
)
def test_a_form_says_when_they_attack(form: Form, rounds: range) -> None:
    assert [number for number in range(1, 11) if form.attacks(number, 10)] == list(rounds)


def test_who_waits_sends_what_it_trained() -> None:
    found, own = white_box(FORMS["white-box-late"]).updates(stage(2.0, 3)), trained()
    assert all(np.array_equal(found[name], own[name]) for name in NAMES)


@pytest.mark.parametrize("longest", [1.3, 1.9])
@pytest.mark.parametrize("form", [Form(), Form(across=False), Form(noise="own"), Form(camps=2)])
def test_they_push_as_far_as_passes(form: Form, longest: float) -> None:
    played, own = stage(longest), trained()
    found = white_box(form).updates(played)
    assert all(np.array_equal(found[name], own[name]) == (name not in HOSTILE) for name in NAMES)
    out, after = played.rehearse(found, 1)
    assert not out
    assert after is not None
    assert after.sum() > np.mean(list(own.values()), axis=0).sum() + 1
    usual = np.median([np.linalg.norm(delta) for delta in own.values()])
    assert all(np.linalg.norm(found[name]) > (longest - 0.3) * usual for name in HOSTILE)


def test_they_send_what_they_trained_where_nothing_passes() -> None:
    found, own = white_box(Form()).updates(stage(0.0)), trained()
    assert all(np.array_equal(found[name], own[name]) for name in NAMES)


def test_what_hides_them_adds_up_to_nothing() -> None:
    seers, mean = white_box(Form()), trained()[NAMES[0]]
    direction = seers._direction(np.zeros(SIZE, np.float32), mean, 1.0)
    noise = seers._noise(SIZE, [direction, mean])
    np.testing.assert_allclose(noise.sum(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(noise @ direction, 0, atol=1e-5)


def test_a_rehearsal_changes_nothing() -> None:
    played, other = (MaskedRounds(SIZE, 8, MaskedPlan(rule="default"), seed=1) for _ in range(2))
    for _ in range(3):
        played.rehearsal(0).play(trained())
        first, second = played.play(trained()).mean, other.play(trained()).mean
        assert first is not None
        assert second is not None
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("defence", ["default", "default, sketches, root"])
def test_they_know_masked_rounds_alone(defence: str) -> None:
    options = PoisoningOptions(LearningOptions(clients=5), attacks=["white-box"], defences=[defence])
    with pytest.raises(ConfigError) as refused:
        run_poisoning_bench(options, say=lambda _name, _figures: pytest.fail("it was played"))
    assert refused.value.key == "--defences"
    assert not FORMS.keys() & set(attacks())
