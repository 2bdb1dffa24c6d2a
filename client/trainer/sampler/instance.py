"""Instance-balanced sampling: every example once in an epoch (Kang et al., ICLR 2020, equation 1 with q = 1)."""

from __future__ import annotations

import torch

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def instance(_options: Options, context: Context, _plan: Plan) -> Hooks:
    """What the loop does anyway, said aloud; the order comes from the parts' own draws."""
    return Hooks(order=lambda: torch.randperm(context.source.num_examples, generator=context.generator))
