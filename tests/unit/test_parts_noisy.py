"""The parts for wrong labels against slow references: the papers' formulas in float64, and their known traps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roughfed.client.trainer.belief import Belief, smallest
from roughfed.client.trainer.compose import Method
from roughfed.client.trainer.data import Arrays
from roughfed.client.trainer.early import Early
from roughfed.client.trainer.loss.correction import backward, inverse
from roughfed.client.trainer.loss.elr import early_term
from roughfed.client.trainer.loss.gce import gce
from roughfed.client.trainer.loss.sce import sce
from roughfed.client.trainer.loss.volminnet import matrix_of
from roughfed.client.trainer.mixture import FLOOR, scaled, two_heaps
from roughfed.client.trainer.noise import (
    anchor_transition,
    concentration,
    confident_joint,
    dual_transition,
    symmetric_transition,
    transition_of,
)
from roughfed.client.trainer.parts import Batch, Context, Tensors
from roughfed.client.trainer.select.divide_mix import mixed_value, sharpened, targets
from roughfed.client.trainer.select.jocor import disagreement
from roughfed.client.trainer.select.meta_weight_net import virtual_step
from roughfed.client.trainer.select.ood_reject import rejected
from roughfed.client.trainer.select.small_loss import believed
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.transition import forward
from roughfed.client.trainer.transition import given as given_matrix
from roughfed.client.trainer.views import ById, look
from roughfed.errors import ConfigError
from roughfed.methods import read_method

C, D, B = 4, 6, 7
CPU = torch.device("cpu")
T = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.1, 0.6, 0.2, 0.1], [0.0, 0.0, 1.0, 0.0], [0.0, 0.2, 0.2, 0.6]])


def training(
    method: str, *, labels: Sequence[int] = (0, 1, 2, 3) * 4, ids: Tensor | None = None, **more: Any
) -> tuple[Method, Context]:
    """A method at work on random examples, [N, D]."""
    generator = torch.Generator().manual_seed(5)
    y = torch.tensor(labels)
    model = more.pop("model", None)
    if model is None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(D, 5), nn.Tanh(), nn.Linear(5, C))
    source = Arrays(torch.randn(len(y), D, generator=generator), y, CPU, ids=ids)
    context = Context(model, source, TrainerSettings(), C, torch.Generator().manual_seed(3), **more)
    return Method(read_method(method), context), context


def everything(context: Context) -> Batch:
    return context.source.gather(torch.arange(context.source.num_examples))


def some_logits(seed: int = 0, rows: int = B) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(rows, C, generator=generator), torch.randint(C, (rows,), generator=generator)


def slow_softmax(logits: Tensor) -> Tensor:
    exponents = (logits.double() - logits.double().max(dim=1, keepdim=True).values).exp()
    return exponents / exponents.sum(dim=1, keepdim=True)


def slow_gce(z: Tensor, y: int, q: float) -> Tensor:
    return (1 - slow_softmax(z[None])[0, y] ** q) / q


def slow_sce(z: Tensor, y: int, alpha: float, beta: float) -> Tensor:
    p = slow_softmax(z[None])[0]
    label = [1.0 if k == y else 1e-4 for k in range(C)]
    reverse = -sum(p[k] * math.log(label[k]) for k in range(C))
    return -alpha * p[y].log() + beta * reverse


def slow_forward(z: Tensor, y: int) -> Tensor:
    p = slow_softmax(z[None])[0]
    return -sum(p[i] * float(T[i, y]) for i in range(C)).log()  # pyright: ignore[reportAttributeAccessIssue]


def slow_backward(z: Tensor, y: int) -> Tensor:
    losses = -slow_softmax(z[None])[0].log()
    return (torch.linalg.inv(T.double()) @ losses)[y]


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (lambda z, y: gce(z, y, 0.7), lambda z, y: slow_gce(z, y, 0.7)),
        (lambda z, y: gce(z, y, 1.0), lambda z, y: slow_gce(z, y, 1.0)),
        (lambda z, y: sce(z, y, 0.1, 1.0), lambda z, y: slow_sce(z, y, 0.1, 1.0)),
        (lambda z, y: forward(z, y, T), slow_forward),
        (lambda z, y: backward(z, y, inverse(T)), slow_backward),
    ],
    ids=["gce", "gce-1", "sce", "forward", "backward"],
)
def test_a_loss_and_its_gradient_are_those_of_the_paper(fast: Any, slow: Any) -> None:
    z, y = some_logits()
    z.requires_grad_()
    losses = fast(z, y)
    wanted = torch.stack([slow(z[b], int(y[b])) for b in range(B)])
    assert torch.allclose(losses.double(), wanted, atol=1e-5)
    mine, theirs = (torch.autograd.grad(value.sum(), z)[0] for value in (losses, wanted))
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_backward_correction_is_unbiased() -> None:
    z, _ = some_logits()
    losses = -z.log_softmax(dim=1)  # [B, C], by true class
    each = torch.stack([backward(z, torch.full((B,), j), inverse(T)) for j in range(C)], dim=1)
    assert torch.allclose(each @ T.T, losses, atol=1e-4)


def test_a_matrix_that_cannot_be_inverted_does_no_harm() -> None:
    z, y = some_logits()
    assert backward(z, y, inverse(torch.full((C, C), 1 / C))).abs().max() < 100


# --- ELR


def test_elr_is_the_papers_with_its_sign() -> None:
    method, context = training("elr(beta=0.7, lambda=3)")
    batch = everything(context)
    p = context.model(batch.x).softmax(dim=1)
    target = torch.zeros_like(p)
    for _ in range(3):
        losses = method.losses(context.model(batch.x), batch)
        target = 0.7 * target + 0.3 * p.detach()
        wanted = -p.gather(1, batch.y[:, None])[:, 0].log() + 3 * (1 - (target * p).sum(dim=1)).log()
        assert torch.allclose(losses, wanted, atol=1e-4)
    near, far = (early_term(torch.eye(C)[at], target) for at in (target.argmax(dim=1), target.argmin(dim=1)))
    assert (far <= 0).all()
    assert (near < far).all()  # a prediction near the target is rewarded, not punished


def test_elr_targets_follow_the_id_through_a_new_order_and_growing_data() -> None:
    ids = torch.arange(16) + 100
    method, context = training("elr", ids=ids)
    method.losses(context.model(everything(context).x), everything(context))
    before = dict(zip(context.state("elr")["ids"].tolist(), context.state("elr")["rows"].tolist(), strict=True))
    remembered = {part: {n: t.clone() for n, t in tensors.items()} for part, tensors in context.remembered.items()}
    shuffled = torch.cat([ids.flip(0)[:12], torch.tensor([7, 8, 9, 10])])  # four left, four came
    _, later = training("elr", ids=shuffled, remembered=remembered)
    rows = dict(zip(later.state("elr")["ids"].tolist(), later.state("elr")["rows"].tolist(), strict=True))
    assert set(rows) == set(shuffled.tolist())
    assert all(rows[i] == (before[i] if i in before else [0.0] * C) for i in rows)


def test_rows_of_ids_nobody_knows_are_not_touched() -> None:
    kept = ById({}, torch.tensor([5, 3, 9]), 2)
    at, known = kept.find(torch.tensor([9, 4, 3, 100, -1]))
    assert known.tolist() == [True, False, True, False, False]
    assert kept.ids[at[known]].tolist() == [9, 3]
    assert not ById({}, torch.tensor([], dtype=torch.int64), 2).find(torch.tensor([], dtype=torch.int64))[1].any()


# --- transition matrices


def planted(rate: float, kind: str, *, number: int = 4000, sure: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """True labels, given labels, and the posteriors of a good early model: of given labels, blurred."""
    generator = torch.Generator().manual_seed(1)
    matrix = given_matrix(kind, rate, "0-1.2-3", C) if rate else torch.eye(C)
    true = torch.randint(C, (number,), generator=generator)
    labels = torch.multinomial(matrix[true], 1, generator=generator)[:, 0]
    logits = torch.randn(number, C, generator=generator) + sure * torch.eye(C)[true] * 2
    return true, labels, logits.softmax(dim=1) @ matrix


@pytest.mark.parametrize("kind", ["symmetric", "flips"])
def test_estimates_come_near_the_planted_matrix(kind: str) -> None:
    _, labels, p = planted(0.3, kind)
    wanted = given_matrix(kind, 0.3, "0-1.2-3", C)
    for estimate in (anchor_transition, dual_transition, lambda y, p: transition_of(confident_joint(y, p))):
        found = estimate(labels, p)
        assert torch.allclose(found.sum(dim=1), torch.ones(C), atol=1e-5)
        assert float((found - wanted).abs().sum(dim=1).mean()) < 0.12


def test_anchors_of_a_late_model_say_that_nothing_is_wrong() -> None:
    _, labels, p = planted(0.3, "symmetric")
    learnt = 0.99 * torch.eye(C)[labels] + 0.01 / C  # wrong labels by heart
    assert float((anchor_transition(labels, learnt) - torch.eye(C)).abs().max()) < 0.02
    assert float((anchor_transition(labels, p) - torch.eye(C)).abs().max()) > 0.2


def test_dual_is_the_product_of_anchors_and_counts() -> None:
    _, labels, p = planted(0.3, "flips", number=500)
    counts = np.zeros((C, C))
    for row, label in zip(p, labels, strict=True):
        counts[int(row.argmax()), int(label)] += 1
    one_hot = torch.eye(C)[p.argmax(dim=1)]
    anchors = torch.stack([one_hot[p[:, i].argsort(descending=True)[7:23]].mean(dim=0) for i in range(C)])
    wanted = anchors.numpy() @ (counts / counts.sum(axis=1, keepdims=True))
    assert np.allclose(dual_transition(labels, p).numpy(), wanted, atol=1e-5)


def slow_joint(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Northcutt et al., equations 1-3, by example; [given, true]."""
    counts = np.zeros((C, C))
    limit = [p[labels == j, j].mean() if (labels == j).any() else math.inf for j in range(C)]
    for row, label in zip(p, labels, strict=True):
        over = [j for j in range(C) if row[j] >= limit[j]]
        if over:
            counts[label, max(over, key=lambda j: row[j])] += 1
    for j in range(C):
        counts[j] *= (labels == j).sum() / max(counts[j].sum(), 1)
    return counts / counts.sum()


