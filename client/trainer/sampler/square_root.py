"""Square-root sampling: a class as often as the root of its size (Kang et al., ICLR 2020, equation 1 with q = 1/2)."""

from __future__ import annotations

from roughfed.client.trainer.examples.draws import draw_by_class, labels_of
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def square_root_sampling(_options: Options, context: Context, _plan: Plan) -> Hooks:
    """As many draws as there are examples, with replacement."""
    targets, shares = labels_of(context), context.counts().sqrt()
    return Hooks(order=lambda: draw_by_class(targets, shares, len(targets), context.generator))
