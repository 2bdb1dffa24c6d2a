"""Examples that are set aside from the evaluation data: for an update of the server's own (`defence.root`).

N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from roughfed.client.trainer.examples.batches import Arrays, Source, ids_by_content
from roughfed.client.trainer.torch_types import integers
from roughfed.rng import derive


@dataclass(frozen=True, slots=True)
class Parts:
    """Evaluation data in two: `root` is trained on, `rest` is evaluated on."""

    root: Source
    rest: Source


def at_hand(source: Source, device: torch.device) -> Arrays:
    """The examples as arrays; what is behind a DataLoader is read once, in an order that its contents decide."""
    if isinstance(source, Arrays):
        return source
    batches = list(source.epoch(256, None))
    x, y = (torch.cat([batch[part].cpu() for batch in batches]) for part in (0, 1))
    order = torch.argsort(ids_by_content(x, y), stable=True)
    return Arrays(x[order], y[order], device)


def counts(source: Arrays, num_classes: int) -> list[int]:
    """Examples of each class, C numbers; their number alone where there are no classes."""
    if not num_classes or source.targets is None:
        return [source.num_examples]
    return integers(torch.bincount(source.targets.cpu(), minlength=num_classes))


def hold_out(source: Arrays, take: Sequence[int], *, seed: int, device: torch.device) -> Parts:
    """Draw `take[c]` examples of each class c; one number draws from all. The same seed draws the same ones."""
    drawn: list[torch.Tensor] = []
    labels = None if len(take) == 1 or source.targets is None else source.targets.cpu()
    for label, number in enumerate(take):
        mine = torch.arange(source.num_examples) if labels is None else torch.nonzero(labels == label)[:, 0]
        generator = torch.Generator().manual_seed(derive(seed, "held-out", label))
        drawn.append(mine[torch.randperm(len(mine), generator=generator)[:number]])
    root = torch.sort(torch.cat(drawn)).values
    left = torch.ones(source.num_examples, dtype=torch.bool)
    left[root] = False
    return Parts(*(_some(source, at, device) for at in (root, torch.nonzero(left)[:, 0])))


def _some(source: Arrays, at: torch.Tensor, device: torch.device) -> Arrays:
    batch = source.gather(at)
    return Arrays(batch.x, batch.y, device, batch.ids)
