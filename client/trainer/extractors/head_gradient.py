"""Gradients of the classifier by class, CReFF (Shang et al., IJCAI 2022, equation 4).

For each class the mean gradient of the cross-entropy over its examples, at the classifier that the server re-trained
(the fact "head"; the global model's own before there is one). Written out instead of by autograd: (p - e_y) z^T for the
weights and p - e_y for the biases.

Differs: over all examples of a class once, where the reference draws 32 of them ten times; and a class whose gradient
is beyond the bound of the sum is scaled to it, which the server's matching by angle does not see within one client.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.examples.statistic_extractor import Observed
from roughfed.client.trainer.parts import Context
from roughfed.client.trainer.torch_types import bias_of, distinct, floats, integers
from roughfed.secagg.fixed_point import bound_of, to_fixed

HEAD = "head"
"""The fact that holds a classifier: weights [C x d], then biases [C]."""


class HeadGradient:
    """[C x (C d + C)]: of each class, weights row by row and then biases; zero for a class without examples."""

    def __init__(self, context: Context) -> None:
        """All zero."""
        self._weight, self._bias = given_head(context)
        classes, width = self._weight.shape
        self._sum = torch.zeros(classes, classes, width + 1, device=context.device)
        self._count = torch.zeros(classes, device=context.device)

    def add(self, seen: Observed) -> None:
        """See `StatisticExtractor`."""
        chance = functional.linear(seen.features, self._weight, self._bias).softmax(dim=1)
        error = chance - functional.one_hot(seen.y, len(self._count)).to(chance.dtype)  # [B, C]
        inputs = functional.pad(seen.features, (0, 1), value=1.0)  # the last one is the bias's
        self._count += torch.bincount(seen.y, minlength=len(self._count))
        for c in integers(distinct(seen.y)):
            chosen = seen.y == c
            self._sum[c] += error[chosen].T @ inputs[chosen]

    def values(self) -> dict[str, tuple[int, ...]]:
        """See `StatisticExtractor`."""
        mean = self._sum / self._count.clamp_min(1.0)[:, None, None]
        largest = mean.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
        mean = mean * (bound_of("head-gradient") / largest).clamp_max(1.0)
        flat = torch.cat([mean[:, :, :-1].flatten(1), mean[:, :, -1]], dim=1)  # [C, C d + C]
        return {"head-gradient": to_fixed("head-gradient", np.array(floats(flat.flatten())))}


def given_head(context: Context) -> tuple[Tensor, Tensor]:
    """The classifier to take gradients at: weights [C, d] and biases [C], float32 on the device."""
    linear = context.head().linear
    weight = linear.weight.detach().float().clone()
    bias = bias_of(linear)
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float().clone()
    told = context.facts.get(HEAD, ())
    if len(told) == weight.numel() + bias.numel():
        flat = torch.tensor(list(told), dtype=torch.float32, device=weight.device)
        weight, bias = flat[: weight.numel()].reshape(weight.shape), flat[weight.numel() :]
    return weight, bias
