"""SGD takes torch's steps, bit by bit, and does not wake torch's compiler."""

import subprocess
import sys

import pytest
import torch

from roughfed.client.trainer.sgd import SGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_the_steps_are_those_of_torch(momentum: float, weight_decay: float) -> None:
    settings = {"lr": 0.05, "momentum": momentum, "weight_decay": weight_decay}
    random = torch.Generator().manual_seed(1)
    ours = [torch.randn(shape, generator=random).requires_grad_() for shape in [(3, 4), (5,), ()]]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    one, other = SGD(ours, **settings), torch.optim.SGD(theirs, **settings)

    for number in range(4):
        for params, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            used = params[1:] if number == 0 else params  # the first joins later: its velocity starts then
            sum((p**3).sum() for p in used).backward()  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_without_gradients_nothing_moves() -> None:
    param = torch.ones(2, requires_grad=True)
    SGD([param], lr=1.0, momentum=0.9, weight_decay=0.1).step()

    assert torch.equal(param, torch.ones(2))


def test_the_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch; from roughfed.client.trainer.sgd import SGD; p = torch.ones(2, requires_grad=True);"
        "s = SGD([p], lr=0.1, momentum=0.9, weight_decay=0.0); p.sum().backward(); s.step(); s.zero_grad();"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
