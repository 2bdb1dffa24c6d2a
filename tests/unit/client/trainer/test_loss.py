"""client/trainer/loss: laws of every row of the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.loss import LOSSES
from roughfed.client.trainer.loss.mse import mse
from roughfed.client.trainer.parts import Batch, Context
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.compose import Method
from roughfed.errors import ConfigError
from roughfed.methods import read_method

B, C = 7, 4
ROWS = pytest.mark.parametrize("name", LOSSES)
Loss = Callable[[Tensor], Tensor]


def loss_of(name: str, target: Tensor) -> Loss:
    """A loss at the start of a training, as a function of the logits."""
    torch.manual_seed(0)
    source = Arrays(torch.randn(B, 5), target, torch.device("cpu"))
    context = Context(
        nn.Linear(5, C), source, TrainerSettings(), 0 if name == "mse" else C, torch.Generator(), round=2, rounds=4
    )
    method = Method(read_method(name), context)
    method.call("begin")
    at = torch.arange(len(target))

    def loss(output: Tensor) -> Tensor:
        return method.losses(output, Batch(torch.randn(len(target), 5), target, at, at))

    return loss


def examples(name: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if name == "mse":
        return torch.randn(B, generator=generator), torch.randn(B, generator=generator)
    return torch.randn(B, C, generator=generator), torch.randint(C, (B,), generator=generator)


@ROWS
def test_one_finite_value_per_example_and_the_arguments_stay(name: str) -> None:
    output, target = examples(name)
    before = output.clone()
    value = loss_of(name, target)(output)
    assert value.shape == (B,)
    assert value.dtype == torch.float32
    assert bool(value.isfinite().all())
    assert torch.equal(output, before)


@ROWS
def test_a_step_against_the_gradient_helps(name: str) -> None:
    output, target = examples(name, 3)
    output.requires_grad_()
    value = loss_of(name, target)(output).mean()
    value.backward()
    assert output.grad is not None
    assert bool(output.grad.isfinite().all())
    assert loss_of(name, target)(output.detach() - 0.1 * output.grad).mean() < value


@ROWS
def test_half_precision_and_extreme_outputs_stay_finite(name: str) -> None:
    output, target = examples(name, 4)
    assert bool(loss_of(name, target)((output * 100).bfloat16()).isfinite().all())


def test_squared_error_never_broadcasts() -> None:
    output, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])
    assert mse(output, target).tolist() == [0.0, 4.0]
    with pytest.raises(ConfigError, match="model"):
        mse(torch.zeros(2, 3), target)
