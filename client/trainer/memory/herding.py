"""Herding (iCaRL, Rebuffi et al., CVPR 2017, algorithm 4): examples whose mean feature is nearest to their class's.

Chosen at the end of each training, from its data and what is kept of the same classes, by the model as it is then.
Differs: iCaRL also classifies by the nearest mean; here the model's own head decides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, by_rank
from roughfed.client.trainer.memory._shared import classes_here, features_of, per_class, replace_class, shorten
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan


def herding(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; size is in examples, shared equally by the classes."""
    kept = ReplayBuffer("herding", int(options["size"]), context, order=by_rank)

    def end() -> dict[str, float]:
        share = per_class(kept, context)
        shorten(kept, share)
        for label, places in classes_here(context):
            candidates = _candidates(kept, context, label, places)
            features, logits = features_of(context, candidates.x)
            chosen = herd(features, share)
            best = candidates.take(chosen)
            replace_class(kept, label, kept.form.pack(best.x), best, logits[chosen])
        return {}

    return Hooks(end=end, memory=kept)


def herd(features: Tensor, count: int) -> Tensor:
    """Choose one after the other, each so that the mean of the chosen comes nearest to the mean of all.

    Args:
        features: [n, d]; scaled to length 1 here, as in the paper.
        count: how many; at most n are chosen.

    Returns:
        places, int64 [min(count, n)], in the order in which they were chosen.
    """
    unit = torch.nn.functional.normalize(features.double(), dim=1)  # [n, d]
    mean, chosen_sum = unit.mean(dim=0), torch.zeros_like(unit[0])
    free = torch.zeros(len(unit), dtype=unit.dtype, device=unit.device)
    chosen: list[Tensor] = []
    for k in range(1, min(count, len(unit)) + 1):
        distance = (k * mean - chosen_sum - unit).square().sum(dim=1)  # k^2 times the paper's
        best = (distance + free).argmin()
        free[best] = torch.inf
        chosen_sum = chosen_sum + unit[best]
        chosen.append(best)
    return torch.stack(chosen) if chosen else torch.zeros(0, dtype=torch.int64)


def _candidates(kept: ReplayBuffer, context: Context, label: int, places: Tensor) -> Batch:
    """The examples of a class that are here, and those that are kept and not here."""
    here = context.source.gather(places)
    mine = kept.rows((kept.labels == label).nonzero()[:, 0])
    mine = mine.take(~torch.isin(mine.ids, here.ids))
    parts = {name: torch.cat([getattr(here, name), getattr(mine, name)]) for name in ("x", "y", "ids", "at")}
    return Batch(**parts)
