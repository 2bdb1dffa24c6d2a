"""Label-distribution-aware margins (Cao et al., NeurIPS 2019, equations 12 and 13) on a normalised head.

Rows of the head and features are scaled to length 1, so a logit is s * cos, and the true class's cosine must beat the
others by Delta_c, which is larger for rarer classes. Brings `drw` (the paper's algorithm 1).
A plain linear head is what the model is evaluated with: at the end of a training its rows get one common length and its
bias is 0, so that it chooses the same class as the cosines, with logits about as large as in training.
Differs: the loss is divided by s. Its gradient would be s times that of a cross-entropy, and the reference code needs
five epochs of warm-up and BatchNorm to bear it; so the same learning rate fits every loss of this room.

B batch, d features, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.labels.prior import class_counts
from roughfed.client.trainer.model.head import find_head
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan
from roughfed.client.trainer.torch_types import bias_of, norm


def ldam_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part."""
    scale, margins = float(options["s"]), ldam_margins(class_counts(context), float(options["max-m"]))
    length = torch.ones((), device=context.device)  # of the model's features, on the last batch

    def rescale_all(to: float) -> None:
        for net in context.nets:
            rescale(find_head(net, context.num_classes).linear, to)

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        head = find_head(net, context.num_classes)
        features, _ = head.with_features(x)  # [B, d]
        if net is context.model:
            length.copy_(norm(features.detach(), dim=1).mean())
        return scale * cosines(features, head.linear.weight)

    def loss(output: Tensor, batch: Batch) -> Tensor:
        return ldam(output, batch.y, margins, scale) / scale

    def end() -> dict[str, float]:
        rescale_all(scale / max(float(length), 1e-3))
        return {}

    return Hooks(begin=lambda: rescale_all(1.0), forward=forward, loss=loss, end=end)


def ldam_margins(counts: Tensor, largest: float) -> Tensor:
    """Delta_c = K / n_c^(1/4), K so that the rarest class that is there has the margin `largest`; float32 [C]."""
    present = counts > 0
    raw = counts.double().clamp_min(1).pow(-0.25)
    top = raw[present].max() if bool(present.any()) else raw.max()
    return (largest * raw / top).clamp_max(largest).float()


def ldam(output: Tensor, target: Tensor, margins: Tensor, scale: float) -> Tensor:
    """Cross-entropy of s (cos - Delta_y at the true class).

    Args:
        output: s * cos, [B, C].
        target: int64 [B].
        margins: Delta, float32 [C].
        scale: s.

    Returns:
        float32 [B], in nats, 0 or more.
    """
    pushed = scale * margins[target]  # [B]
    lowered = output.float().scatter_add(1, target[:, None], -pushed[:, None])
    return functional.cross_entropy(lowered, target, reduction="none")


def cosines(features: Tensor, weight: Tensor) -> Tensor:
    """Of features [B, d] and rows [C, d]: float32 [B, C]."""
    return functional.normalize(features.float(), dim=1) @ functional.normalize(weight.float(), dim=1).T


@torch.no_grad()
def rescale(linear: nn.Linear, length: float) -> None:
    """Give every row of a head one length, and no bias: its arg max is then that of the cosines."""
    linear.weight.copy_(length * functional.normalize(linear.weight, dim=1))
    if (bias := bias_of(linear)) is not None:
        bias.zero_()
