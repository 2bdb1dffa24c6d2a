"""Distillation from the round's global model, the second stage of FedNoRo (Wu et al., IJCAI 2023, equation 8).

The value of a step becomes (1 - w) * method + w * KL(p_T || p): the labels count less, what all clients agree on more.
w rises to `weight` along the ramp of Laine & Aila (ICLR 2017), exp(-5 (1 - t)^2).

Differs: not the server but the client finds out whether it is noisy (`LabelQuality`); the method may be
any, the paper's is a logit-adjusted loss. The whole rest of the step is scaled by 1 - w, other regularisers too.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.labels.label_quality import noted
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan


def global_distillation(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; it does nothing in a client that does not doubt its labels, unless `who` is all."""
    sharp, whom = float(options["temperature"]), str(options["who"])
    teacher: list[nn.Module] = []
    weight = [0.0]

    def begin() -> None:
        if whom == "all" or noted(context.remembered).noisy:
            weight[0] = float(options["weight"]) * ramp(context.progress / float(options["ramp"]))
            teacher.append(copy.deepcopy(context.model).eval().requires_grad_(False))

    def term(outputs: Outputs, batch: Batch) -> Tensor:
        if not teacher:
            return outputs[0].new_zeros(())
        with torch.no_grad():
            target = mixed(plan.run(teacher[0], batch.x)).div(sharp).softmax(dim=1)  # [B, C]
        divergence = functional.kl_div(mixed(outputs[0]).log_softmax(dim=1), target, reduction="batchmean")
        return weight[0] / (1 - weight[0]) * divergence

    def gradient() -> None:  # the sum of both by 1 - w: the method's own value is not at hand alone
        for grad in [p.grad for p in context.model.parameters() if p.grad is not None and teacher]:
            grad.mul_(1 - weight[0])

    return Hooks(begin=begin, term=term, gradient=gradient)


def ramp(share: float) -> float:
    """From e^-5 at 0 to 1 at 1 and beyond."""
    return math.exp(-5 * (1 - min(max(share, 0.0), 1.0)) ** 2)


def mixed(output: Tensor) -> Tensor:
    """Logits float32 [B, C]; of experts [K, B, C] their mean."""
    return (output.mean(dim=0) if output.dim() == 3 else output).float()
