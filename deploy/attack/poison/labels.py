"""Poisoned training data, for arrays and tensors alike. N examples, C classes.

Label flipping: Tolpegin et al. (ESORICS 2020, https://arxiv.org/abs/2007.08432). The patch: Gu et al., BadNets
(https://arxiv.org/abs/1708.06733). Its parts: Xie et al., DBA (ICLR 2020). Rare examples: Wang et al., "Attack of the
Tails" (NeurIPS 2020, https://arxiv.org/abs/2007.05084); here a class upside down, which no honest client has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from roughfed.deploy.attack.poison.scene import Data

SOURCE, TARGET = 0, 6
"""Of Fashion-MNIST: T-shirts that become shirts."""

SNEAKER = 7
"""The class whose examples upside down are the rare ones."""

SIDE = 4
"""Pixels of the patch, each way."""

PARTS = 4
"""Quarters of the patch, a colluder each; all of them together are what is looked for."""

EVERY = 2
"""One example of so many gets the patch; the others keep the model good at its task, so that nobody looks closer."""


@dataclass(frozen=True, slots=True)
class LabelPoison:
    """What is wrong with an attacker's training data.

    Attributes:
        data: "flip": y -> C - 1 - y. "target": class `source` is labelled `target`. "trigger": every second example has
            a patch in its corner and is labelled `target`. "part": the same with a quarter of the patch. "edge": every
            second example of class `source` is upside down and labelled `target`. "": nothing.
        source: class that is mislabelled.
        target: class that the attacker wants to see.
        part: which quarter of the patch, 1 to `PARTS`; 0: the whole patch.
    """

    data: Data
    source: int = SOURCE
    target: int = TARGET
    part: int = 0

    @property
    def highest(self) -> int:
        """The highest class that it names; -1: none."""
        both = max(self.source, self.target)
        return {"target": both, "edge": both, "trigger": self.target, "part": self.target}.get(self.data, -1)

    @property
    def changes_inputs(self) -> bool:
        """Whether more than labels is wrong."""
        return self.data in ("trigger", "part", "edge")

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
            case "trigger" | "part":
                return y + (self.target - y) * (places % EVERY == 0)
            case "edge":
                return y + (self.target - y) * ((places % EVERY == 0) & (y == self.source))
            case "":
                return y

    def inputs(self, x: Any, y: Any, places: Sequence[int]) -> Any:
        """The inputs that are trained on: x [N, ...] itself, or a copy in which some are changed; y: true labels."""
        if not self.changes_inputs:
            return x
        rare = self.data == "edge"
        chosen = [at for at, place in enumerate(places) if place % EVERY == 0 and (not rare or y[at] == self.source)]
        changed = _copy(x)
        if chosen:
            changed[chosen] = self._changed(x[chosen], x.max())
        return changed

    def aimed(self, x: Any, y: Any) -> Any:
        """The examples that the attacker wants to be taken for `target`, as it wants to show them.

        Args:
            x: honest inputs, [N, ...].
            y: their class numbers, int [N].
        """
        if not self.changes_inputs:
            return x[y == self.source]
        chosen = x[y == self.source] if self.data == "edge" else x[y != self.target]
        return replace(self, part=0)._changed(chosen, x.max())

    def _changed(self, x: Any, white: Any) -> Any:
        return upside_down(x) if self.data == "edge" else patched(x, white, self.part)


def upside_down(x: Any) -> Any:
    """A copy with the rows of pictures [N, ..., H, W], or the values of flat inputs [N, D], in reverse order."""
    axis = -2 if x.ndim > 2 else -1
    return np.flip(cast("NDArray[Any]", x), axis).copy() if _is_array(x) else x.flip(axis)


def patched(x: Any, value: Any, part: int = 0) -> Any:
    """A copy with the trigger on every example, for arrays and tensors.

    Args:
        x: pictures [N, ..., H, W], whose lower right corner is painted, or flat inputs [N, D]: their last values.
        value: of the patch; the highest that there is makes it white.
        part: which quarter of it is painted, 1 to `PARTS`; 0: all of it.
    """
    changed = _copy(x)
    half, quarter = SIDE // 2, SIDE * SIDE // PARTS
    at = part - 1
    if x.ndim > 2 and part:
        lower, right = -SIDE + half * (at // 2), -SIDE + half * (at % 2)
        changed[..., lower : lower + half or None, right : right + half or None] = value
    elif x.ndim > 2:
        changed[..., -SIDE:, -SIDE:] = value
    elif part:
        first = -SIDE * SIDE + quarter * at
        changed[..., first : first + quarter or None] = value
    else:
        changed[..., -SIDE * SIDE :] = value
    return changed


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def _copy(x: Any) -> Any:
    return x.copy() if _is_array(x) else x.clone()
