"""As many examples of each class (after Chrysakis and Moens, "Online continual learning from imbalanced data", 2020).

Within a class the sample is uniform. Differs: a class gives way when another one needs its place, by fixed random ranks
instead of counters (`ReplayBuffer`); classes with few examples keep all of them, and the others share what
is left.
"""

from __future__ import annotations

from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, balanced, memory_hooks
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def class_balanced_memory(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; size is in examples."""
    return memory_hooks(
        ReplayBuffer("class-balanced-memory", int(options["size"]), context, order=balanced), context, plan
    )
