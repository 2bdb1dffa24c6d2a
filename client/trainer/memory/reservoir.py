"""A uniform sample of what came by (Vitter, "Random sampling with a reservoir", ACM TOMS 1985).

Differs: by fixed random ranks instead of a counter (`ReplayBuffer`). With every example offered once both
give the same distribution; where rounds bring examples again, this one stays uniform over examples.
"""

from __future__ import annotations

from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, by_rank, memory_hooks
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def reservoir(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; size is in examples."""
    return memory_hooks(ReplayBuffer("reservoir", int(options["size"]), context, order=by_rank), context, plan)
