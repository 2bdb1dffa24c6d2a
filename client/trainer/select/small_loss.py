"""Small losses are believed (Arpit et al., ICML 2017; Jiang et al., ICML 2018), class by class.

A network learns right labels first, so at any time the examples with the largest losses are those whose labels are
most likely wrong. The share that is believed falls from 1 to 1 - rate over the ramp. An example is ranked among those
*of its own label*: a rare class has larger losses than a common one, and against all others it would look like noise.
What is ranked is the running mean of its predictions, kept by its id, and who is believed is settled before each
epoch: one loss swings from step to step, and a limit taken from older losses can shut out a whole class.

An example that is not believed gets the class that its mean prediction is sure of (`relabel`), after SELFIE (Song et
al., ICML 2019, section 3), or else counts nothing.

The rate is given, or estimated once for each class from the confident joint of an early look (`early.py`).
Differs: the usual mixture of two normals does not estimate the rate; on clean images an early model's losses already
fall into two heaps, of easy and of hard examples, and the mixture called a third of the labels wrong where the
confident joint called 9 % wrong (docs/benchmarks.md). Confidence in place of SELFIE's entropy of past predictions.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from roughfed.client.trainer.examples.views import ById, ids_of
from roughfed.client.trainer.labels.early_estimate import EarlyEstimate
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.select._shared import grown
from roughfed.client.trainer.torch_types import floats

PART = "small-loss"
LEAST = 0.3  # of a class is always believed
MEMORY = 0.7  # of the running mean, from one epoch to the next
LABEL, BELIEVED, CLASSES = 0, 1, 2  # columns; from the third on the mean prediction


def small_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options rate, ramp, warmup and relabel."""
    work = SmallLoss(options, context)
    return Hooks(epoch=work.epoch, transform=work.transform, select=work.select)


class SmallLoss:
    """One training."""

    def __init__(self, options: Options, context: Context) -> None:
        """Read the options, and find what is known of the examples."""
        self._context, self._rate, self._ramp = context, float(options["rate"]), float(options["ramp"])
        self._relabel = float(options["relabel"]) or math.inf
        width = CLASSES + context.num_classes
        self._kept = ById(context.state(PART), ids_of(context.source), width, fill=float("nan"))
        self._early = EarlyEstimate(context, f"{PART}-early", warmup=float(options["warmup"]))

    def epoch(self) -> None:
        """Settle who is believed in this epoch."""
        if not self._rate:
            self._early.epoch()
        classes, rows = self._context.num_classes, self._kept.rows
        wrong = torch.full((classes,), self._rate) if self._rate else self._early.wrong_of_class
        if wrong is None:
            return
        share = (wrong * grown(self._context.progress, self._ramp)).clamp_max(1 - LEAST)
        labels = rows[:, LABEL].nan_to_num(0.0).long()
        losses = 1 - rows[:, CLASSES:].gather(1, labels[:, None])[:, 0]
        rows[:, BELIEVED] = believed(losses, labels, 1 - share).float()

    def transform(self, batch: Batch) -> Batch:
        """Give those that are not believed the class that is predicted for them."""
        at, known = self._kept.find(batch.ids)
        self._kept.rows[at[known], LABEL] = batch.y[known].float()
        chance, predicted = self._kept.rows[at, CLASSES:].max(dim=1)
        mended = known & (self._kept.rows[at, BELIEVED] == 0) & (chance >= self._relabel)
        return replace(batch, y=torch.where(mended, predicted, batch.y))

    def select(self, losses: Tensor, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Note the predictions; leave out who is neither believed nor mended (what is replayed is not)."""
        at, known = self._kept.find(batch.ids)
        rows = self._kept.rows
        p = mean_prediction(outputs)
        row = rows[at]
        chance, predicted = row[:, CLASSES:].max(dim=1)
        mended = (chance >= self._relabel) & (batch.y == predicted)
        out = known & (row[:, BELIEVED] == 0) & ~mended
        row[:, CLASSES:] = torch.where(row[:, CLASSES:].isnan(), p, MEMORY * row[:, CLASSES:] + (1 - MEMORY) * p)
        rows[at[known]] = row[known]
        return losses, torch.where(out, 0.0, 1.0).to(losses.dtype).expand_as(losses)


def mean_prediction(outputs: Outputs) -> Tensor:
    """Float32 [B, C], over networks, and over their experts."""
    each = [output.detach().float().softmax(dim=-1) for output in outputs]
    return torch.stack([p.mean(dim=0) if p.dim() > 2 else p for p in each]).mean(dim=0)


def believed(losses: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Which examples are among the smallest losses of their label.

    Args:
        losses: float32 [N], or whatever grows with them; NaN where none is known: those are believed.
        labels: class numbers [N].
        keep: share of each class, float32 [C], 0..1; at least one example of a class is believed.

    Returns:
        bool [N].
    """
    chosen = losses.isnan()
    for c, share in enumerate(floats(keep)):
        own = ((labels == c) & ~losses.isnan()).nonzero()[:, 0]
        if len(own):
            count = max(1, round(share * len(own)))
            chosen[own[losses[own].topk(count, largest=False).indices]] = True
    return chosen
