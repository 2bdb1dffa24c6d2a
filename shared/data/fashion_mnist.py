"""Fashion-MNIST: 70,000 images of 28 x 28 (Xiao, Rasul & Vollgraf, 2017, https://arxiv.org/abs/1708.07747)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roughfed.data.dataset import Dataset, Labels
from roughfed.data.idx import read_idx
from roughfed.errors import ConfigError

NAME = "fashion-mnist"
NUM_CLASSES = 10
SIDE = 28
LARGEST_PIXEL, MEAN, STD = 255.0, 0.2860, 0.3530  # mean and deviation of pixel / 255 over the training images
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian package dataset-fashion-mnist
DOWNLOADED = Path("FashionMNIST") / "raw"  # where torchvision puts the files below its root
TRAIN, TEST = "train", "t10k"
CURE = (
    "apt install dataset-fashion-mnist, or pip install torchvision and stay online once, "
    "or give --data-dir a folder with the four IDX files"
)


def load_fashion_mnist(data_dir: Path | None, seed: int) -> tuple[Dataset, Dataset]:
    """The published training and test parts, from the first place that has the four files.

    Places: `data_dir` alone when it is given; else the Debian package's folder; else the user's cache, which
    torchvision's download fills.

    Args:
        data_dir: folder with the IDX files, compressed or not, or with torchvision's `FashionMNIST/raw` in it.
        seed: not used: the test part is the published one.

    Returns:
        (train, test) with x float32 [N, 1, 28, 28]; ids are 0..59,999 for training and from 60,000 on for test.

    Raises:
        ConfigError: no place has the files, or a file is damaged.
    """
    del seed
    folder = find_folder([data_dir] if data_dir else [DEBIAN_FOLDER, _cache_folder()])
    if folder is None and data_dir:
        raise ConfigError("has no Fashion-MNIST IDX files", file=str(data_dir), key="data.data_dir", cure=CURE)
    folder = folder or _download(_cache_folder())
    train = _read_part(folder, TRAIN, first_id=0)
    return train, _read_part(folder, TEST, first_id=len(train))


def find_folder(places: Sequence[Path]) -> Path | None:
    """The first place (or torchvision's folder in it) that has all four files; None when no place has."""
    for place in places:
        for folder in (place, place / DOWNLOADED):
            names = [f"{part}-{what}" for part in (TRAIN, TEST) for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
            if all(_file(folder, name) for name in names):
                return folder
    return None


def _file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read_part(folder: Path, part: str, *, first_id: int) -> Dataset:
    image_file = _file(folder, f"{part}-images-idx3-ubyte") or folder
    label_file = _file(folder, f"{part}-labels-idx1-ubyte") or folder
    images, raw_labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or raw_labels.shape != images.shape[:1]:
        cause = f"images of shape {images.shape} do not fit labels of shape {raw_labels.shape} and {SIDE} x {SIDE}"
        raise ConfigError(cause, file=str(image_file), key="data.data_dir", cure=CURE)
    labels: Labels = raw_labels.astype(np.int64)
    x = images[:, None].astype(np.float32)  # [N, 1, 28, 28]
    x /= LARGEST_PIXEL
    x -= MEAN
    x /= STD
    return Dataset(x, labels, np.arange(first_id, first_id + len(labels)), NUM_CLASSES, NAME)


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "roughfed"


def _download(root: Path) -> Path:
    """Let torchvision fetch the files; its checksums guard them, our parser reads them."""
    try:
        vision: Any = importlib.import_module("torchvision.datasets")  # optional, and slow to import
        vision.FashionMNIST(root=str(root), download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(f"Fashion-MNIST is not here: {error}", key="data.data_dir", cure=CURE) from error
    if (folder := find_folder([root])) is None:
        raise ConfigError(f"the download into {root} left no IDX files", key="data.data_dir", cure=CURE)
    return folder
