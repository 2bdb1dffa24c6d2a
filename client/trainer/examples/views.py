"""What a network says of all examples of a training, and rows that are kept about examples from round to round.

N examples, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.examples.batches import Source
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.torch_types import distinct

BATCH = 512


@dataclass(frozen=True, slots=True)
class Look:
    """Predictions, on the device.

    Attributes:
        ids: int64 [N]; -1 where examples have none.
        labels: as given, int64 [N].
        logits: float32 [N, C].
    """

    ids: Tensor
    labels: Tensor
    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Float32 [N, C]."""
        return self.logits.softmax(dim=1)

    @property
    def losses(self) -> Tensor:
        """Cross-entropy of the given label, float32 [N]."""
        return functional.cross_entropy(self.logits, self.labels, reduction="none")


@torch.no_grad()
def look(net: nn.Module, source: Source) -> Look:
    """Run a network over all examples, in the order of the source; its modes are left as they were."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        parts = [(batch.ids, batch.y, net(batch.x).float()) for batch in source.batches(BATCH, None)]
    finally:
        for module, mode in modes:
            module.training = mode
    ids, labels, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return Look(ids, labels, logits)


class ById:
    """Rows of numbers about examples, found by the example's id: order and place may change from round to round.

    The tensors lie in a part's state and are changed in place.
    """

    def __init__(self, state: Tensors, ids: Tensor, width: int, *, fill: float = 0.0) -> None:
        """Take over what is known of these examples; rows of others are dropped, and their ids with them.

        Args:
            state: of one part; gets the keys `ids` and `rows`.
            ids: int64 [N], on the device; a repeated one has one row.
            width: numbers in a row.
            fill: what the rows of new examples hold.
        """
        self.ids = distinct(ids)
        self.rows = torch.full((len(self.ids), width), fill, device=ids.device)
        old_ids, old_rows = state.get("ids"), state.get("rows")
        if old_ids is not None and old_rows is not None and len(old_ids):
            at, known = find(old_ids.to(ids.device), self.ids)
            self.rows[known] = old_rows.to(ids.device)[at[known]]
        state["ids"], state["rows"] = self.ids, self.rows

    def find(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Places of some ids int64 [B], and which of them are known, bool [B]."""
        return find(self.ids, ids)


def find(ranked: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where each id is in ascending ones: int64 [B], and whether it is there: bool [B]."""
    at = torch.searchsorted(ranked, wanted).clamp_max(max(0, len(ranked) - 1))
    return at, ranked[at] == wanted


def ids_of(source: Source) -> Tensor:
    """The ids of all examples of a source that has them, int64 [N] on the device."""
    return torch.cat([batch.ids for batch in source.batches(BATCH, None)])
