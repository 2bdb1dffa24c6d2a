"""FedRep (Collins et al., ICML 2021, https://arxiv.org/abs/2102.07078, algorithm 1): a common body, heads of one's own.

The private tensors (`model.private`) are the head. Of the epochs of each round the first `head` train it on a body that
stands still, the others the body under a head that stands still; only the body is sent. What stands still is the same
to the bit: neither weight decay nor momentum moves it, and layers whose running statistics would move are in evaluation
mode.
"""

from __future__ import annotations

from collections.abc import Set

from torch import nn

from roughfed.client.trainer.model.tensors import frozen_names, named_state
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.errors import ConfigError

KEY = "trainer.method"


def fedrep(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; option head."""
    heads, model = int(options["head"]), context.model
    own, base = ids_of(model, context.scope.private), ids_of(model, frozen_names(model) | context.scope.frozen)
    shared = {id(tensor) for tensor in (*model.parameters(), *model.buffers())} - own

    def begin() -> None:
        if context.at.steps <= heads * context.source.num_batches(context.settings.batch_size):
            cause = f"fedrep(head={heads}) trains the head for {heads} epochs, and the training is over by then"
            raise ConfigError(cause, key=KEY, cure="raise trainer.epochs (or trainer.max_steps) above that")

    def still() -> Set[int]:
        return shared if context.at.epoch < heads else own | base

    def gradient() -> None:
        frozen = still()
        for p in model.parameters():
            if id(p) in frozen:
                p.grad = None  # a gradient of zeros would let weight decay move it

    return Hooks(begin=begin, epoch=lambda: hold_statistics(model, still()), gradient=gradient, use=lambda: 0)


def ids_of(model: nn.Module, names: Set[str]) -> set[int]:
    """Identities of a model's tensors with these names, those of the run: an adapted layer has others in the model."""
    return {id(tensor) for name, tensor in named_state(model) if name in names}


def hold_statistics(model: nn.Module, still: Set[int]) -> None:
    """Put layers into evaluation mode whose buffers stand still, and all others into training mode."""
    for module in model.modules():
        module.training = still.isdisjoint(map(id, module.buffers(recurse=False)))
