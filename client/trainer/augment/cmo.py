"""Context-rich minority oversampling (Park et al., "The Majority Can Help the Minority", CVPR 2022, algorithm 1).

CutMix whose pasted box comes from rare classes and whose background is the ordinary batch. An example is drawn for a
box in proportion to 1 / n_c^weight, as in the authors' code; with weight 1 that makes every class equally often pasted.
Differs: a loss that adjusts for the class shares goes by those that the pasted labels make of them (`Context.pasted`);
with the shares of the data it would favour the tail twice.
It rests in the first and the last 3 of 200 parts of the run, as there, so that the end is learnt from whole images.
"""

from __future__ import annotations

import numpy as np

from roughfed.client.trainer.examples.draws import draw_by_class, labels_of
from roughfed.client.trainer.examples.image_mixing import beta_share, draw_box, numpy_draws, paste
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan

REST = 3 / 200


def cmo(options: Options, context: Context, _plan: Plan) -> Hooks:
    """One box a batch, in a share `chance` of the batches."""
    alpha, chance, rng = float(options["alpha"]), float(options["chance"]), numpy_draws(context)
    targets, counts = labels_of(context), context.counts()
    shares = counts * counts.clamp_min(1) ** -float(options["weight"])  # of the classes, [C]
    context.pasted = chance * mean_box(alpha), shares / shares.sum().clamp_min(1e-12)

    def transform(batch: Batch) -> Batch:
        if not REST <= context.progress < 1 - REST or rng.random() >= chance:
            return batch
        at = draw_by_class(targets, shares, len(batch), context.generator)
        height, width = batch.x.shape[-2:]
        box = draw_box(height, width, beta_share(alpha, rng), rng)
        return paste(batch, context.source.gather(at), box)

    return Hooks(transform=transform)


def mean_box(alpha: float) -> float:
    """The mean area of a box as a part of the image, cut at the border.

    A side of the length r (1 - lambda = r^2) with its centre anywhere keeps r - r^2 / 4 on average.
    """
    side = np.sqrt(1 - np.random.default_rng(0).beta(alpha, alpha, 20_000))
    return float(((side - side**2 / 4) ** 2).mean())
