"""FedAvg's server step, params + lr * delta (Reddi et al., ICLR 2021, https://arxiv.org/abs/2003.00295, alg. 1)."""

from __future__ import annotations

import numpy as np

from roughfed.params import Flat


def sgd(params: Flat, delta: Flat, lr: float) -> Flat:
    """One step.

    Args:
        params: float32 [n], unchanged.
        delta: float32 [n], the mean of local minus global parameters; unchanged.
        lr: server learning rate; 1.0 is FedAvg.

    Returns:
        float32 [n].
    """
    return params + (delta if lr == 1.0 else np.float32(lr) * delta)
