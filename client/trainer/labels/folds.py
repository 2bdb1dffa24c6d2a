"""What a short training says of examples that it has not seen. N examples, C classes.

Each part of the data is predicted by a copy of the model that learnt from the other parts. No copy can have learnt an
example's wrong label by heart, so that the predictions can be held against the labels (Northcutt, Jiang & Chuang,
"Confident Learning", JAIR 2021, section 3.1, asks for exactly this).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.optimize.adam import Adam
from roughfed.client.trainer.torch_types import distinct

PARTS = 3
STEPS = 120
BATCH = 32
LR = 1e-3
_CHUNK = 512  # examples that are predicted at once


def out_of_fold(model: nn.Module, x: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Probabilities by copies of a model that did not train on the example, halfway and at the end of their training.

    Global random state and the model are left as they were; the same arguments give the same numbers.

    Args:
        model: where the copies begin.
        x: inputs [N, ...] on the model's device.
        y: labels, int64 [N].
        num_classes: C.

    Returns:
        float32 [2, N, C] on the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    part = _dealt(y.cpu(), generator)
    found = torch.full((2, len(y), num_classes), 1.0 / num_classes)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)  # dropout
        for number in range(PARTS):
            learn, judge = torch.where(part != number)[0], torch.where(part == number)[0]
            if len(learn) > 1 and len(judge):
                for half, net in enumerate(_trained(model, x, y, learn, generator)):
                    found[half, judge] = _predicted(net, x, judge)
    return found


def _dealt(y: Tensor, generator: torch.Generator) -> Tensor:
    """Which part each example is in, int64 [N]; every class is spread evenly."""
    part = torch.zeros(len(y), dtype=torch.int64)
    for label in distinct(y):
        own = torch.where(y == label)[0]
        own = own[torch.randperm(len(own), generator=generator)]
        first = int(torch.randint(PARTS, (1,), generator=generator))
        part[own] = (torch.arange(len(own)) + first) % PARTS
    return part


def _trained(model: nn.Module, x: Tensor, y: Tensor, learn: Tensor, generator: torch.Generator) -> Iterator[nn.Module]:
    """A copy that has had half of the steps, and again when it has had all."""
    net = copy.deepcopy(model).train()
    optimizer = Adam([p for p in net.parameters() if p.requires_grad], lr=LR, momentum=0.9, weight_decay=0.0)
    steps = 0
    while steps < STEPS:
        for at in torch.split(learn[torch.randperm(len(learn), generator=generator)], BATCH):
            if len(at) == 1 and len(learn) > 1:
                continue  # BatchNorm cannot learn from one
            optimizer.zero_grad()
            functional.cross_entropy(net(x[at.to(x.device)]), y[at.to(y.device)]).backward()
            optimizer.step()
            steps += 1
            if steps in (STEPS // 2, STEPS):
                yield net.eval()
                net.train()
            if steps == STEPS:
                break


@torch.inference_mode()
def _predicted(net: nn.Module, x: Tensor, judge: Tensor) -> Tensor:
    return torch.cat([net(x[at.to(x.device)]).float().softmax(dim=1).cpu() for at in torch.split(judge, _CHUNK)])
