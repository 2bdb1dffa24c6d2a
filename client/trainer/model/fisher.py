"""The diagonal of the Fisher information, from the gradients of single examples.

n examples, C classes, K experts, D parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from roughfed.client.trainer.examples.replay_buffer import logits_of

CHUNK = 32


def fisher(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The mean of the squared gradients of log p(y | x), by parameter.

    The square of the mean gradient of a batch, which is often used for it, is smaller by about the size of the batch.

    Args:
        model: in evaluation mode; gives [n, C], or [K, n, C].
        x: inputs, [n, ...].
        y: labels drawn from the model's own predictions for the Fisher information itself, int64 [n].

    Returns:
        float32 [D], in the order of the parameters that learn, 0 or more.
    """
    params = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    rest = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    rest |= dict(model.named_buffers())

    def loss(own: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        output = logits_of(functional_call(model, (own, rest), (one[None],)))
        return functional.cross_entropy(output.float(), label[None])

    each: Any = vmap(grad(loss), in_dims=(None, 0, 0))
    total = torch.zeros(sum(p.numel() for p in params.values()), device=x.device)
    for at in range(0, len(x), CHUNK):
        part, labels = x[at : at + CHUNK], y[at : at + CHUNK]
        try:
            grads = each(params, part, labels)
        except RuntimeError:  # an operation that cannot be batched over examples: one after the other
            ones = [grad(loss)(params, one, label) for one, label in zip(part, labels, strict=True)]
            grads = {name: torch.stack([g[name] for g in ones]) for name in params}
        total += torch.cat([grads[name].float().square().sum(dim=0).reshape(-1) for name in params])
    return total / max(1, len(x))
