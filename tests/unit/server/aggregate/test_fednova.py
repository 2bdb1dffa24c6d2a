"""FedNova: where everybody steps differently, the model goes where the clients' mean is; who lies moves it little."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.effort import effective_steps, effort_of, even_out
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.errors import ConfigError, RemoteProtocolError, TrainerError
from roughfed.params import write_model
from roughfed.secagg.statistics import (
    KINDS,
    STEP_BUCKETS,
    STEPS,
    Statistic,
    add,
    decode_sum,
    encode,
    one_hot,
    step_bucket,
    step_middle,
)
from roughfed.server.aggregate.fednova import ASKED, CLAIM_CAP, asks, reference
from roughfed.server.cohort.statistics import newest
from roughfed.server.uploads.admission import check_said
from roughfed.training import Turn
from roughfed.types import Spec, TensorSpec, UpdateStatement

CPU = torch.device("cpu")
LR = 5e-5
HALF = 2.0 ** (1 / 16)
"""A number of steps lies within this factor of the middle of its bucket."""


class Point(nn.Module):
    """One number that is moved towards the client's own, and a running statistic beside it."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([at]))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1.0
        return x * self.w


def update(folder: Path, at: float, goal: float, steps: int, *, momentum: float, turn: Turn) -> tuple[float, float]:
    """The real loop's update from w = `at` with so many batches of one example: (of w, of the running statistic)."""
    model = Point(at)
    write_model(folder / "base.safetensors", spec_of(model), pieces(model))
    data = Arrays(torch.ones(steps, 1), torch.full((steps, 1), goal), CPU)
    settings = TrainerSettings(batch_size=1, lr=LR, momentum=momentum)
    fit(model, data, Work(folder / "base.safetensors", folder / "delta", settings, 0, turn, 0), report=lambda _: None)
    w, seen = np.fromfile(folder / "delta", dtype="<f4")
    return float(w), float(seen)


CLIENTS = {1.0: 2, 2.0: 5, 3.0: 10, 10.0: 60}
"""What each client wants w to be, and its steps."""


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_mean_update_vanishes_at_the_mean_of_the_goals_and_not_where_most_steps_are_made(
    tmp_path: Path, momentum: float
) -> None:
    """The mean update is affine in w here, so two points give its root."""
    tau = 50.0
    roots = {}
    for name, turn in (("fedavg", Turn(1)), ("fednova", Turn(2, facts={STEPS: (tau,)}))):
        how = partial(update, tmp_path, momentum=momentum, turn=turn)
        given = {at: [how(at, c, n) for c, n in CLIENTS.items()] for at in (0.0, 10.0)}
        low, high = (float(np.mean([w for w, _ in updates])) for updates in given.values())
        roots[name] = 10 * low / (low - high)
        assert [seen for _, seen in given[0.0]] == list(CLIENTS.values())  # what is measured is not scaled
        if name == "fednova":  # each update is tau gradients long: 2 (c - w) lr tau
            lengths = [w / (2 * c * LR * tau) for (w, _), c in zip(given[0.0], CLIENTS, strict=True)]
            np.testing.assert_allclose(lengths, 1.0, rtol=0.06)
    a = np.array([effective_steps(n, momentum) for n in CLIENTS.values()])
    c = np.array(list(CLIENTS))
    assert roots["fedavg"] == pytest.approx((a @ c) / a.sum(), rel=0.02)
    assert roots["fednova"] == pytest.approx(c.mean(), rel=0.05)
    assert roots["fedavg"] > 2 * c.mean()


@given(steps=st.integers(1, 400), momentum=st.floats(0, 0.99))
def test_effective_steps_count_how_often_a_gradient_is_in_the_update(steps: int, momentum: float) -> None:
    velocity = total = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        total += velocity
    assert effective_steps(steps, momentum) == pytest.approx(total, rel=1e-9)
    assert effort_of(TrainerSettings(momentum=momentum), steps, own_loop=False) == pytest.approx(total, rel=1e-9)
    assert effort_of(TrainerSettings(optimizer="adam", momentum=momentum), steps, own_loop=False) == steps
    assert effort_of(TrainerSettings(momentum=momentum), steps, own_loop=True) == steps


@given(st.floats(1, 2.0**20, exclude_max=True))
def test_a_bucket_holds_its_steps(steps: float) -> None:
    middle = step_middle(step_bucket(steps))
    assert middle / HALF * (1 - 1e-6) <= steps <= middle * HALF * (1 + 1e-6)


def test_the_last_bucket_is_open_and_nothing_is_below_one_step() -> None:
    assert step_bucket(1e12) == STEP_BUCKETS - 1
    assert step_bucket(0.0) == 0


def told(*steps: float) -> tuple[int, ...]:
    return add([{STEPS: one_hot(step_bucket(each), STEP_BUCKETS)} for each in steps])[STEPS]


