"""Experience replay (Chaudhry et al., "On tiny episodic memories in continual learning", 2019).

Differs: the value is the mean over the new examples plus `weight` times the mean over the remembered ones. One mean
over both, as others have it, is half of that where they are as many: this has the steps of that at twice the learning
rate.
Where a loss adjusts by class shares, half of the shares are those of the memory (`client/trainer/labels/prior.py`).
"""

from __future__ import annotations

from torch import Tensor

from roughfed.client.trainer.examples.replay_gradients import memory_of, replayed_value
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def er(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options batch and weight."""
    memory, count, weight = memory_of(context), int(options["batch"]), float(options["weight"])

    def term(_outputs: Outputs, _batch: Batch) -> Tensor:
        return weight * replayed_value(context, plan, memory.draw(count))

    return Hooks(term=term)
