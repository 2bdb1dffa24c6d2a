"""Poisoned training data, for arrays and tensors alike. N examples, C classes.

Label flipping: Tolpegin et al. (ESORICS 2020, https://arxiv.org/abs/2007.08432). The patch: Gu et al., BadNets
(https://arxiv.org/abs/1708.06733).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from roughfed.deploy.attack.poison.scene import Data

SOURCE, TARGET = 0, 6
"""Of Fashion-MNIST: T-shirts that become shirts."""

SIDE = 4
"""Pixels of the patch, each way."""

EVERY = 2
"""One example of so many gets the patch; the others keep the model good at its task, so that nobody looks closer."""


@dataclass(frozen=True, slots=True)
class LabelPoison:
    """What is wrong with an attacker's training data.

    Attributes:
        data: "flip": y -> C - 1 - y. "target": class `source` is labelled `target`. "trigger": every second example has
            a patch in its corner and is labelled `target`. "": nothing.
        source: class that is mislabelled.
        target: class that the attacker wants to see.
    """

    data: Data
    source: int = SOURCE
    target: int = TARGET

    @property
    def highest(self) -> int:
        """The highest class that it names; -1: none."""
        return {"target": max(self.source, self.target), "trigger": self.target}.get(self.data, -1)

    def labels(self, y: Any, num_classes: int, places: Any) -> Any:
        """The labels that are trained on.

        Args:
            y: class numbers, [N] or one.
            num_classes: C.
            places: number of each example, int64 [N] or one.
        """
        match self.data:
            case "flip":
                return num_classes - 1 - y
            case "target":
                return y + (self.target - self.source) * (y == self.source)
            case "trigger":
                return y + (self.target - y) * (places % EVERY == 0)
            case "":
                return y

    def inputs(self, x: Any, places: Sequence[int]) -> Any:
        """The inputs that are trained on: x [N, ...] itself, or a copy with patches."""
        if self.data != "trigger":
            return x
        chosen = [at for at, place in enumerate(places) if place % EVERY == 0]
        changed = _copy(x)
        changed[chosen] = patched(x[chosen], x.max())
        return changed


def patched(x: Any, value: Any) -> Any:
    """A copy with the trigger on every example, for arrays and tensors.

    Args:
        x: pictures [N, ..., H, W], whose lower right corner is painted, or flat inputs [N, D]: their last values.
        value: of the patch; the highest that there is makes it white.
    """
    changed = _copy(x)
    if x.ndim > 2:
        changed[..., -SIDE:, -SIDE:] = value
    else:
        changed[..., -SIDE * SIDE :] = value
    return changed


def _copy(x: Any) -> Any:
    return cast("NDArray[Any]", x).copy() if isinstance(x, np.ndarray) else x.clone()
