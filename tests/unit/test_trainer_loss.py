"""client/trainer/loss: laws of every row of the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from roughfed.client.trainer.loss import LOSSES, PLANNED, Loss, choose
from roughfed.errors import ConfigError, NotBuiltYet

ROWS = pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES)
B, C = 7, 4


def examples(row: Loss, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if row.task == "classification":
        return torch.randn(B, C, generator=generator), torch.randint(C, (B,), generator=generator)
    return torch.randn(B, generator=generator), torch.randn(B, generator=generator)


@ROWS
def test_one_finite_value_per_example_and_the_arguments_stay(row: Loss) -> None:
    output, target = examples(row)
    before = output.clone(), target.clone()
    value = row.function(output, target)
    assert value.shape == (B,)
    assert value.dtype == torch.float32
    assert bool((value >= 0).all() & value.isfinite().all())
    assert torch.equal(output, before[0])
    assert torch.equal(target, before[1])


@ROWS
def test_an_example_does_not_depend_on_its_neighbours(row: Loss) -> None:
    output, target = examples(row, 1)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(2))
    together = row.function(output, target)
    torch.testing.assert_close(row.function(output[order], target[order]), together[order])
    torch.testing.assert_close(row.function(output[:3], target[:3]), together[:3])


@ROWS
def test_a_step_against_the_gradient_helps(row: Loss) -> None:
    output, target = examples(row, 3)
    output.requires_grad_()
    value = row.function(output, target).mean()
    value.backward()
    assert output.grad is not None
    assert bool(output.grad.isfinite().all())
    assert row.function(output - 0.1 * output.grad, target).mean() < value


@ROWS
def test_half_precision_and_extreme_outputs_stay_finite(row: Loss) -> None:
    output, target = examples(row, 4)
    assert bool(row.function((output * 100).bfloat16(), target).isfinite().all())


@ROWS
def test_auto_finds_the_tasks_own(row: Loss) -> None:
    assert choose("auto", row.task).task == row.task


def test_squared_error_never_broadcasts() -> None:
    output, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])
    assert LOSSES["mse"].function(output, target).tolist() == [0.0, 4.0]
    with pytest.raises(ConfigError, match="model"):
        LOSSES["mse"].function(torch.zeros(2, 3), target)


def test_names() -> None:
    with pytest.raises(ConfigError) as caught:
        choose("cross-entrpy", "classification")
    assert caught.value.cure == "did you mean 'cross-entropy'?"
    with pytest.raises(ConfigError, match="regression"):
        choose("mse", "classification")
    for name in PLANNED:
        with pytest.raises(NotBuiltYet):
            choose(name, "classification")
    assert not set(PLANNED) & set(LOSSES)
