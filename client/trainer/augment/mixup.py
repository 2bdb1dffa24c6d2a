"""MixUp (Zhang et al., ICLR 2018, equation 1): blends of two examples of a batch, with the blend of their losses."""

from __future__ import annotations

from roughfed.client.trainer.examples.image_mixing import beta_share, blend, mixed, numpy_draws, shuffled
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def mixup(options: Options, context: Context, _plan: Plan) -> Hooks:
    """One share a batch, from Beta(alpha, alpha)."""
    alpha, rng = float(options["alpha"]), numpy_draws(context)

    def transform(batch: Batch) -> Batch:
        second, share = shuffled(batch, context), beta_share(alpha, rng)
        return mixed(batch, blend(batch, second, share), second, share)

    return Hooks(transform=transform)
