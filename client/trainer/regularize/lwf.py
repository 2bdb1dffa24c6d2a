"""Learning without forgetting (Li and Hoiem, TPAMI 2018, equation 2): what the earlier model says of the new examples.

alpha T^2 KL(q || p) over the classes that the new data lack, q and p the softmax at temperature T of the earlier and
the present logits; over all classes where the data lack fewer than two: the softmax of one says nothing. The earlier
model is the one that the task began with, in a federation the one that all made together; without tasks the one that
the round began with. Nothing is held in the first task (without tasks: in a client's first round).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.examples.replay_buffer import logits_of
from roughfed.client.trainer.model.importance_penalty import task_ended
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan, Tensors

_MODEL = "model."


def lwf(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options alpha and t."""
    alpha, temperature = float(options["alpha"]), float(options["t"])
    state = context.state("lwf")
    teacher: list[nn.Module] = []
    held = held_classes(context.counts())

    def begin() -> None:
        if task_ended(context, state):
            state.update({_MODEL + name: t.detach().clone() for name, t in context.model.state_dict().items()})
        if any(name.startswith(_MODEL) for name in state):
            teacher.append(_restored(context.model, state))

    def term(outputs: Outputs, batch: Batch) -> Tensor:
        if not teacher:
            return torch.zeros((), device=context.device)
        with torch.no_grad():
            earlier = logits_of(plan.run(teacher[0], batch.x))
        now = logits_of(outputs[0])
        if len(now) != len(batch):  # a method with an objective of its own looked at other inputs
            now = logits_of(plan.run(context.model, batch.x))
        return alpha * distillation(now[:, held], earlier[:, held], temperature)

    return Hooks(begin=begin, term=term)


def held_classes(counts: Tensor) -> Tensor:
    """Which classes are held, bool [C]: those that the data lack, by their counts [C]; all if fewer than two."""
    absent = counts == 0
    return absent if int(absent.sum()) > 1 else torch.ones_like(absent)


def distillation(logits: Tensor, earlier: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(earlier / T) || softmax(logits / T)), the mean over a batch; both [B, C]."""
    now = functional.log_softmax(logits.float() / temperature, dim=1)
    then = functional.log_softmax(earlier.float() / temperature, dim=1)
    return temperature**2 * functional.kl_div(now, then, reduction="batchmean", log_target=True)


def _restored(model: nn.Module, state: Tensors) -> nn.Module:
    earlier = copy.deepcopy(model)
    earlier.load_state_dict({name.removeprefix(_MODEL): t for name, t in state.items() if name.startswith(_MODEL)})
    return earlier.eval().requires_grad_(False)
