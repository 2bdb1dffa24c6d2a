"""The optimizers take torch's steps, bit by bit, and do not wake torch's compiler."""

import subprocess
import sys

import pytest
import torch

from roughfed.client.trainer.optimize.optimizer import OPTIMIZERS, optimizer_for
from roughfed.client.trainer.settings import OPTIMIZERS as NAMES
from roughfed.client.trainer.settings import TrainerSettings

THEIRS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def test_the_settings_know_them_all() -> None:
    assert tuple(OPTIMIZERS) == NAMES


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_the_steps_are_those_of_torch(name: str, momentum: float, weight_decay: float) -> None:
    settings = TrainerSettings(optimizer=name, lr=0.05, momentum=momentum, weight_decay=weight_decay)
    moments = {"momentum": momentum} if name == "sgd" else {"betas": (momentum, 0.999)}
    random = torch.Generator().manual_seed(1)
    ours = [torch.randn(shape, generator=random).requires_grad_() for shape in [(3, 4), (5,), ()]]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    one, other = optimizer_for(settings, ours), THEIRS[name](theirs, lr=0.05, weight_decay=weight_decay, **moments)

    for number in range(4):
        for params, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            used = params[1:] if number == 0 else params  # the first joins later: its moments start then
            sum((p**3).sum() for p in used).backward()  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
        one.lr = other.param_groups[0]["lr"] = 0.5 * one.lr

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_gradients_nothing_moves(name: str) -> None:
    param = torch.ones(2, requires_grad=True)
    optimizer_for(TrainerSettings(optimizer=name, lr=1.0, weight_decay=0.1), [param]).step()

    assert torch.equal(param, torch.ones(2))


def test_the_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch; from roughfed.client.trainer.optimize.optimizer import OPTIMIZERS\n"
        "p = torch.ones(2, requires_grad=True)\n"
        "for made in OPTIMIZERS.values():\n"
        "    o = made([p], lr=0.1, momentum=0.9, weight_decay=0.1); p.sum().backward(); o.step(); o.zero_grad()\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
