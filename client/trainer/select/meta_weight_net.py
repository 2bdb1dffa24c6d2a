"""Meta-Weight-Net (Shu et al., NeurIPS 2019, equations 3-6): how much a loss counts is learnt on trusted examples.

V(loss) is a network 1-100-1 with a sigmoid. Before each step the model takes a virtual one with the weights V gives;
V learns, by Adam, to make the loss of a clean batch after that step small. Then the real step takes V's new weights.

Differs: the virtual step has the learning rate of the loop but not its momentum; weights of a batch are scaled by their
sum, in the virtual step as in the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from roughfed.client.trainer.examples.batches import Source
from roughfed.client.trainer.model.importance_penalty import learning_rate
from roughfed.client.trainer.optimize.adam import Adam
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.torch_types import gradients_of
from roughfed.errors import ConfigError

PART = "meta-weight-net"
HIDDEN = 100
DECAY = 1e-4  # L2 penalty on V, as in the reference

Loss = Callable[[Tensor], Tensor]
"""Logits [B, C] of a batch -> losses [B]."""


def meta_weight_net(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options lr (of V) and batch (clean examples a step)."""
    if context.clean is None:  # `choose.check` refuses it before
        raise ConfigError(f"{PART} needs a few examples with trusted labels", key="trainer.method")
    weigher, state = _weigher(context), context.state(PART)
    optimizer = Adam(weigher.parameters(), lr=float(options["lr"]), momentum=0.9, weight_decay=DECAY)
    clean = _endless(context.clean, int(options["batch"]), context.generator)

    def select(losses: Tensor, _outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        x, y = next(clean)
        optimizer.zero_grad()
        after = virtual_step(
            context.model, weigher, batch.x, lambda output: plan.losses(output, batch), lr=learning_rate(context)
        )
        output = functional_call(context.model, after, x)
        gradients = torch.autograd.grad(functional.cross_entropy(output.float(), y), list(weigher.parameters()))
        for parameter, gradient in zip(weigher.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        with torch.no_grad():
            weights = weigher(losses.detach().reshape(-1, 1)).reshape(losses.shape)
        return losses, weights

    def end() -> dict[str, float]:
        state.update({name: tensor.detach() for name, tensor in weigher.state_dict().items()})
        return {}

    return Hooks(select=select, end=end)


def virtual_step(model: nn.Module, weigher: nn.Module, x: Tensor, loss: Loss, *, lr: float) -> dict[str, Tensor]:
    """The model's tensors after one step with V's weights; differentiable in V, and the model itself stays.

    Args:
        model: [B, ...] -> [B, C].
        weigher: V, losses [B, 1] -> weights [B, 1].
        x: [B, ...].
        loss: of the batch.
        lr: of the step.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rest = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    rest |= {name: buffer.clone() for name, buffer in model.named_buffers()}  # a forward pass may change them
    losses = loss(functional_call(model, {**trained, **rest}, x))
    weights = weigher(losses.detach().reshape(-1, 1)).reshape(losses.shape)
    value = (weights * losses).sum() / weights.sum().clamp_min(1e-12)
    gradients = gradients_of(value, list(trained.values()), create_graph=True)
    moved = {
        name: p if gradient is None else p - lr * gradient
        for (name, p), gradient in zip(trained.items(), gradients, strict=True)
    }
    return {**moved, **rest}


def _weigher(context: Context) -> nn.Module:
    """V, as it was after the last round."""
    weigher = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Sigmoid())
    kept = context.state(PART)
    weigher.to(context.device)
    if kept:
        weigher.load_state_dict(kept)
    else:
        with torch.no_grad():
            for parameter in weigher.parameters():  # torch's own initialisation, from the training's own generator
                bound = 1.0 if parameter.shape[0] == HIDDEN else HIDDEN**-0.5
                drawn = torch.rand(parameter.shape, generator=context.generator)
                parameter.copy_((2 * drawn - 1) * bound)
    return weigher


def _endless(source: Source, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        seed = int(torch.randint(1 << 31, (1,), generator=generator))
        yield from source.epoch(batch_size, seed)
