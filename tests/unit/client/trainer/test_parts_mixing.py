"""Parts for long tails: mixing, experts and decoupled heads, held against slow references."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from roughfed import models
from roughfed.client.trainer.augment.remix import label_shares
from roughfed.client.trainer.decouple.tau_norm import normalise
from roughfed.client.trainer.ensemble.ride import class_temperatures
from roughfed.client.trainer.ensemble.sade import sade_shifts
from roughfed.client.trainer.examples.image_mixing import draw_box
from roughfed.client.trainer.parts import Position
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import Method
from roughfed.errors import ConfigError
from tests.unit.client.trainer.parts_long_tail import COUNTS, LOCAL, B, C, D, batch_of, labels_for, training

# -- mixing ---------------------------------------------------------------------------------------------------------


@given(height=st.integers(1, 40), width=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_a_box_lies_in_the_image_and_is_no_larger_than_its_share(
    height: int, width: int, share: float, seed: int
) -> None:
    top, bottom, left, right = draw_box(height, width, share, np.random.default_rng(seed))
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width
    assert (bottom - top) * (right - left) <= (1 - share) * height * width + 1e-6


@pytest.mark.parametrize("method", ["cutmix(chance=1)", "cmo(chance=1)", "cmo(chance=1, weight=0)"])
def test_the_pasted_area_is_what_the_second_label_gets(method: str) -> None:
    y = labels_for(COUNTS)
    x = y.float()[:, None, None, None].expand(-1, 2, 9, 7).contiguous()  # every pixel says its class
    plan, context = training(method, x=x, round=2, rounds=4)
    pasted: list[int] = []
    for _ in range(60):
        before = context.source.gather(torch.randperm(len(y))[:16])
        kept = before.x.clone()
        batch = plan.transformed(before)
        assert torch.equal(before.x, kept)  # the data themselves are not written on
        assert batch.other is not None
        assert batch.share is not None
        assert 0 <= float(batch.share.min()) <= float(batch.share.max()) <= 1
        assert torch.equal(batch.y, before.y)
        for image, a, b, share in zip(batch.x, batch.y, batch.other, batch.share, strict=True):
            assert set(image.unique().tolist()) <= {float(a), float(b)}
            if a != b:
                assert float((image == b).float().mean()) == pytest.approx(1 - float(share), abs=1e-6)
        pasted += batch.other.tolist()
    found = np.bincount(pasted, minlength=C) / len(pasted)
    want = [1 / 3, 1 / 3, 1 / 3, 0] if method == "cmo(chance=1)" else [n / 55 for n in COUNTS]
    np.testing.assert_allclose(found, want, atol=0.09)


def test_cmo_rests_at_both_ends_of_the_run() -> None:
    x = torch.randn(55, 1, 8, 8)
    for number, step, works in ((1, 0, False), (1, 2, True), (100, 0, True), (200, 50, False)):
        plan, context = training("cmo(chance=1)", x=x, round=number, rounds=200, at=Position(steps=100))
        context.round, context.at.step = (number, step) if number > 1 else (3 + step, 0)
        batch = context.source.gather(torch.arange(8))
        assert (plan.transformed(batch).share is not None) is works


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(["mixup", "remix"]), alpha=st.sampled_from([0.1, 1.0, 8.0]), seed=st.integers(0, 2**31))
def test_a_blend_is_the_blend_of_its_labels(name: str, alpha: float, seed: int) -> None:
    y = labels_for([40, 12, 3, 1])
    x = nn.functional.one_hot(y, C).float()  # inputs that say what was blended, and how much
    plan, context = training(f"{name}(alpha={alpha})", counts=[40, 12, 3, 1], x=x)
    context.generator.manual_seed(seed)
    batch = plan.transformed(context.source.gather(torch.randperm(56)[:20]))
    assert batch.other is not None
    assert batch.share is not None
    differ = batch.y != batch.other
    first = batch.x[torch.arange(20), batch.y]
    assert 0 <= float(batch.share.min()) <= float(batch.share.max()) <= 1
    torch.testing.assert_close(batch.x.sum(dim=1), torch.ones(20))
    if name == "mixup":
        torch.testing.assert_close(first[differ], batch.share[differ])
        z = torch.randn(20, C)
        soft = batch.share[:, None] * nn.functional.one_hot(batch.y, C)
        soft = soft + (1 - batch.share)[:, None] * nn.functional.one_hot(batch.other, C)
        torch.testing.assert_close(plan.losses(z, batch), -(soft * z.log_softmax(dim=1)).sum(dim=1))


@given(ratio=st.floats(0.001, 1000), share=st.floats(0, 1), kappa=st.floats(1.5, 10), tau=st.floats(0, 1))
def test_remix_gives_a_label_to_the_rarer_class(ratio: float, share: float, kappa: float, tau: float) -> None:
    found = float(label_shares(torch.tensor([ratio]), share, kappa, tau)[0])
    ratio, most, least = (float(torch.tensor(number)) for number in (ratio, kappa, 1 / kappa))  # as float32 has them
    if ratio >= most and share < tau:
        want = 0.0
    elif ratio <= least and 1 - share < tau:
        want = 1.0
    else:
        want = share
    assert found == pytest.approx(want, abs=1e-6)


def test_token_ids_are_not_blended() -> None:
    plan, context = training("mixup", x=torch.randint(9, (55, D)))
    with pytest.raises(ConfigError, match="blended"):
        plan.transformed(context.source.gather(torch.arange(4)))


# -- experts --------------------------------------------------------------------------------------------------------


def experts(method: str) -> Method:
    return training(method, model=models.build("mlp", (D,), C, 0, experts=3))[0]


def softmax(z: Sequence[float]) -> list[float]:
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def test_ride_is_classification_less_divergence_from_the_mean() -> None:
    plan, z, y = experts("ride(diversity=0.2)"), torch.randn(3, B, C), [0, 1, 2, 3, 0]
    warm = [C * p * 0.05 + 0.95 for p in LOCAL]
    temperature = [t / max(warm) for t in warm]
    np.testing.assert_allclose(class_temperatures(torch.tensor(LOCAL), 0.05), temperature, rtol=1e-5)
    want = []
    for b, label in enumerate(y):
        mean = softmax([float(z[:, b, c].mean()) / temperature[c] for c in range(C)])
        value = 0.0
        for k in range(3):
            p = softmax([float(z[k, b, c]) + math.log(LOCAL[c]) for c in range(C)])
            q = softmax([float(z[k, b, c]) / temperature[c] for c in range(C)])
            apart = sum(m * math.log(m / e) for m, e in zip(mean, q, strict=True))
            value += -math.log(p[label]) - 0.2 * (sum(temperature) / C) ** 2 * apart
        want.append(value / 3)
    np.testing.assert_allclose(plan.losses(z, batch_of(torch.zeros(B, D), y)), want, rtol=1e-4, atol=1e-5)


def test_sade_trains_for_the_head_for_all_and_for_the_tail() -> None:
    plan, z, y = experts("sade"), torch.randn(3, B, C), [0, 1, 2, 3, 0]
    reversed_ranks = [LOCAL[3], LOCAL[2], LOCAL[1], LOCAL[0]]
    shifts = [
        [0.0] * C,
        [math.log(p) for p in LOCAL],
        [math.log(p) - 2 * math.log(q) for p, q in zip(LOCAL, reversed_ranks, strict=True)],
    ]
    np.testing.assert_allclose(sade_shifts(torch.tensor(LOCAL), 2.0), shifts, rtol=1e-4, atol=1e-5)
    want = [
        sum(-math.log(softmax([float(z[k, b, c]) + shifts[k][c] for c in range(C)])[label]) for k in range(3)) / 3
        for b, label in enumerate(y)
    ]
    np.testing.assert_allclose(plan.losses(z, batch_of(torch.zeros(B, D), y)), want, rtol=1e-4, atol=1e-5)


def test_sade_wants_three() -> None:
    with pytest.raises(ConfigError, match="three"):
        training("sade", model=models.build("mlp", (D,), C, 0, experts=2))


# -- decoupling -----------------------------------------------------------------------------------------------------


def with_batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, C))


@pytest.mark.parametrize("number", [1, 4, 5])
def test_late_in_the_run_the_head_learns_alone(number: int) -> None:
    plan, context = training("balanced-softmax+crt", model=with_batch_norm(), round=number, rounds=5)
    context.model.train()
    plan.call("epoch")
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    y = [0, 1, 2, 3, 0]
    value, _ = plan.step_value(batch_of(torch.randn(B, D), y))
    value.backward()
    plan.call("gradient")
    learns = {name for name, p in context.model.named_parameters() if p.grad is not None}
    if number < 5:
        assert learns == set(dict(context.model.named_parameters()))
        assert plan.order is None
    else:
        assert learns == {"3.weight", "3.bias"}
        assert all(torch.equal(value, before[name]) for name, value in context.model.state_dict().items())
        z = torch.randn(B, C)
        drawn = torch.tensor([1 / 3, 1 / 3, 1 / 3, 1e-6])  # the last class is not here
        slow = nn.functional.cross_entropy(z + drawn.log(), torch.tensor(y), reduction="none")
        torch.testing.assert_close(plan.losses(z, batch_of(torch.zeros(B, D), y)), slow)


def test_the_head_learns_at_a_rate_that_starts_again() -> None:
    chosen = TrainerSettings(lr=0.1, schedule="cosine")
    plan, context = training("crt", settings=chosen, round=5, rounds=5, at=Position(steps=4))
    for step in range(4):
        context.at.step = step
        context.model.zero_grad()
        batch = batch_of(torch.randn(B, D), [0, 1, 2, 0, 1])
        plan.step_value(batch)[0].backward()
        plan.call("gradient")
        assert context.at.lr == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * step / 4)))


def test_a_run_of_one_training_ends_with_its_head() -> None:
    counts = [60, 6, 6, 6]
    y = labels_for(counts)
    x = nn.functional.one_hot(y, C).float() @ torch.randn(C, D, generator=torch.Generator().manual_seed(5))
    x = x + 1.5 * torch.randn(len(y), D, generator=torch.Generator().manual_seed(6))
    plan, context = training("crt(after=0.2)", counts=counts, model=with_batch_norm(), x=x, at=Position(steps=400))
    before = {name: value.clone() for name, value in context.model.state_dict().items()}
    plan.call("end")
    after = context.model.state_dict()
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"3.weight", "3.bias"}
    assert not [p for p in context.model.parameters() if p.grad is not None or not p.requires_grad]
    context.model.eval()
    loss = nn.CrossEntropyLoss(weight=1 / torch.tensor(counts).float())
    value = loss(context.model(x), y)
    (slope,) = torch.autograd.grad(value, context.head().linear.bias)
    assert float(slope.abs().max()) < 0.05  # near the optimum of the balanced problem
    assert plan.order is None


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_rows_of_a_head_are_divided_by_their_length_to_the_power_tau(tau: float) -> None:
    plan, context = training(f"tau-norm(tau={tau})", round=2, rounds=2)
    weight = context.head().linear.weight.detach().clone().double()
    plan.call("end")
    want = torch.stack([row / row.norm() ** tau for row in weight])
    found = context.head().linear.weight.detach().double()
    torch.testing.assert_close(found / found.norm(), want / want.norm(), rtol=1e-5, atol=1e-6)
    assert float(found.norm(dim=1).mean()) == pytest.approx(float(weight.norm(dim=1).mean()), rel=1e-4)
    assert context.head().linear.bias.abs().max() == 0


def test_a_row_of_zeros_stays() -> None:
    linear = nn.Linear(D, C)
    with torch.no_grad():
        linear.weight[1] = 0
    normalise(linear, 1.0)
    assert torch.isfinite(linear.weight).all()
    assert linear.weight[1].abs().max() == 0