@pytest.mark.parametrize(("rate", "kind"), [(0.0, "flips"), (0.2, "flips"), (0.4, "symmetric")])
def test_the_confident_joint_is_the_papers(rate: float, kind: str) -> None:
    _, labels, p = planted(rate, kind, number=600, sure=0.7)
    assert np.allclose(confident_joint(labels, p).numpy().T, slow_joint(labels.numpy(), p.numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("rate", "kind", "low", "high"),
    [(0.0, "flips", 0, 0.04), (0.4, "flips", 0.15, 0.25), (0.4, "symmetric", 0.35, 0.45)],
)
def test_the_joint_finds_rate_and_direction(rate: float, kind: str, low: float, high: float) -> None:
    _, labels, p = planted(rate, kind)
    joint = confident_joint(labels, p)
    assert low <= float(1 - joint.trace()) <= high
    if rate:
        assert (concentration(joint) > 0.5) == (kind == "flips")


def test_the_joint_of_next_to_nothing_has_no_noise() -> None:
    one = confident_joint(torch.tensor([2]), torch.tensor([[0.0, 0.1, 0.9, 0.0]]))
    assert float(one.trace()) == pytest.approx(1.0)
    assert torch.equal(transition_of(one), torch.eye(C))


def test_t_comes_from_where_it_is_asked_from() -> None:
    known, _ = training("forward-correction(t=flips, flips=0-1.2-3, rate=0.4)")
    told, context = training("forward-correction(t=global)", facts={"transition": T.flatten().tolist()})
    z, y = some_logits()
    batch = Batch(z, y, y, y)
    assert torch.allclose(told.losses(z, batch), forward(z, y, T))
    matrix = torch.tensor([[0.6, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 0.6, 0.4], [0, 0, 0, 1]])
    assert torch.allclose(known.losses(z, batch), forward(z, y, matrix))
    with pytest.raises(ConfigError, match="transition"):
        training("forward-correction(t=global)", facts={"transition": [1.0, 2.0]})
    del context


@pytest.mark.parametrize(
    "method", ["t=flips, rate=0.4", "t=flips, rate=0.4, flips=0-9", "t=flips, rate=0.4, flips=0-1.0-2", "t=pair"]
)
def test_noise_that_is_not_said_well_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match=r"flips|wrong"):
        training(f"forward-correction({method})")


