"""Laws of the room `shared/models`: whoever is listed keeps them."""

import pytest
import torch
from torch import nn

from roughfed.client.trainer.model.tensors import spec_of
from roughfed.models import MODELS, build

SHAPE, CLASSES = (1, 28, 28), 10


def batch(size: int = 4) -> torch.Tensor:
    return torch.randn(size, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("classes", [0, 2, CLASSES])
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_becomes_finite_outputs(name: str, classes: int) -> None:
    out = build(name, SHAPE, classes, seed=1).eval()(batch())
    assert out.shape == (4, classes or 1)
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(name: str) -> None:
    model = build(name, SHAPE, CLASSES, seed=1)
    nn.functional.cross_entropy(model(batch()), torch.arange(4)).backward()
    still = [key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert still == []


@pytest.mark.parametrize("name", MODELS)
def test_one_example_does_not_depend_on_its_batch(name: str) -> None:
    model, x = build(name, SHAPE, CLASSES, seed=1).eval(), batch()
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_makes_the_weights_and_nothing_else_does(name: str) -> None:
    one, same, other = (build(name, SHAPE, CLASSES, seed=seed) for seed in (1, 1, 2))
    pairs = [(a, b, c) for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True)]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)
    assert spec_of(one) == spec_of(other)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith("-bn")])
def test_a_batch_of_one_trains(name: str) -> None:
    model = build(name, (1, 8, 8), CLASSES, seed=1).train()
    nn.functional.cross_entropy(model(torch.randn(1, 1, 8, 8)), torch.tensor([3])).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("experts", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_lowers_the_loss_and_the_same_step_is_the_same(name: str, experts: int) -> None:
    x = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    y = torch.arange(6)

    def step() -> tuple[float, float, torch.Tensor]:
        model = build(name, (1, 8, 8), CLASSES, seed=1, experts=experts).train()
        before = nn.functional.cross_entropy(model(x), y)
        before.backward()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(p.grad, alpha=1e-3)
            return float(before), float(nn.functional.cross_entropy(model(x), y)), model(x)

    torch.use_deterministic_algorithms(True)
    try:
        (before, after, outputs), (_, _, again) = step(), step()
    finally:
        torch.use_deterministic_algorithms(False)
    assert after < before
    assert torch.equal(outputs, again)
