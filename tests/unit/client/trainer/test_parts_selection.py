"""Mixtures, selectors and second networks for wrong labels, held against slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roughfed.client.trainer.examples.views import look
from roughfed.client.trainer.labels.gaussian_mixture import FLOOR, scaled, two_heaps
from roughfed.client.trainer.labels.noise import (
    symmetric_transition,
)
from roughfed.client.trainer.loss._shared import given as given_matrix
from roughfed.client.trainer.parts import Batch, Tensors
from roughfed.client.trainer.select._shared import Belief, smallest
from roughfed.client.trainer.select.divide_mix import mixed_value, sharpened, targets
from roughfed.client.trainer.select.jocor import disagreement
from roughfed.client.trainer.select.meta_weight_net import virtual_step
from roughfed.client.trainer.select.ood_reject import rejected
from roughfed.client.trainer.select.small_loss import believed
from tests.unit.client.trainer.parts_noisy import B, C, D, T, everything, slow_softmax, some_logits, training


def heaps(seed: int, number: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(np.concatenate([rng.normal(0.2, 0.08, number), rng.normal(0.7, 0.15, number // 2)]), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_mixture_is_that_of_scikit_learn(seed: int) -> None:
    mixture = pytest.importorskip("sklearn.mixture", reason="needs scikit-learn")
    values = heaps(seed)
    theirs = mixture.GaussianMixture(2, max_iter=500, tol=1e-8, reg_covar=FLOOR, random_state=0).fit(values[:, None])
    order = np.argsort(theirs.means_[:, 0])
    mine = two_heaps(torch.tensor(values))
    assert np.allclose(mine.means.numpy(), theirs.means_[order, 0], atol=2e-3)
    assert np.allclose(mine.shares.numpy(), theirs.weights_[order], atol=5e-3)
    assert np.allclose(mine.variances.numpy(), theirs.covariances_[order, 0, 0], atol=1e-3)
    assert np.allclose(mine.upper.numpy(), theirs.predict_proba(values[:, None])[:, order[1]], atol=2e-2)


def test_one_outlier_does_not_hide_the_heaps() -> None:
    values = torch.tensor(heaps(0))
    with_outlier = torch.cat([values, torch.tensor([1e4])])
    plain, robust = two_heaps(scaled(values)).upper, two_heaps(scaled(with_outlier)).upper
    assert float((plain - robust[:-1]).abs().max()) < 0.1
    by_range = (with_outlier - with_outlier.min()) / (with_outlier.max() - with_outlier.min())
    assert two_heaps(by_range).upper[:-1].max() < 0.5  # the reference's scaling: all of one heap


@given(st.lists(st.floats(0, 100), max_size=40))
@settings(max_examples=50, deadline=None)
def test_a_mixture_is_always_chances(values: list[float]) -> None:
    found = two_heaps(scaled(torch.tensor(values)))
    assert len(found.upper) == len(values)
    assert ((found.upper >= 0) & (found.upper <= 1)).all()
    assert torch.isfinite(found.means).all()


def test_co_teaching_swaps_and_takes_means() -> None:
    method, context = training("co-teaching(rate=0.5, ramp=0)")
    batch = everything(context)
    value, outputs = method.value(batch)
    losses = [nn.functional.cross_entropy(output, batch.y, reduction="none") for output in outputs]
    easy = [row.argsort()[:8] for row in losses]
    wanted = losses[0][easy[1]].sum() / 8 + losses[1][easy[0]].sum() / 8  # divided once
    assert torch.allclose(value, wanted)
    assert not torch.equal(easy[0].sort().values, easy[1].sort().values)  # the two began apart


def test_the_believed_share_goes_by_the_run_and_the_overall_rate() -> None:
    _, context = training("plain", round=3, rounds=10)
    options = {"rate": 0.2, "ramp": 0.4, "warmup": 0.1, "per-class": False}
    assert Belief(options, context, "part").share == pytest.approx(0.9)
    context.round = 9
    assert Belief(options, context, "part").share == pytest.approx(0.8)
    # 40 % of five of ten classes: a fifth of all labels is wrong, and rate=0.4 would shut out right ones
    matrix = given_matrix("flips", 0.4, "0-1.2-3", C)
    assert 1 - float(matrix.diagonal().mean()) == pytest.approx(0.2)


def test_per_class_belief_keeps_a_rare_class() -> None:
    losses, labels = torch.cat([torch.rand(30), 5 + torch.rand(4)]), torch.tensor([0] * 30 + [1] * 4)
    assert not smallest(losses, 0.6)[30:].any()
    _, context = training("plain")
    options = {"rate": 0.4, "ramp": 0.0, "warmup": 0.1, "per-class": True}
    assert Belief(options, context, "part").smallest(losses, labels)[30:].sum() == 2


@given(st.integers(1, 60), st.floats(0, 1))
def test_a_selection_is_never_empty(number: int, share: float) -> None:
    losses = torch.rand(number, generator=torch.Generator().manual_seed(number))
    chosen = smallest(losses, share)
    assert int(chosen.sum()) == max(1, round(share * number))
    assert number == int(chosen.sum()) or losses[chosen].max() <= losses[~chosen].min()


def test_small_loss_ranks_within_a_label() -> None:
    losses = torch.tensor([0.1, 0.2, 0.3, 0.4, 5.0, 6.0, float("nan")])
    labels = torch.tensor([0.0, 0, 0, 0, 1, 1, 1])
    assert believed(losses, labels, torch.tensor([0.5, 0.5])).tolist() == [True, True, False, False, True, False, True]


def test_jocor_is_the_papers() -> None:
    method, context = training("jocor(lambda=0.3, rate=0.5, ramp=0)")
    batch = everything(context)
    value, (one, other) = method.value(batch)
    p, q = slow_softmax(one), slow_softmax(other)
    apart = (p * (p / q).log()).sum(dim=1) + (q * (q / p).log()).sum(dim=1)
    assert torch.allclose(disagreement(one, other).double(), apart, atol=1e-5)
    losses = sum(-x.gather(1, batch.y[:, None])[:, 0].log() for x in (p, q))
    joint = 0.7 * losses + 0.3 * apart
    assert torch.allclose(value.double(), joint.sort().values[:8].mean(), atol=1e-5)


def test_the_peer_outlives_a_new_global_model() -> None:
    remembered: dict[str, Tensors] = {}
    method, context = training("co-teaching", remembered=remembered)
    with torch.no_grad():
        for parameter in context.nets[1].parameters():
            parameter.add_(1.0)
    method.call("end")
    torch.manual_seed(9)
    new_global = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, C))
    _, later = training("co-teaching", model=new_global, remembered=remembered, round=2, rounds=3)
    assert later.nets[0] is new_global
    for old, now in zip(context.nets[1].parameters(), later.nets[1].parameters(), strict=True):
        assert torch.equal(old, now)


def test_divide_mix_takes_its_value_from_the_paper() -> None:
    z, y = some_logits()
    own, both = slow_softmax(some_logits(1)[0]).float(), slow_softmax(some_logits(2)[0]).float()
    right, labelled = torch.linspace(0, 1, B), torch.linspace(0, 1, B) > 0.5
    target = sharpened(targets(torch.eye(C)[y], own, both, right, labelled), 0.5)
    for b in range(B):
        mixed = float(right[b]) * torch.eye(C)[y[b]] + (1 - float(right[b])) * own[b] if labelled[b] else both[b]
        assert torch.allclose(target[b], mixed**2 / (mixed**2).sum(), atol=1e-5)
    p = slow_softmax(z)
    supervised = sum(-(target[b] * p[b].log()).sum() for b in range(B) if labelled[b]) / int(labelled.sum())
    guessed = sum(((target[b] - p[b]) ** 2).mean() for b in range(B) if not labelled[b]) / int((~labelled).sum())
    balance = sum((1 / C) * math.log((1 / C) / float(m)) for m in p.mean(dim=0))
    assert float(mixed_value(z, target, labelled, 25.0)) == pytest.approx(
        float(supervised + 25 * guessed) + balance, abs=1e-4
    )


def test_meta_weight_net_descends_the_clean_loss_of_the_step_it_foresees() -> None:
    torch.manual_seed(0)
    model = nn.Linear(D, C).double()
    weigher = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1), nn.Sigmoid()).double()
    x, y = torch.randn(B, D).double(), torch.randint(C, (B,))
    clean_x, clean_y = torch.randn(B, D).double(), torch.randint(C, (B,))
    theta = next(weigher.parameters())

    def clean_loss() -> Tensor:
        after = virtual_step(model, weigher, x, lambda z: nn.functional.cross_entropy(z, y, reduction="none"), lr=0.5)
        return nn.functional.cross_entropy(torch.func.functional_call(model, after, clean_x), clean_y)

    gradient = torch.autograd.grad(clean_loss(), theta)[0]
    for at in range(len(theta)):
        ends = []
        for by in (1e-5, -2e-5, 1e-5):
            theta.data[at] += by
            ends.append(float(clean_loss().detach()))
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient[at, 0]), abs=1e-6)


def test_what_is_of_no_class_is_left_out_and_a_rare_class_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    common, rare = torch.randn(200, generator=generator), 8 + torch.randn(20, generator=generator)
    scores = torch.cat([common, torch.tensor([30.0, 31.0]), rare])
    labels = torch.tensor([0] * 202 + [1] * 20)
    out = rejected(scores, labels, 0.0)
    assert out[200:202].all()
    assert out[:200].float().mean() < 0.02
    assert out[202:].float().mean() <= 0.1
    assert rejected(scores, labels, 0.1)[labels == 0].sum() == 20


def test_a_look_leaves_the_modes_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(D, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, C))
    _, context = training("plain", model=model)
    model.train()
    model[1].eval()
    means = model[1].running_mean.clone()
    found = look(model, context.source)
    assert [m.training for m in model] == [True, False, True, True]
    assert torch.equal(model[1].running_mean, means)
    assert torch.allclose(found.losses, nn.functional.cross_entropy(found.logits, found.labels, reduction="none"))
    assert torch.equal(symmetric_transition(0.0, 1), torch.ones(1, 1))


def test_the_generalised_correction_is_the_losses_composed() -> None:
    z, y = some_logits()
    method, _ = training("forward-correction(q=0.7, t=global)", facts={"transition": T.flatten().tolist()})
    losses = method.losses(z, Batch(z, y, y, y))
    p = slow_softmax(z) @ T.double()
    assert torch.allclose(losses.double(), (1 - p.gather(1, y[:, None])[:, 0] ** 0.7) / 0.7, atol=1e-5)


def test_small_loss_leaves_out_and_mends_by_what_was_predicted_before() -> None:
    labels = [0] * 6 + [1] * 6
    method, context = training("small-loss(rate=0.5, ramp=0, relabel=0.6)", labels=labels)
    batch = everything(context)
    method.transformed(batch)
    sure = torch.full((12, C), 0.02)
    sure[:3, 0], sure[3:6, 2], sure[6:9, 1] = 0.94, 0.94, 0.94
    sure[9:] = 0.25  # of nothing in particular
    before = method.value(method.transformed(batch))[0]
    rows = context.state("small-loss")["rows"]
    rows[:, 2:] = sure
    method.call("epoch")
    mended = method.transformed(batch)
    assert mended.y.tolist() == [0] * 3 + [2] * 3 + [1] * 6
    outputs = [context.model(batch.x)]
    _, weights = method.hooks[0].select(method.losses(outputs[0], mended)[None], outputs, mended)  # pyright: ignore[reportOptionalCall]
    assert weights[0].tolist() == [1.0] * 9 + [0.0] * 3
    rows[:, 2:] = sure
    _, weights = method.hooks[0].select(method.losses(outputs[0], batch)[None], outputs, batch)  # pyright: ignore[reportOptionalCall]
    assert weights[0].tolist() == [1.0] * 3 + [0.0] * 3 + [1.0] * 3 + [0.0] * 3  # replayed as they came: not mended
    assert torch.isfinite(before)


def test_the_mean_of_the_weights_takes_the_models_place() -> None:
    method, context = training("weight-average(decay=0.5)")
    method.call("begin")
    weights = next(context.model.parameters())
    mean, batch = weights.detach().clone(), everything(context)
    for step in range(12):
        with torch.no_grad():
            weights.add_(1.0)
        method.call("after", [], batch)
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * weights.detach()
        context.at.step += 1
    assert not torch.allclose(weights, mean)
    method.call("settle")
    assert torch.allclose(weights, mean)
