"""The value that every data source returns and every trainer reads.

N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError

Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Dataset:
    """Examples with labels and stable ids.

    Images are standardised with *published constants of the source*, `(pixel / largest pixel - mean) / std`: every
    client must scale alike, and a mean of its own would both differ and say something about its data.

    Attributes:
        x: float32 [N, ...]; images are [N, 1, H, W].
        y: int64 [N] labels in 0..C-1; float32 [N] targets for regression.
        ids: int64 [N], the same example always has the same id, however the data are cut; state that a trainer keeps
            about an example (its noise flag, its place in a memory) is keyed by it.
        num_classes: C; 0 means regression.
        name: name of the source.
        true_y: int64 [N], the labels before noise was planted, for measuring only; None when none was planted.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64] | NDArray[np.float32]
    ids: Indices
    num_classes: int
    name: str
    true_y: Labels | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together.

        Raises:
            ConfigError: lengths differ, or a label lies outside 0..C-1.
        """
        lengths = {"x": len(self.x), "y": len(self.y), "ids": len(self.ids)}
        if self.true_y is not None:
            lengths["true_y"] = len(self.true_y)
        if len(set(lengths.values())) != 1:
            raise ConfigError(f"the parts of data set {self.name!r} differ in length: {lengths}", key="data")
        if self.num_classes and len(self.y) and not 0 <= self.y.min() <= self.y.max() < self.num_classes:
            span = f"{self.y.min()}..{self.y.max()}"
            raise ConfigError(f"labels of {self.name!r} lie in {span}, want 0..{self.num_classes - 1}", key="data")

    def __len__(self) -> int:
        """N."""
        return len(self.y)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.x.shape[1:]

    @property
    def labels(self) -> Labels:
        """The int64 [N] labels of a classification.

        Raises:
            ConfigError: the data are for regression.
        """
        if self.num_classes == 0:
            raise ConfigError(f"{self.name!r} is for regression: it has no classes", key="data")
        return self.y.astype(np.int64, copy=False)

    def take(self, indices: Indices) -> Dataset:
        """The examples at `indices` (int64), in that order; arrays are copied."""
        true_y = None if self.true_y is None else self.true_y[indices]
        return replace(self, x=self.x[indices], y=self.y[indices], ids=self.ids[indices], true_y=true_y)


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """The examples of several data sets of one kind, one after the other.

    Where some have labels from before noise was planted, the others count as clean.

    Args:
        parts: at least one; name and number of classes are the first one's.
    """
    first = parts[0]
    true_y = None
    if any(part.true_y is not None for part in parts):
        true_y = np.concatenate([part.labels if part.true_y is None else part.true_y for part in parts])
    x, y, ids = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y", "ids"))
    return replace(first, x=x, y=y, ids=ids, true_y=true_y)
