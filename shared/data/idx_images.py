"""Image sets that come as the four IDX files of MNIST: where they may lie, and how they become examples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roughfed.data.dataset import Dataset, Labels
from roughfed.data.idx import read_idx
from roughfed.errors import ConfigError

SIDE = 28
LARGEST_PIXEL = 255.0
TRAIN, TEST = "train", "t10k"


@dataclass(frozen=True, slots=True)
class IdxImages:
    """One image set.

    Attributes:
        name: of the source.
        num_classes: C.
        mean: of pixel / 255 over the training images, as published.
        std: the same.
        below: where a folder may have them deeper down (torchvision's habit).
        cure: how to get the files.
    """

    name: str
    num_classes: int
    mean: float
    std: float
    below: Path
    cure: str

    def find(self, places: Sequence[Path]) -> Path | None:
        """The first place (or the folder below it) that has all four files; None when no place has."""
        names = [f"{part}-{what}" for part in (TRAIN, TEST) for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        for place in places:
            for folder in (place, place / self.below):
                if all(_file(folder, name) for name in names):
                    return folder
        return None

    def read(self, folder: Path) -> tuple[Dataset, Dataset]:
        """(train, test) with x float32 [N, 1, 28, 28]; ids count through the training part, then through the test part.

        Raises:
            ConfigError: a file is missing or damaged, or the files do not fit together.
        """
        train = self._part(folder, TRAIN, first_id=0)
        return train, self._part(folder, TEST, first_id=len(train))

    def missing(self, cause: str, folder: Path | None = None) -> ConfigError:
        """The error for files that are not there."""
        return ConfigError(cause, file=str(folder) if folder else "", key="data.data_dir", cure=self.cure)

    def _part(self, folder: Path, part: str, *, first_id: int) -> Dataset:
        image_file = _file(folder, f"{part}-images-idx3-ubyte") or folder
        label_file = _file(folder, f"{part}-labels-idx1-ubyte") or folder
        images, raw_labels = read_idx(image_file), read_idx(label_file)
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or raw_labels.shape != images.shape[:1]:
            sizes = f"labels of shape {raw_labels.shape} and {SIDE} x {SIDE}"
            raise self.missing(f"images of shape {images.shape} do not fit {sizes}", image_file)
        labels: Labels = raw_labels.astype(np.int64)
        x = images[:, None].astype(np.float32)  # [N, 1, 28, 28]
        x /= LARGEST_PIXEL
        x -= self.mean
        x /= self.std
        return Dataset(x, labels, np.arange(first_id, first_id + len(labels)), self.num_classes, self.name)


def cache_folder() -> Path:
    """Where downloads are kept: of the user, below XDG_CACHE_HOME."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "roughfed"


def _file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
