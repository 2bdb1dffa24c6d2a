"""One look at the labels by a model that has learnt the classes, but not yet the wrong labels by heart.

Several parts go by it: a transition matrix, a rate of wrong labels. It is taken when a share of the whole run is over,
kept from round to round, and taken again only for classes that come later.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from roughfed.client.trainer.examples.views import look
from roughfed.client.trainer.labels.noise import confident_joint, transition_of
from roughfed.client.trainer.parts import Context

Estimate = Callable[[Tensor, Tensor], Tensor]
"""(labels int64 [N], probabilities [N, C]) -> a matrix [C, C], true by given."""

TRAINED = 2  # epochs that a class must have begun: in the first of them the model has not seen it


class EarlyEstimate:
    """The look of one part."""

    def __init__(self, context: Context, part: str, *, warmup: float, estimate: Estimate = confident_joint) -> None:
        """Look when `warmup` (0..1) of the run is over; `estimate` is kept beside the confident joint."""
        self._context, self._warmup, self._estimate = context, warmup, estimate
        self._state = context.state(part)

    def epoch(self) -> None:
        """The hook: look, if it is time."""
        context, state, classes = self._context, self._state, self._context.num_classes
        here = (context.counts() > 0).cpu() if context.source.targets is not None else torch.ones(classes).bool()
        seen = state.setdefault("seen", torch.zeros(classes, dtype=torch.int64)).add_(here)
        known = state.setdefault("known", torch.zeros(classes, dtype=torch.bool))
        fresh = here & ~known & (seen >= TRAINED)
        if context.progress < self._warmup or not fresh.any():
            return
        found = look(context.model, context.source)
        labels, probabilities = found.labels.cpu(), found.probabilities.cpu()
        joint, matrix = confident_joint(labels, probabilities), self._estimate(labels, probabilities)
        state["joint"] = torch.where(fresh[:, None], joint, state.get("joint", joint))
        state["matrix"] = torch.where(fresh[:, None], matrix, state.get("matrix", matrix))
        known |= fresh

    @property
    def matrix(self) -> Tensor | None:
        """What `estimate` gave, rows scaled to 1, float32 [C, C] on the CPU; None before the look."""
        matrix = self._state.get("matrix")
        return None if matrix is None else transition_of(matrix)

    @property
    def rate(self) -> float | None:
        """Share of wrong labels, 0..1; None before the look."""
        joint = self._state.get("joint")
        return None if joint is None else float(1 - joint.trace() / joint.sum().clamp_min(1e-12))

    @property
    def wrong_of_class(self) -> Tensor | None:
        """Share of wrong labels among those given as each class, float32 [C] on the CPU; None before the look."""
        joint = self._state.get("joint")
        return None if joint is None else 1 - joint.diagonal() / joint.sum(dim=0).clamp_min(1e-12)
