"""Rejects examples that are of no class at all: no transition matrix and no corrected label can mend those.

Score by energy -logsumexp z (Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020, equation 5) or by
confidence 1 - max p (Hendrycks & Gimpel, ICLR 2017). After a warm-up, before each epoch, the examples with the largest
scores are left out of it: the share `rate`; with rate 0, those beyond the median by more than three deviations
(1.4826 times the median distance from it). Both are counted among the examples of the same given label: a rare class
has low confidence as a whole, and must not be rejected as one.

N examples, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.views import Look, look
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.torch_types import distinct

DEVIATIONS = 3.0
NORMAL = 1.4826  # median distance of a normal distribution -> its standard deviation
FEWEST = 8  # examples of a class, below which none of them is an outlier


def ood_reject(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options score, rate and warmup."""
    rate, warmup, by_energy = float(options["rate"]), float(options["warmup"]), options["score"] == "energy"
    kept = torch.ones(context.source.num_examples, device=context.device)  # [N], by place

    def epoch() -> None:
        if context.progress >= warmup:
            found = look(context.model, context.source)
            kept.copy_(~rejected(energy(found) if by_energy else doubt(found), found.labels, rate))

    def select(losses: Tensor, _outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        own = batch.at >= 0  # a memory's examples were let in before
        weights = torch.where(own, kept[batch.at.clamp_min(0)], 1.0)
        return losses, weights.to(losses.dtype).expand_as(losses)

    def end() -> dict[str, float]:
        return {"rejected": float(1 - kept.mean())}

    return Hooks(epoch=epoch, select=select, end=end)


def energy(found: Look) -> Tensor:
    """Float32 [N], larger for what fits no class."""
    return -found.logits.logsumexp(dim=1)


def doubt(found: Look) -> Tensor:
    """Float32 [N], 0 to 1 - 1/C."""
    return 1 - found.probabilities.max(dim=1).values


def rejected(scores: Tensor, labels: Tensor, rate: float) -> Tensor:
    """Which examples are left out: bool [N] of scores float32 [N], labels int64 [N] and a share 0..1."""
    out = torch.zeros_like(scores, dtype=torch.bool)
    for c in distinct(labels):
        own = labels == c
        values = scores[own]
        if len(values) < FEWEST:
            continue
        if rate:
            limit = values.sort().values[max(0, round((1 - rate) * len(values)) - 1)]
        else:
            middle = values.median()
            limit = middle + DEVIATIONS * NORMAL * (values - middle).abs().median()
        out[own] = values > limit
    return out
