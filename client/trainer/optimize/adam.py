"""Adam (Kingma & Ba, ICLR 2015, Algorithm 1) and AdamW (Loshchilov & Hutter, ICLR 2019, Algorithm 2).

The same arithmetic as torch's, without its import of torch's compiler (see `sgd`). beta1 is the setting `momentum`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from roughfed.client.trainer.optimize.sgd import add, mul_

# As in `sgd`: private, and without types.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
add_: Any = torch._foreach_add_
addcdiv_: Any = torch._foreach_addcdiv_
addcmul_: Any = torch._foreach_addcmul_
div_: Any = torch._foreach_div_
lerp_: Any = torch._foreach_lerp_
sqrt: Any = torch._foreach_sqrt

BETA2 = 0.999
EPSILON = 1e-8


class Adam:
    """Steps along gradients that are scaled by their own size; the moments start afresh with the object."""

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float, decoupled: bool = False
    ) -> None:
        """Keep the parameters.

        Args:
            params: what moves.
            lr: learning rate, alpha; may be changed between steps.
            momentum: beta1.
            weight_decay: an L2 penalty added to the gradient, or else
            decoupled: taken off the parameters themselves, lr * weight_decay of them in each step (AdamW).
        """
        self._params = list(params)
        self.lr = lr
        self._beta, self._weight_decay, self._decoupled = momentum, weight_decay, decoupled
        self._moments: dict[int, tuple[Tensor, Tensor]] = {}  # by position
        self._steps: dict[int, int] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for param in self._params:
            param.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step; a parameter without a gradient stays where it is, and its moments too."""
        moved = [(at, p, p.grad) for at, p in enumerate(self._params) if p.grad is not None]
        if not moved:
            return
        places, params, grads = [at for at, _, _ in moved], [p for _, p, _ in moved], [grad for _, _, grad in moved]
        if self._weight_decay and self._decoupled:
            mul_(params, 1 - self.lr * self._weight_decay)
        elif self._weight_decay:
            grads = add(grads, params, alpha=self._weight_decay)
        first, second = self._updated(places, params, grads)
        counts = [self._steps[at] for at in places]
        spread = sqrt(second)
        div_(spread, [math.sqrt(1 - BETA2**count) for count in counts])
        add_(spread, EPSILON)
        addcdiv_(params, first, spread, [-self.lr / (1 - self._beta**count) for count in counts])

    def _updated(
        self, places: Sequence[int], params: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The moments of these parameters, with these gradients in them."""
        for at, param in zip(places, params, strict=True):
            self._steps[at] = self._steps.get(at, 0) + 1
            if at not in self._moments:
                self._moments[at] = (torch.zeros_like(param), torch.zeros_like(param))
        first, second = [self._moments[at][0] for at in places], [self._moments[at][1] for at in places]
        lerp_(first, grads, 1 - self._beta)
        mul_(second, BETA2)
        addcmul_(second, grads, grads, 1 - BETA2)
        return first, second
