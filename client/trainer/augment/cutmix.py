"""CutMix (Yun et al., ICCV 2019, equations 1 to 3): a box of one image on another, labels by area."""

from __future__ import annotations

from roughfed.client.trainer.examples.image_mixing import beta_share, draw_box, numpy_draws, paste, shuffled
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def cutmix(options: Options, context: Context, _plan: Plan) -> Hooks:
    """One box a batch, in a share `chance` of the batches."""
    alpha, chance, rng = float(options["alpha"]), float(options["chance"]), numpy_draws(context)

    def transform(batch: Batch) -> Batch:
        if rng.random() >= chance:
            return batch
        height, width = batch.x.shape[-2:]
        box = draw_box(height, width, beta_share(alpha, rng), rng)
        return paste(batch, shuffled(batch, context), box)

    return Hooks(transform=transform)
