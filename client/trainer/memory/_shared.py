"""What memories share that are filled at the end of a training: features of a class, and a place for its images.

M examples kept, n examples of a class, d features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, by_rank
from roughfed.client.trainer.parts import Batch, Context
from roughfed.client.trainer.torch_types import distinct, integers

CHUNK = 256


def per_class(kept: ReplayBuffer, context: Context) -> int:
    """How many examples each class may have: of those that are kept and those that are here."""
    here = context.counts() > 0
    return max(1, kept.capacity // int((here | (kept.counts() > 0)).sum()))


def classes_here(context: Context) -> Iterator[tuple[int, Tensor]]:
    """(class, places of its examples int64 [n]) of the training's data."""
    targets = context.source.targets
    if targets is None:  # refused by the plan: the part needs counts
        return
    for label in integers(distinct(targets)):
        yield label, (targets == label).nonzero()[:, 0]


@torch.no_grad()
def features_of(context: Context, x: Tensor) -> tuple[Tensor, Tensor]:
    """(features [n, d], logits [n, C]) of inputs by the model as it is, in evaluation mode."""
    context.model.eval()
    parts = [context.head().with_features(part) for part in torch.split(x, CHUNK)]
    return torch.cat([part for part, _ in parts]), torch.cat([part for _, part in parts])


def replace_class(kept: ReplayBuffer, label: int, columns: dict[str, Tensor], batch: Batch, logits: Tensor) -> None:
    """Put the chosen examples of a class, best first, where its earlier ones were.

    Their ranks count up from 0: when the classes have to share with more of them, each gives its last ones.
    """
    kept.select(kept.labels != label)
    rows = {**columns, **kept.notes(batch, logits)}
    rows["rank"] = torch.arange(len(batch), device=batch.y.device)
    kept.admit(rows, by_rank)


def shorten(kept: ReplayBuffer, share: int) -> None:
    """Leave each class its first `share` examples."""
    kept.select(kept.ranks < share)
