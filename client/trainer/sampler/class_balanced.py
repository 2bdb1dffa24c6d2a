"""Class-balanced sampling: every class equally often (Kang et al., ICLR 2020, equation 1 with q = 0).

Classes that a client has not got stay away.
"""

from __future__ import annotations

from roughfed.client.trainer.examples.draws import draw_by_class, equal_shares, labels_of
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def class_balanced_sampling(_options: Options, context: Context, _plan: Plan) -> Hooks:
    """As many draws as there are examples, with replacement."""
    targets, shares = labels_of(context), equal_shares(context.counts())
    return Hooks(order=lambda: draw_by_class(targets, shares, len(targets), context.generator))