def test_the_early_look_is_taken_once_and_again_for_classes_that_come_later() -> None:
    remembered: dict[str, Tensors] = {}

    def look_at(number: int, labels: Sequence[int]) -> Early:
        _, context = training("plain", labels=labels, round=number, rounds=10, remembered=remembered)
        early = Early(context, "part", warmup=0.15)
        early.epoch()
        return early

    assert look_at(1, [0, 1] * 10).matrix is None  # too early
    assert look_at(2, [0, 1] * 10).matrix is None
    first = look_at(3, [0, 1] * 10).matrix
    assert first is not None
    assert torch.equal(first[2:], torch.eye(C)[2:])
    assert torch.equal(look_at(4, [0, 1, 2] * 6).matrix, first)  # the model has not seen the new class
    later = look_at(5, [0, 1, 2] * 6).matrix
    assert later is not None
    assert torch.equal(later[:2], first[:2])


def test_volminnet_learns_t_beside_the_model() -> None:
    w = torch.tensor([[0.0, -2.0], [1.0, 0.0]])
    sigma = [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1))]
    wanted = [[1 / (1 + sigma[0]), sigma[0] / (1 + sigma[0])], [sigma[1] / (1 + sigma[1]), 1 / (1 + sigma[1])]]
    assert torch.allclose(matrix_of(w), torch.tensor(wanted))
    method, context = training("volminnet(lambda=0.5, lr=0.1)")
    batch, start = everything(context), context.state("volminnet")["weights"].clone().requires_grad_()
    value, _ = method.step_value(batch)
    slow = (forward(context.model(batch.x), batch.y, matrix_of(start))).mean() + 0.5 * matrix_of(start).det().log()
    assert torch.allclose(value, slow)
    value.backward()
    method.call("gradient")
    moved = start - 0.1 * torch.autograd.grad(slow, start)[0]  # no weight decay, the first step has no momentum
    assert torch.allclose(context.state("volminnet")["weights"], moved, atol=1e-6)


# --- mixtures and selection


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
        context.step += 1
    assert not torch.allclose(weights, mean)
    method.call("settle")
    assert torch.allclose(weights, mean)
