"""What a look at the local data finds, and what it goes by. N examples, C classes.

A look is about the client's own data only, and nothing of it leaves the client: not the finding, not the choice that
follows from it, not a number that depends on either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roughfed.client.trainer.parts import Context, Tensors

MOST = 2000  # examples that a look goes by: it costs a client the same however much it has
STAYS = 0.5  # what is found once stays found down to this share of its threshold, so that a choice does not flip


@dataclass(frozen=True, slots=True)
class Sample:
    """Examples to look at, on the device.

    Attributes:
        x: inputs [N, ...].
        y: labels as given, int64 [N].
        model: as the round began; it is not to be changed.
        num_classes: C.
        task: of the stream, from 0; -1 without tasks.
        progress: share of the run that is over, 0..1.
    """

    x: Tensor
    y: Tensor
    model: nn.Module
    num_classes: int
    task: int = -1
    progress: float = 0.0

    def counts(self) -> Tensor:
        """Examples of each class, float32 [C] on the CPU."""
        return torch.bincount(self.y.cpu(), minlength=self.num_classes).float()


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answer.

    Attributes:
        found: whether the data are rough in this way.
        why: in words, for the client's own log.
        paired: wrong labels of a class go mostly to one other.
    """

    found: bool
    why: str
    paired: bool = False


Probe = Callable[[Sample, Tensors], ProbeResult]
"""(what to look at, what this probe keeps from look to look) -> what it finds."""


def sample_of(context: Context) -> Sample:
    """At most MOST examples of a training, the same ones whenever its data are the same."""
    source = context.source
    if "order" in source.have:
        order = torch.randperm(source.num_examples, generator=torch.Generator().manual_seed(0))[:MOST]
        batch = source.gather(order.sort().values)
        x, y = batch.x, batch.y
    else:
        parts: list[tuple[Tensor, Tensor]] = []
        for pair in source.epoch(context.settings.batch_size, None):
            parts.append(pair)
            if sum(len(y) for _, y in parts) >= MOST:
                break
        x, y = torch.cat([x for x, _ in parts])[:MOST], torch.cat([y for _, y in parts])[:MOST]
    return Sample(x, y, context.model, context.num_classes, context.task, context.progress)


def stands(value: float, threshold: float, kept: Tensors) -> bool:
    """Whether a value reaches its threshold, which is lower for what was found before."""
    before = bool(kept.get("found", torch.tensor(False)))
    found = value >= threshold * (STAYS if before else 1.0)
    kept["found"] = torch.tensor(found)
    return found
