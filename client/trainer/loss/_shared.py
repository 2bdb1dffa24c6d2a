"""The transition matrix of a correction: where it comes from, by its option `t`.

T[i, j] is the chance that the label j is given to an example of class i, float32 [C, C].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.labels.early_estimate import EarlyEstimate, Estimate
from roughfed.client.trainer.labels.noise import (
    anchor_transition,
    confident_joint,
    dual_transition,
    symmetric_transition,
    transition_of,
)
from roughfed.client.trainer.parts import Context, Options
from roughfed.errors import ConfigError

ESTIMATES: Mapping[str, Estimate] = {
    "confident": confident_joint,
    "anchor": anchor_transition,
    "dual": dual_transition,
}
FACT = "transition"  # of the server: a flat matrix [C * C] of counts or shares, true by given
KEY = "trainer.method"
TINY = 1e-8  # a label that T rules out still has a gradient


class Transition:
    """T of one training; see `docs/trainers.md`.

    Attributes:
        epoch: the hook; None where T is known from the start.
    """

    epoch: Callable[[], None] | None = None

    def __init__(self, options: Options, context: Context, part: str) -> None:
        """Read the options `t`, `rate`, `flips` and `warmup`."""
        self._context, self._early, self._known = context, None, None
        self._cached: Tensor | None = None  # on the device
        kind = str(options["t"])
        if kind == "global":
            self._known = _global(context)
        elif kind not in ESTIMATES:
            self._known = given(kind, float(options["rate"]), str(options["flips"]), context.num_classes)
        if self._known is None:
            estimate = ESTIMATES.get(kind, confident_joint)
            self._early = EarlyEstimate(context, part, warmup=float(options["warmup"]), estimate=estimate)
            self.epoch = self._look

    def _look(self) -> None:
        if self._early is not None:
            self._early.epoch()
        self._cached = None

    def matrix(self) -> Tensor | None:
        """T on the device, the same tensor for a whole epoch; None as long as there is no estimate."""
        if self._cached is None:
            matrix = self._early.matrix if self._early is not None else self._known
            self._cached = None if matrix is None else matrix.to(self._context.device)
        return self._cached


def forward(output: Tensor, target: Tensor, matrix: Tensor) -> Tensor:
    """-log (p @ T)_y by example.

    Args:
        output: logits, any float type [B, C].
        target: labels as given, int64 [B].
        matrix: T, float32 [C, C].

    Returns:
        float32 [B], 0 or more.
    """
    log_p = functional.log_softmax(output.float(), dim=1)
    return -torch.logsumexp(log_p + matrix.clamp_min(TINY).log()[:, target].T, dim=1)


def given(kind: str, rate: float, flips: str, classes: int) -> Tensor:
    """T of known noise.

    Args:
        kind: symmetric: to every other class alike; pair: to the next class; flips: as written.
        rate: share of wrong labels of a class that has any, 0..1.
        flips: of the kind `flips`, pairs like 0-6.2-4: of class 0 the share `rate` is labelled 6, of 2 as 4.
        classes: C.

    Raises:
        ConfigError: there is no rate, or the flips cannot be read.
    """
    if not rate:
        raise ConfigError(f"t={kind} needs to know how many labels are wrong", key=KEY, cure="write rate=0.3, say")
    if kind == "symmetric":
        return symmetric_transition(rate, classes)
    pairs = [(c, (c + 1) % classes) for c in range(classes)] if kind == "pair" else _pairs(flips, classes)
    matrix = torch.eye(classes)
    for true, label in pairs:
        matrix[true, true] -= rate
        matrix[true, label] += rate
    return matrix


def _pairs(text: str, classes: int) -> list[tuple[int, int]]:
    cure = "write pairs of class numbers, like flips=0-6.2-4"
    try:
        pairs = [tuple(map(int, pair.split("-"))) for pair in text.split(".")]
    except ValueError:
        raise ConfigError(f"flips={text} cannot be read", key=KEY, cure=cure) from None
    good = [pair for pair in pairs if len(pair) == 2 and max(pair) < classes and pair[0] != pair[1]]
    if len(good) != len(pairs) or len({true for true, _ in good}) != len(pairs):
        raise ConfigError(f"flips={text} are no flips between {classes} classes", key=KEY, cure=cure)
    return [(true, label) for true, label in good]


def _global(context: Context) -> Tensor | None:
    """T of all clients' counts; None where the server has not told any yet: then this client's own estimate serves."""
    numbers, classes = context.facts.get(FACT), context.num_classes
    if not numbers:
        return None
    if len(numbers) != classes**2 or min(numbers) < 0:
        raise ConfigError(f"the fact {FACT!r} is no matrix of {classes} x {classes} shares", key=KEY)
    return transition_of(torch.tensor(numbers, dtype=torch.float32).view(classes, classes))
