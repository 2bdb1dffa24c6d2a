"""FedRep (Collins et al., ICML 2021, https://arxiv.org/abs/2102.07078, algorithm 1): a common body, heads of one's own.

The private tensors (`model.private`) are the head. Of the epochs of each round the first `head` train it on a body that
stands still, the others the body under a head that stands still; only the body is sent. What stands still is the same
to the bit: neither weight decay nor momentum moves it, and layers whose running statistics would move are in evaluation
mode.
"""

from __future__ import annotations

from collections.abc import Set

from torch import nn

from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.errors import ConfigError

KEY = "trainer.method"


def fedrep(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; option head."""
    heads, own = int(options["head"]), context.private
    shared = {name for name, _ in (*context.model.named_parameters(), *context.model.named_buffers())} - own

    def begin() -> None:
        if context.steps <= heads * context.source.num_batches(context.settings.batch_size):
            cause = f"fedrep(head={heads}) trains the head for {heads} epochs, and the training is over by then"
            raise ConfigError(cause, key=KEY, cure="raise trainer.epochs (or trainer.max_steps) above that")

    def still() -> Set[str]:
        return shared if context.epoch < heads else own

    def gradient() -> None:
        frozen = still()
        for name, p in context.model.named_parameters():
            if name in frozen:
                p.grad = None  # a gradient of zeros would let weight decay move it

    return Hooks(begin=begin, epoch=lambda: hold_statistics(context.model, still()), gradient=gradient, use=lambda: 0)


def hold_statistics(model: nn.Module, still: Set[str]) -> None:
    """Put layers into evaluation mode whose buffers stand still, and all others into training mode."""
    for name, module in model.named_modules():
        buffers = {f"{name}.{key}".removeprefix(".") for key, _ in module.named_buffers(recurse=False)}
        module.training = buffers.isdisjoint(still)
