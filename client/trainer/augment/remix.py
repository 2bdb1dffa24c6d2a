"""Remix (Chou et al., ECCV Workshops 2020, equation 6): MixUp whose labels lean to the rarer class."""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.image_mixing import beta_share, blend, mixed, numpy_draws, shuffled
from roughfed.client.trainer.labels.prior import class_counts
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def remix(options: Options, context: Context, _plan: Plan) -> Hooks:
    """One share of the inputs a batch, from Beta(alpha, alpha); shares of labels by the classes' sizes."""
    alpha, kappa, tau = (float(options[name]) for name in ("alpha", "kappa", "tau"))
    counts, rng = class_counts(context).clamp_min(1), numpy_draws(context)

    def transform(batch: Batch) -> Batch:
        second, share = shuffled(batch, context), beta_share(alpha, rng)
        ratio = counts[batch.y] / counts[second.y]  # [B]
        return mixed(batch, blend(batch, second, share), second, label_shares(ratio, share, kappa, tau))

    return Hooks(transform=transform)


def label_shares(ratio: Tensor, share: float, kappa: float, tau: float) -> Tensor:
    """lambda_y of each pair, float32 [B]; ratio n_i / n_j [B] of the classes' sizes, lambda = share.

    0 (all to the second) where the first's class is kappa times larger and lambda < tau; 1 where it is kappa times
    smaller and 1 - lambda < tau; lambda elsewhere.
    """
    shares = torch.full_like(ratio, share)
    if share < tau:
        shares = shares.masked_fill(ratio >= kappa, 0.0)
    if 1 - share < tau:
        shares = shares.masked_fill(ratio <= 1 / kappa, 1.0)
    return shares
