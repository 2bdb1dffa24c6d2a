"""T learnt with the model (Li et al., "Provably End-to-end Label-noise Learning without Anchor Points", ICML 2021).

min CE(p @ T, y) + lambda log det T: of all matrices that explain the labels the one that spans the least volume.
T is the row-normalised I + sigmoid(w) off the diagonal; w has its own momentum SGD and no weight decay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.loss._shared import forward
from roughfed.client.trainer.optimize.sgd import SGD
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan

START = -2.0  # w of every wrong label, as in the reference
MOMENTUM = 0.9


def volminnet(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options lambda and lr (of w)."""
    weight, classes = float(options["lambda"]), context.num_classes
    state = context.state("volminnet")
    kept = state.get("weights", torch.full((classes, classes), START))
    w = kept.to(context.device).clone().requires_grad_()
    state["weights"] = w.detach()  # the same memory
    optimizer = SGD([w], lr=float(options["lr"]), momentum=MOMENTUM, weight_decay=0.0)

    def loss(output: Tensor, batch: Batch) -> Tensor:
        return forward(output, batch.y, matrix_of(w))

    def term(_outputs: Outputs, _batch: Batch) -> Tensor:
        return weight * matrix_of(w).slogdet().logabsdet

    def gradient() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return Hooks(loss=loss, term=term, gradient=gradient)


def matrix_of(w: Tensor) -> Tensor:
    """T of w: rows add up to 1, and the diagonal is the largest of its row. Both float32 [C, C]."""
    identity = torch.eye(len(w), device=w.device)
    matrix = identity + w.sigmoid() * (1 - identity)
    return matrix / matrix.sum(dim=1, keepdim=True)
