"""Forward and backward correction (Patrini et al., CVPR 2017, theorems 2 and 1), with T given, estimated or global.

Forward: the cross-entropy of p @ T, what the labels would look like if p were right. Backward: T^-1 applied to the
losses of all classes, whose mean over wrong labels is the loss of the right one. As long as T is not known, both are
the cross-entropy. `dual-t` is the forward correction with the T of Yao et al. (NeurIPS 2020).

With q above 0 the forward correction is the generalised cross-entropy (Zhang & Sabuncu, NeurIPS 2018, equation 6) of
p @ T instead: an estimated T is never quite right, and what it does not explain pulls less.

Differs: the backward correction is not bounded from below, and runs away with a poor T. So p is held above 1e-4 there,
and a T whose smallest singular value is below 0.25 is drawn towards the identity until it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.loss._shared import Transition, forward
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Plan

SMALLEST = 1e-4  # of p, in the backward correction
SINGULAR = 0.25  # least singular value of a matrix that is inverted


def forward_correction(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options t, rate, flips, warmup and q."""
    q = float(options["q"])

    def correct(output: Tensor, target: Tensor, matrix: Tensor) -> Tensor:
        loss = forward(output, target, matrix)
        return (1 - (-q * loss).exp()) / q if q else loss

    return _corrected(correct, Transition(options, context, "forward-correction"))


def dual_t(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; option warmup."""
    return _corrected(forward, Transition({**options, "t": "dual"}, context, "dual-t"))


def backward_correction(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; options t, rate, flips and warmup."""
    inverted: dict[str, Tensor] = {}  # of, is: inverted once for each matrix, not in each step

    def correct(output: Tensor, target: Tensor, matrix: Tensor) -> Tensor:
        if inverted.get("of") is not matrix:
            inverted.update({"of": matrix, "is": inverse(matrix)})
        return backward(output, target, inverted["is"])

    return _corrected(correct, Transition(options, context, "backward-correction"))


def _corrected(correct: Callable[[Tensor, Tensor, Tensor], Tensor], transition: Transition) -> Hooks:
    def loss(output: Tensor, batch: Batch) -> Tensor:
        matrix = transition.matrix()
        if matrix is None:
            return functional.cross_entropy(output.float(), batch.y, reduction="none")
        return correct(output, batch.y, matrix)

    return Hooks(epoch=transition.epoch, loss=loss)


def backward(output: Tensor, target: Tensor, inverse_matrix: Tensor) -> Tensor:
    """(T^-1 l)_y by example, l = -log p.

    Args:
        output: logits, any float type [B, C].
        target: labels as given, int64 [B].
        inverse_matrix: T^-1, float32 [C, C].

    Returns:
        float32 [B]; may be negative.
    """
    losses = -output.float().softmax(dim=1).clamp_min(SMALLEST).log()  # [B, C]
    return (inverse_matrix[target] * losses).sum(dim=1)


def inverse(matrix: Tensor) -> Tensor:
    """T^-1, float32 [C, C]; of the nearest mixture with I that can be inverted well."""
    identity = torch.eye(len(matrix), device=matrix.device)
    for tenths in range(11):
        mixed = torch.lerp(matrix, identity, tenths / 10)
        if cast("Tensor", torch.linalg.matrix_norm(mixed, ord=-2)) >= SINGULAR:
            return mixed.inverse()
    return identity
