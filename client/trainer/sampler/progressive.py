"""Progressively balanced sampling: from every example to every class alike (Kang et al., ICLR 2020, equation 2).

Differs: t / T is the share of the whole run that is over, not of one training.
"""

from __future__ import annotations

from torch import Tensor

from roughfed.client.trainer.examples.draws import draw_by_class, equal_shares, labels_of
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def progressive_sampling(_options: Options, context: Context, _plan: Plan) -> Hooks:
    """As many draws as there are examples, with replacement, by the shares of the moment."""
    targets, counts = labels_of(context), context.counts()

    def order() -> Tensor:
        shares = progressive_shares(counts, context.progress)
        return draw_by_class(targets, shares, len(targets), context.generator)

    return Hooks(order=order)


def progressive_shares(counts: Tensor, progress: float) -> Tensor:
    """(1 - t/T) n_c / N + (t/T) / C, float64 [C]; C counts the classes that are there."""
    instance = counts.double() / counts.double().sum().clamp_min(1)
    return (1 - progress) * instance + progress * equal_shares(counts)
