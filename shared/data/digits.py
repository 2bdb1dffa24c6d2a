"""scikit-learn's digits: 1,797 images of 8 x 8 (UCI, Alpaydin & Kaynak 1998), inside the package, so offline."""

from __future__ import annotations

import csv
import gzip
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.data.apportion import stratified_holdout
from roughfed.data.dataset import Dataset
from roughfed.errors import ConfigError
from roughfed.extras import need
from roughfed.rng import generator

NAME = "digits"
NUM_CLASSES = 10
SIDE = 8
LARGEST_PIXEL, MEAN, STD = 16.0, 0.3053, 0.3760  # mean and deviation of pixel / 16 over all 1,797 images
TEST_FRACTION = 0.2
FILE = Path("datasets") / "data" / "digits.csv.gz"  # below the package's folder


def load_digits(data_dir: Path | None, seed: int) -> tuple[Dataset, Dataset]:
    """The training part (1,438 images) and the common test part (359), cut by class with the seed.

    Args:
        data_dir: must be None, since the images come with scikit-learn.
        seed: the run's seed; decides which images are the common test part.

    Returns:
        (train, test) with x float32 [N, 1, 8, 8]; ids are positions in scikit-learn's order.

    Raises:
        ConfigError: a folder was given.
    """
    if data_dir is not None:
        raise ConfigError("digits come with scikit-learn and read no folder", key="data.data_dir", cure="leave it out")
    rows = read_table()
    images = rows[:, :-1].reshape(-1, 1, SIDE, SIDE)  # [N, 1, 8, 8]
    x = (images / np.float32(LARGEST_PIXEL) - MEAN) / STD
    y = rows[:, -1].astype(np.int64)
    whole = Dataset(x.astype(np.float32, copy=False), y, np.arange(len(y)), NUM_CLASSES, NAME)
    kept, held = stratified_holdout(y, TEST_FRACTION, generator(seed, "data", NAME, "test"))
    return whole.take(kept), whole.take(held)


def read_table() -> NDArray[np.float32]:
    """Pixels, row by row, then the label: float32 [N, 65].

    From scikit-learn's own file, without importing it where that is possible: the import costs every client a second.
    """
    found = importlib.util.find_spec("sklearn")
    if found is not None and found.origin is not None:
        file = Path(found.origin).parent / FILE
        if file.is_file():
            with gzip.open(file, "rt", encoding="ascii") as lines:
                return np.array(list(csv.reader(lines)), dtype=np.float32)
    return import_table()


def import_table() -> NDArray[np.float32]:
    """The same through scikit-learn's public function, wherever it keeps its file."""
    need("sklearn", who='data.name = "digits"')
    datasets: Any = importlib.import_module("sklearn.datasets")
    bunch = datasets.load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.float32)
