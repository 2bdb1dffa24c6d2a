"""GEM (Lopez-Paz and Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017, equations 8 to 11).

One constraint for each earlier task that the memory holds examples of, from a draw of `batch` of them. Without tasks
the memory is one task. The dual is a problem in as many unknowns as there are constraints, solved exactly.
T tasks, D parameters.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roughfed.client.trainer.examples.replay_gradients import flat_grad, grad_of, learning, memory_of, set_grad
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan
from roughfed.client.trainer.torch_types import distinct, integers

RIDGE = 1e-6  # of the mean square norm: gradients of two tasks may be parallel
Matrix = NDArray[np.float64]


def gem(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options batch (examples of each task) and margin."""
    memory, count, params = memory_of(context), int(options["batch"]), learning(context)
    margin = float(options["margin"])

    def gradient() -> None:
        earlier = [t for t in integers(distinct(memory.tasks)) if t < 0 or t != context.task]
        rows: list[Tensor] = []
        for task in earlier:
            at = (memory.tasks == task).nonzero()[:, 0]
            chosen = torch.randperm(len(at), generator=context.generator)[:count].to(at.device)
            rows.append(grad_of(plan.value(memory.rows(at[chosen]))[0], params))
        if rows:
            set_grad(params, turned(flat_grad(params), torch.stack(rows), margin))

    return Hooks(gradient=gradient)


def turned(gradient: Tensor, references: Tensor, margin: float) -> Tensor:
    """The nearest vector along which no task's loss rises, turned further towards them by the margin.

    Args:
        gradient: g, [D].
        references: G, [T, D].
        margin: gamma, 0 or more.

    Returns:
        g where no product of g with a row is negative, else g + G^T v with v from the dual; [D].
    """
    along = (references @ gradient).double()  # [T]
    if bool((along >= 0).all()):
        return gradient
    gram = (references @ references.T).double().cpu().numpy()  # [T, T]
    v = dual(gram, along.cpu().numpy(), margin)
    return gradient + torch.from_numpy(v).to(references) @ references


def dual(gram: Matrix, along: Matrix, margin: float) -> Matrix:
    """Argmin over v >= margin of v' P v / 2 + v' q (equation 11; the reference also bounds v by the margin).

    An active set method as of Lawson and Hanson for u = v - margin >= 0.

    Args:
        gram: P = G G', float64 [T, T].
        along: q = G g, float64 [T].
        margin: gamma.

    Returns:
        v, float64 [T].
    """
    size = len(along)
    p = gram + np.eye(size) * RIDGE * max(float(np.trace(gram)) / size, 1e-30)
    linear = along + margin * p.sum(axis=1)  # the gradient at u = 0
    u, free = np.zeros(size), np.zeros(size, dtype=bool)
    tolerance = 1e-10 * max(1e-30, float(np.abs(linear).max()))
    for _ in range(10 * size):  # every turn lowers the value, so no set comes twice
        slope = p @ u + linear
        if not (wanted := ~free & (slope < -tolerance)).any():
            break
        free[np.where(wanted, slope, np.inf).argmin()] = True
        u, free = _inner(p, linear, u, free)
    return u + margin


def _inner(p: Matrix, linear: Matrix, u: Matrix, free: NDArray[np.bool_]) -> tuple[Matrix, NDArray[np.bool_]]:
    """Go to the best point over the free unknowns; those that would turn negative on the way are bound again."""
    while True:
        target = np.zeros_like(u)
        target[free] = np.linalg.solve(p[np.ix_(free, free)], -linear[free])
        below = free & (target <= 0)
        if not below.any():
            return target, free
        step = float((u[below] / (u[below] - target[below])).min())
        u = u + step * (target - u)
        free = free & (u > 1e-14 * max(1.0, float(u.max())))
        u = np.where(free, u, 0.0)
        if not free.any():
            return u, free
