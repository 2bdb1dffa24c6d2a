"""Losses and transition matrices for wrong labels, held against slow references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from roughfed.client.trainer.examples.views import ById
from roughfed.client.trainer.labels.early_estimate import EarlyEstimate
from roughfed.client.trainer.labels.noise import (
    anchor_transition,
    concentration,
    confident_joint,
    dual_transition,
    transition_of,
)
from roughfed.client.trainer.loss._shared import forward
from roughfed.client.trainer.loss._shared import given as given_matrix
from roughfed.client.trainer.loss.correction import backward, inverse
from roughfed.client.trainer.loss.elr import early_term
from roughfed.client.trainer.loss.gce import gce
from roughfed.client.trainer.loss.sce import sce
from roughfed.client.trainer.loss.volminnet import matrix_of
from roughfed.client.trainer.parts import Batch, Tensors
from roughfed.errors import ConfigError
from tests.unit.client.trainer.parts_noisy import B, C, T, everything, slow_softmax, some_logits, training


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

    def look_at(number: int, labels: Sequence[int]) -> EarlyEstimate:
        _, context = training("plain", labels=labels, round=number, rounds=10, remembered=remembered)
        early = EarlyEstimate(context, "part", warmup=0.15)
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
