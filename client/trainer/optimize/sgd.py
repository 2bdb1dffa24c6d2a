"""Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al., ICML 2013, without their Nesterov form).

The same arithmetic as `torch.optim.SGD`, whose first use imports torch's compiler: that costs every client a second of
CPU time, and half of one more when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

# One launch for all tensors on a GPU; torch's own optimizers call nothing else, yet it is private and without types.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
add: Any = torch._foreach_add
add_: Any = torch._foreach_add_
mul_: Any = torch._foreach_mul_


class SGD:
    """Steps along the gradients of some parameters; the momentum starts afresh with the object."""

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        """Keep the parameters; `weight_decay` is an L2 penalty added to the gradient."""
        self._params = list(params)
        self.lr = lr
        self._momentum, self._weight_decay = momentum, weight_decay
        self._velocity: dict[int, Tensor] = {}  # by position

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for param in self._params:
            param.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step; a parameter without a gradient stays where it is."""
        moved = [(at, p, p.grad) for at, p in enumerate(self._params) if p.grad is not None]
        if not moved:
            return
        params, grads = [p for _, p, _ in moved], [grad for _, _, grad in moved]
        if self._weight_decay:
            grads = add(grads, params, alpha=self._weight_decay)
        if self._momentum:
            grads = self._accelerated([at for at, _, _ in moved], grads)
        add_(params, grads, alpha=-self.lr)

    def _accelerated(self, places: Sequence[int], grads: Sequence[Tensor]) -> list[Tensor]:
        old = [at for at in places if at in self._velocity]
        if old:
            mul_([self._velocity[at] for at in old], self._momentum)
        for at, grad in zip(places, grads, strict=True):
            if at in self._velocity:
                self._velocity[at].add_(grad)
            else:
                self._velocity[at] = grad.clone()
        return [self._velocity[at] for at in places]
