"""The parts for long tails against slow references: the papers' formulas in float64, counted frequencies, pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roughfed import models
from roughfed.client.trainer.augment.remix import label_shares
from roughfed.client.trainer.compose import Method
from roughfed.client.trainer.data import Arrays
from roughfed.client.trainer.decouple.tau_norm import normalise
from roughfed.client.trainer.draws import draw_by_class
from roughfed.client.trainer.ensemble.ride import class_temperatures
from roughfed.client.trainer.ensemble.sade import sade_shifts
from roughfed.client.trainer.loss.ldam import ldam_margins
from roughfed.client.trainer.mixing import draw_box
from roughfed.client.trainer.parts import Batch, Context
from roughfed.client.trainer.prior import class_counts, class_prior
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.weigh.class_balanced import effective_weights
from roughfed.errors import ConfigError
from roughfed.methods import read_method

C, D, B = 4, 6, 5
CPU = torch.device("cpu")
COUNTS = [40, 12, 3, 0]  # the last class is not here
LOCAL = [max(n, 1e-2) / (55 + 1e-2) for n in COUNTS]


def labels_for(counts: Sequence[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def training(
    method: str = "plain",
    *,
    counts: Sequence[int] = COUNTS,
    model: nn.Module | None = None,
    x: Tensor | None = None,
    **more: Any,
) -> tuple[Method, Context]:
    """A method at work on random examples, [N, D] or as given."""
    torch.manual_seed(0)
    y = labels_for(counts)
    x = torch.randn(len(y), D) if x is None else x
    context = Context(
        model or nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), C)),
        Arrays(x, y, CPU),
        more.pop("settings", TrainerSettings()),
        C,
        torch.Generator().manual_seed(3),
        **more,
    )
    return Method(read_method(method), context), context


def batch_of(x: Tensor, y: Sequence[int], **more: Tensor) -> Batch:
    at = torch.arange(len(y))
    return Batch(x, torch.tensor(y), at, at, **more)


# -- losses: value and gradient -------------------------------------------------------------------------------------

Formula = Callable[[Tensor, int], Tensor]
"""(logits [C] of one example, its class) -> its loss; all in float64."""


def probability(z: Tensor, y: int, weights: Sequence[float] = (1.0,) * C) -> Tensor:
    terms = [w * torch.exp(z[c]) for c, w in enumerate(weights)]
    return terms[y] / sum(terms)


def margin(z: Tensor, y: int) -> Tensor:
    """LDAM with s = 30, max_m = 0.5; z is s * cos; the loss is divided by s."""
    delta = 0.5 * (COUNTS[y] / 3) ** -0.25
    top = torch.exp(30 * (z[y] / 30 - delta))
    return -torch.log(top / (top + sum(torch.exp(z[c]) for c in range(C) if c != y))) / 30


def log_ratio(z: Tensor, y: int, tau: float) -> Tensor:
    """Menon et al., equation 10: pairwise."""
    pairs = [(LOCAL[c] / LOCAL[y]) ** tau * torch.exp(z[c] - z[y]) for c in range(C) if c != y]
    return torch.log(1 + sum(pairs))


FORMULAS: Mapping[str, Formula] = {
    "focal": lambda z, y: -((1 - probability(z, y)) ** 2) * torch.log(probability(z, y)),
    "focal(gamma=0.5)": lambda z, y: -torch.sqrt(1 - probability(z, y)) * torch.log(probability(z, y)),
    "balanced-softmax": lambda z, y: -torch.log(probability(z, y, LOCAL)),
    "logit-adjustment(tau=1.5)": lambda z, y: log_ratio(z, y, 1.5),
    "logit-adjustment(post-hoc=true)": lambda z, y: -torch.log(probability(z, y)),
    "ldam": margin,
}


@pytest.mark.parametrize("method", FORMULAS)
def test_a_loss_and_its_gradient_are_the_papers(method: str) -> None:
    plan, _ = training(method)
    z = torch.randn(B, C, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target = [0, 1, 2, 1, 0]  # LDAM gives no margin for a class that nobody has
    ours = plan.losses(z, batch_of(torch.zeros(B, D), target))
    ours.sum().backward()
    slow = z.detach().double().requires_grad_()
    reference = torch.stack([FORMULAS[method](row, y) for row, y in zip(slow, target, strict=True)])
    reference.sum().backward()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), reference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(z.grad, slow.grad.float(), rtol=1e-3, atol=1e-5)  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("method", FORMULAS)
def test_a_loss_is_finite_for_sure_wrong_and_absent(method: str) -> None:
    plan, _ = training(method)
    for size in (0.0, 100.0, 1e4):
        z = (size * torch.eye(C)).requires_grad_()
        for target in range(C):
            value = plan.losses(z, batch_of(torch.zeros(C, D), [target] * C))
            (slope,) = torch.autograd.grad(value.sum(), z)
            assert torch.isfinite(value).all()
            assert torch.isfinite(slope).all()


def test_margins_follow_the_fourth_root_and_end_at_the_largest() -> None:
    margins = ldam_margins(torch.tensor([160.0, 10.0, 0.0]), 0.5)
    torch.testing.assert_close(margins, torch.tensor([0.25, 0.5, 0.5]))


def test_the_head_after_ldam_chooses_as_its_cosines_did() -> None:
    model = nn.Sequential(nn.Linear(D, 7), nn.Tanh(), nn.Linear(7, C))
    plan, context = training("ldam", model=model)
    plan.call("begin")
    x = torch.randn(20, D)
    cosines = plan.run(model, x)
    features = model[1](model[0](x))
    slow = torch.stack([30 * torch.cosine_similarity(features, row[None]) for row in model[2].weight], dim=1)
    torch.testing.assert_close(cosines, slow, rtol=1e-4, atol=1e-4)
    plan.call("end")
    plain, cosines = model(x).detach(), cosines.detach()
    assert torch.equal(plain.argmax(dim=1), cosines.argmax(dim=1))
    assert plain.abs().mean() == pytest.approx(float(cosines.abs().mean()), rel=0.2)
    assert context.head().linear.bias.abs().max() == 0


@pytest.mark.parametrize("global_prior", [False, True])
def test_post_hoc_is_exact_in_the_bias_and_only_at_the_end_of_the_run(*, global_prior: bool) -> None:
    facts = {"class-prior": [0.1, 0.2, 0.3, 0.4]} if global_prior else {}
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4] if global_prior else LOCAL)
    chosen = TrainerSettings(prior="global" if global_prior else "local")
    x = torch.randn(9, D)
    for number in (1, 2):
        plan, context = training(
            "logit-adjustment(post-hoc=true, tau=2)", round=number, rounds=2, facts=facts, settings=chosen
        )
        before = context.model(x)
        plan.call("end")
        want = before - 2 * shares.log() if number == 2 else before
        torch.testing.assert_close(context.model(x), want, rtol=1e-5, atol=1e-5)


def test_post_hoc_refuses_a_model_whose_bias_it_cannot_take() -> None:
    for model in (nn.Linear(D, C, bias=False), models.build("mlp", (D,), C, 0, experts=3)):
        with pytest.raises(ConfigError, match="bias"):
            training("logit-adjustment(post-hoc=true)", model=model)


@pytest.mark.parametrize(
    "method",
    [
        "balanced-softmax+logit-adjustment",
        "logit-adjustment(post-hoc=true)+balanced-softmax",
        "tau-norm+balanced-softmax",
        "tau-norm+class-balanced",
        "mixup+cmo",
        "ride+focal",
        "sade+balanced-softmax",
        "crt+drw",
        "balanced-softmax+class-balanced-sampling",
        "logit-adjustment+drw",
        "ride+progressive-sampling",
        "ldam+crt",
        "crt+logit-adjustment",
        "crt+ewc",
    ],
)
def test_what_would_adjust_twice_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand together"):
        read_method(method)


# -- prior ----------------------------------------------------------------------------------------------------------


def test_a_prior_is_local_until_a_global_one_is_wanted_and_known() -> None:
    told = {"class-prior": [0.5, 0.5, 0.0, 0.0]}
    wanting = TrainerSettings(prior="global")
    for facts, chosen, want in (
        (told, TrainerSettings(), LOCAL),
        ({}, wanting, LOCAL),
        ({"class-prior": [1.0]}, wanting, LOCAL),
        (told, wanting, [0.5, 0.5, 1e-6, 1e-6]),
    ):
        _, context = training(facts=facts, settings=chosen)
        torch.testing.assert_close(class_prior(context), torch.tensor(want), rtol=1e-4, atol=0.0)
        counts = torch.tensor(COUNTS, dtype=torch.float32) if want is LOCAL else 55 * torch.tensor(want)
        torch.testing.assert_close(class_counts(context), counts, rtol=1e-4, atol=0.0)


def test_what_is_replayed_is_not_absent() -> None:
    class Kept:
        def __len__(self) -> int:
            return 4

        labels = torch.tensor([3, 3, 3, 2])

    plan, context = training("balanced-softmax")
    context.memory = Kept()  # pyright: ignore[reportAttributeAccessIssue] as the memory room makes it, after the losses
    want = torch.tensor([40 / 110, 12 / 110, 3 / 110 + 1 / 8, 3 / 8])
    torch.testing.assert_close(class_prior(context), want)
    z = torch.randn(B, C)
    y = torch.tensor([0, 1, 2, 3, 3])
    slow = nn.functional.cross_entropy(z + want.log(), y, reduction="none")
    torch.testing.assert_close(plan.losses(z, batch_of(torch.zeros(B, D), y.tolist())), slow)


def test_the_prior_is_that_of_the_labels_that_come_out_of_pasting() -> None:
    plan, context = training("balanced-softmax+cmo(chance=0.8)", x=torch.randn(55, 1, 20, 20), round=2, rounds=4)
    mass = torch.zeros(C)
    for _ in range(3000):
        batch = plan.transformed(context.source.gather(torch.randint(55, (16,), generator=context.generator)))
        share = torch.ones(16) if batch.share is None else batch.share
        mass.scatter_add_(0, batch.y, share)
        if batch.other is not None:
            mass.scatter_add_(0, batch.other, 1 - share)
    torch.testing.assert_close(class_prior(context), mass / mass.sum(), atol=0.02, rtol=0.0)


# -- samplers -------------------------------------------------------------------------------------------------------

SHARES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "instance": lambda n, _: n,
    "class-balanced-sampling": lambda n, _: (n > 0) * 1.0,
    "square-root-sampling": lambda n, _: np.sqrt(n),
    "progressive-sampling": lambda n, t: (1 - t) * n / n.sum() + t * (n > 0) / (n > 0).sum(),
}
"""(counts, progress) -> how often each class comes, up to a factor."""


@settings(max_examples=15, deadline=None)
@given(
    name=st.sampled_from(sorted(SHARES)),
    counts=st.lists(st.integers(0, 30), min_size=C, max_size=C).filter(any),
    number=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_classes_come_as_often_as_the_sampler_says(name: str, counts: list[int], number: int, seed: int) -> None:
    plan, context = training(name, counts=counts, round=number, rounds=8)
    context.generator.manual_seed(seed)
    y = labels_for(counts)
    assert plan.order is not None
    walks = [plan.order() for _ in range(max(1, 4000 // len(y)))]
    assert all(walk.dtype == torch.int64 and len(walk) == len(y) for walk in walks)
    drawn = torch.cat(walks)
    found = np.bincount(y[drawn].numpy(), minlength=C) / len(drawn)
    want = SHARES[name](np.array(counts, dtype=float), (number - 1) / 8)
    np.testing.assert_allclose(found, want / want.sum(), atol=5 * 0.5 / math.sqrt(len(drawn)))  # 5 deviations
    if name == "instance":
        assert all(torch.equal(walk.sort().values, torch.arange(len(y))) for walk in walks)


def test_within_a_class_every_example_comes_alike() -> None:
    y = labels_for([3, 0, 5])[torch.randperm(8, generator=torch.Generator().manual_seed(0))]
    drawn = draw_by_class(y, torch.tensor([0.5, 9.0, 0.5]), 40_000, torch.Generator().manual_seed(0))
    found = torch.bincount(drawn, minlength=8) / 40_000
    torch.testing.assert_close(found, torch.where(y == 0, 1 / 6, 1 / 10), atol=0.01, rtol=0.0)


# -- weights --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=8), st.sampled_from([0.0, 0.9, 0.9999]))
def test_weights_are_those_of_the_effective_number(counts: list[int], beta: float) -> None:
    raw = [1 / sum(beta**k for k in range(n)) for n in counts]  # E_n, equation 1, summed up
    want = torch.tensor([len(raw) * w / sum(raw) for w in raw])
    torch.testing.assert_close(effective_weights(torch.tensor(counts), beta), want, rtol=1e-4, atol=1e-6)


def test_a_mixed_example_weighs_for_both_of_its_classes() -> None:
    plan, _ = training("class-balanced")
    z, share = torch.randn(3, C), torch.tensor([0.0, 0.3, 1.0])
    y, other = torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])
    batch = plan.transformed(batch_of(torch.zeros(3, D), [0, 1, 2], other=other, share=share))
    assert batch.weight is not None
    w = effective_weights(torch.tensor(COUNTS), 0.9999)
    first, second = (w[c] * nn.functional.cross_entropy(z, c, reduction="none") for c in (y, other))
    torch.testing.assert_close(batch.weight * plan.losses(z, batch), share * first + (1 - share) * second)


def test_deferred_weights_wait() -> None:
    for number, waits in ((8, True), (9, False)):
        plan, _ = training("drw", round=number, rounds=10)
        assert (plan.transformed(batch_of(torch.zeros(2, D), [0, 2])).weight is None) is waits


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
        plan, context = training("cmo(chance=1)", x=x, round=number, rounds=200, steps=100)
        context.round, context.step = (number, step) if number > 1 else (3 + step, 0)
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
    plan, context = training("crt", settings=chosen, round=5, rounds=5, steps=4)
    for step in range(4):
        context.step = step
        context.model.zero_grad()
        batch = batch_of(torch.randn(B, D), [0, 1, 2, 0, 1])
        plan.step_value(batch)[0].backward()
        plan.call("gradient")
        assert context.lr == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * step / 4)))


def test_a_run_of_one_training_ends_with_its_head() -> None:
    counts = [60, 6, 6, 6]
    y = labels_for(counts)
    x = nn.functional.one_hot(y, C).float() @ torch.randn(C, D, generator=torch.Generator().manual_seed(5))
    x = x + 1.5 * torch.randn(len(y), D, generator=torch.Generator().manual_seed(6))
    plan, context = training("crt(after=0.2)", counts=counts, model=with_batch_norm(), x=x, steps=400)
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
