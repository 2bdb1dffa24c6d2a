"""Parts for long tails: losses, priors, samplers and weights, held against slow references."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roughfed import models
from roughfed.client.trainer.examples.draws import draw_by_class
from roughfed.client.trainer.labels.prior import class_counts, class_prior
from roughfed.client.trainer.loss.ldam import ldam_margins
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.weigh.class_balanced import effective_weights
from roughfed.errors import ConfigError
from roughfed.methods import read_method
from tests.unit.client.trainer.parts_long_tail import COUNTS, LOCAL, B, C, D, batch_of, labels_for, training

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
    class ReplayBuffer:
        def __len__(self) -> int:
            return 4

        labels = torch.tensor([3, 3, 3, 2])

    plan, context = training("balanced-softmax")
    context.memory = ReplayBuffer()  # pyright: ignore[reportAttributeAccessIssue] as the memory room makes it, after the losses
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
