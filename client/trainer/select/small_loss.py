"""Small losses are believed (Arpit et al., ICML 2017; Jiang et al., ICML 2018), class by class.

A network learns right labels first, so at any time the examples with the largest losses are those whose labels are
most likely wrong. The share that is believed falls from 1 to 1 - rate over the ramp. An example is ranked among those
*of its own label*: a rare class has larger losses than a common one, and against all others it would look like noise.
What is ranked is a running mean of an example's losses, kept by its id, and who is believed is settled before each
epoch: one loss swings from step to step, and a limit taken from older losses can shut out a whole class.

The rate is given, or estimated once for each class from the confident joint of an early look (`early.py`).
Differs: the usual mixture of two normals does not estimate the rate; on clean images an early model's losses already
fall into two heaps, of easy and of hard examples, and the mixture called a third of the labels wrong where the
confident joint called 9 % wrong (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.belief import grown
from roughfed.client.trainer.early import Early
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.views import ById, ids_of

PART = "small-loss"
LEAST = 0.3  # of a class is always believed
MEMORY = 0.7  # of the running mean, from one epoch to the next
LOSS, LABEL, BELIEVED = range(3)


def small_loss(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options rate, ramp and warmup."""
    rate, ramp, classes = float(options["rate"]), float(options["ramp"]), context.num_classes
    kept = ById(context.state(PART), ids_of(context.source), 3, fill=float("nan"))
    early = Early(context, f"{PART}-early", warmup=float(options["warmup"]))

    def epoch() -> None:
        if not rate:
            early.epoch()
        wrong = torch.full((classes,), rate) if rate else early.wrong_of_class
        if wrong is not None:
            share = (wrong * grown(context.progress, ramp)).clamp_max(1 - LEAST)
            kept.rows[:, BELIEVED] = believed(kept.rows[:, LOSS], kept.rows[:, LABEL], 1 - share).float()

    def select(losses: Tensor, _outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        at, known = kept.find(batch.ids)
        value, row = losses.detach().mean(dim=0).float(), kept.rows[at]  # [B], [B, 3]
        fresh = row[:, LOSS].isnan() | (row[:, LABEL] != batch.y)
        mean = torch.where(fresh, value, MEMORY * row[:, LOSS] + (1 - MEMORY) * value)
        kept.rows[at[known], LOSS] = mean[known]
        kept.rows[at[known], LABEL] = batch.y.float()[known]
        weights = torch.where(known & (row[:, BELIEVED] == 0), 0.0, 1.0)
        return losses, weights.to(losses.dtype).expand_as(losses)

    return Hooks(epoch=epoch, select=select)


def believed(losses: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Which examples are among the smallest losses of their label.

    Args:
        losses: float32 [N]; NaN where none is known: those are believed.
        labels: class numbers as float32 [N].
        keep: share of each class, float32 [C], 0..1; at least one example of a class is believed.

    Returns:
        bool [N].
    """
    chosen = losses.isnan()
    for c, share in enumerate(keep.tolist()):
        own = ((labels == c) & ~losses.isnan()).nonzero()[:, 0]
        if len(own):
            count = max(1, round(share * len(own)))
            chosen[own[losses[own].topk(count, largest=False).indices]] = True
    return chosen
