"""scikit-learn's digits: 1,797 images of 8 x 8 (UCI, Alpaydin & Kaynak 1998), inside the package, so offline."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from roughfed.data.apportion import stratified_holdout
from roughfed.data.dataset import Dataset
from roughfed.errors import ConfigError
from roughfed.rng import generator

NAME = "digits"
NUM_CLASSES = 10
LARGEST_PIXEL, MEAN, STD = 16.0, 0.3053, 0.3760  # mean and deviation of pixel / 16 over all 1,797 images
TEST_FRACTION = 0.2


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
    datasets: Any = importlib.import_module("sklearn.datasets")  # takes a second, so only when asked for
    bunch = datasets.load_digits()
    x = (np.asarray(bunch.images, dtype=np.float32)[:, None] / LARGEST_PIXEL - MEAN) / STD  # [N, 1, 8, 8]
    y = np.asarray(bunch.target, dtype=np.int64)
    whole = Dataset(x.astype(np.float32, copy=False), y, np.arange(len(y)), NUM_CLASSES, NAME)
    kept, held = stratified_holdout(y, TEST_FRACTION, generator(seed, "data", NAME, "test"))
    return whole.take(kept), whole.take(held)
