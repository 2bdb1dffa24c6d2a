"""What several benches need."""

from __future__ import annotations

import pytest

from roughfed.data import load
from roughfed.errors import ConfigError


@pytest.fixture(scope="session")
def fashion_mnist() -> str:
    """The name of a data set that is here."""
    try:
        load("fashion-mnist")
    except ConfigError as error:
        pytest.skip(f"needs Fashion-MNIST: apt-get install dataset-fashion-mnist ({error})")
    return "fashion-mnist"
