"""Data: sources, ways to deal them out, and makers of rough data.

A new source is one file that returns (train, test) and one row in SOURCES. Nothing here imports torch; scikit-learn and
torchvision are loaded only by the source that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from roughfed.data.dataset import Dataset
from roughfed.data.digits import load_digits
from roughfed.data.fashion_mnist import load_fashion_mnist
from roughfed.data.mnist import load_mnist
from roughfed.registry import look_up

__all__ = ["SOURCES", "Dataset", "load"]

Source = Callable[[Path | None, int], tuple[Dataset, Dataset]]

SOURCES: Mapping[str, Source] = {
    "digits": load_digits,
    "fashion-mnist": load_fashion_mnist,
    "mnist": load_mnist,
}


def load(name: str, data_dir: Path | str | None = None, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Load a source by name.

    Args:
        name: a row of SOURCES.
        data_dir: where its files lie; None: the source looks in its usual places.
        seed: the run's seed, for sources without a published test part.

    Returns:
        (train, test): what is dealt out to clients, and the common part that nobody trains on.

    Raises:
        ConfigError: unknown name, or the files cannot be found or read.
    """
    source = look_up(SOURCES, name, key="data.name")
    return source(None if data_dir is None else Path(data_dir).expanduser(), seed)
