"""Fashion-MNIST: 70,000 images of 28 x 28 (Xiao, Rasul & Vollgraf, 2017, https://arxiv.org/abs/1708.07747)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from roughfed.data.dataset import Dataset
from roughfed.data.idx_images import IdxImages, cache_folder

MEAN, STD = 0.2860, 0.3530  # of pixel / 255 over the training images
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian package dataset-fashion-mnist
SET = IdxImages(
    name="fashion-mnist",
    num_classes=10,
    mean=MEAN,
    std=STD,
    below=Path("FashionMNIST") / "raw",
    cure="apt install dataset-fashion-mnist, or pip install 'roughfed[data]' (torchvision) and stay online once, "
    "or give --data-dir a folder with the four IDX files",
)


find_folder = SET.find


def load_fashion_mnist(data_dir: Path | None, seed: int) -> tuple[Dataset, Dataset]:
    """The published training and test parts, from the first place that has the four files.

    Places: `data_dir` alone when it is given; else the Debian package's folder; else the user's cache, which
    torchvision fills when it is installed.

    Args:
        data_dir: folder with the IDX files, plain or compressed, or None.
        seed: unused, the parts are published.

    Returns:
        (train, test) with x float32 [N, 1, 28, 28]; ids are 0..59,999 for training and from 60,000 on for test.

    Raises:
        ConfigError: no place has the files, or a file is damaged.
    """
    del seed
    folder = SET.find([data_dir] if data_dir else [DEBIAN_FOLDER, cache_folder()])
    if folder is None and data_dir:
        raise SET.missing("has no Fashion-MNIST IDX files", data_dir)
    return SET.read(folder or _download(cache_folder()))


def _download(root: Path) -> Path:
    """Let torchvision fetch the files; its checksums guard them, our parser reads them."""
    try:
        vision: Any = importlib.import_module("torchvision.datasets")  # optional, and slow to import
        vision.FashionMNIST(root=str(root), download=True)
    except (ImportError, OSError, RuntimeError) as error:
        raise SET.missing(f"Fashion-MNIST is not here: {error}") from error
    if (folder := SET.find([root])) is None:
        raise SET.missing(f"the download into {root} left no IDX files")
    return folder