@given(
    honest=st.lists(st.floats(1, 1000), min_size=5, max_size=20),
    liars=st.lists(st.sampled_from([1.0, 2.0**20]), max_size=4),
)
def test_claims_move_the_mean_by_no_more_than_their_cap(honest: list[float], liars: list[float]) -> None:
    (found,) = reference(told(*honest, *liars))
    everybody = sorted([*honest, *liars])
    median = everybody[(len(everybody) - 1) // 2]
    cap = CLAIM_CAP * median * HALF
    assert found <= (sum(min(n * HALF, cap) for n in honest) + len(liars) * cap) / len(everybody) * (1 + 1e-6)
    assert median <= max(honest) * (1 + 1e-6)
    slow = np.mean([min(n, CLAIM_CAP * median) for n in everybody])
    assert found == pytest.approx(slow, rel=HALF**2 - 1)


def test_nobody_and_too_few_give_no_reference() -> None:
    assert reference(()) == reference((0,) * STEP_BUCKETS) == ()
    sums = [{STEPS: told(5, 5, 5), "trained": (3,)}]
    assert reference(newest(sums, STEPS)) == ()
    assert reference(newest([*sums, {STEPS: told(7, 7, 7, 7), "trained": (4,)}], STEPS)) == (
        step_middle(step_bucket(7)),
    )


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 10, 37, 200])
def test_steps_are_asked_no_more_often_than_they_are_given(rounds: int) -> None:
    asked = [n for n in range(1, rounds + 1) if asks(n, rounds, known=n > 1)]
    assert asked[0] == 1
    assert len(asked) <= KINDS[STEPS].often
    assert asks(1, rounds, known=False) == asks(rounds, rounds, known=False) == ASKED


def test_a_group_that_says_more_than_it_can_is_not_heard() -> None:
    """Behind masks nobody stops a liar from filling many lanes, but then the total is wrong, and nothing is taken."""
    statistic, dtype = Statistic(STEPS, STEP_BUCKETS, 1), np.dtype(np.uint8)
    honest = [encode({STEPS: told(n)}, [statistic], levels=16, dtype=dtype) for n in (3, 4, 5)]
    single = encode({STEPS: told(9000)}, [statistic], levels=16, dtype=dtype)
    many = single.copy()
    many[-1] = 15
    sums, cut = decode_sum(np.sum([*honest, single], axis=0, dtype=dtype), 4, [statistic], levels=16)
    assert (sums[STEPS], cut) == (told(3, 4, 5, 9000), 0)
    sums, cut = decode_sum(np.sum([*honest, many], axis=0, dtype=dtype), 4, [statistic], levels=16)
    assert not any(sums[STEPS])
    assert cut


def test_in_the_clear_more_than_one_word_is_refused() -> None:
    def statement(counts: tuple[int, ...]) -> UpdateStatement:
        return UpdateStatement("r", 1, "c", bytes(32), bytes(32), 4, 1, statistics={STEPS: counts})

    check_said(statement(told(5)), ASKED, self_weight=False)
    with pytest.raises(RemoteProtocolError, match="more than one client's"):
        check_said(statement(told(5, 6)), ASKED, self_weight=False)


SPEC = Spec((TensorSpec("w", (5,)), TensorSpec("mean", (3,), kind="buffer"), TensorSpec("b", (2,))))


@pytest.mark.parametrize("piece", [1, 4, 100])
def test_what_is_learned_is_scaled_and_nothing_else(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roughfed.client.trainer.training.effort.PIECE", piece)
    before = np.arange(1, 14, dtype="<f4")  # the last three follow the model's own
    before.tofile(tmp_path / "delta")
    said = even_out(tmp_path / "delta", SPEC, Turn(2, facts={STEPS: (10.0,)}, wanted=ASKED[:1]), 4.0)
    by = np.array([2.5] * 5 + [1.0] * 3 + [2.5] * 2 + [1.0] * 3, dtype="<f4")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "delta", dtype="<f4"), before * by)
    assert said == {STEPS: told(4.0)}


def test_without_the_fact_nothing_changes_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "delta"
    np.full(10, 1e38, dtype="<f4").tofile(path)
    before = path.read_bytes()
    assert even_out(path, SPEC, Turn(1), 4.0) == {}
    assert path.read_bytes() == before
    for fact in ((), (1.0, 2.0), (0.0,), (-3.0,), (2.0**21,)):
        with pytest.raises(ConfigError, match="want one number"):
            even_out(path, SPEC, Turn(1, facts={STEPS: fact}), 4.0)
    with pytest.raises(TrainerError, match="not finite"):
        even_out(path, SPEC, Turn(1, facts={STEPS: (400.0,)}), 4.0)
