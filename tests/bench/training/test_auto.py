"""Clients choose the right kind of method for planted data (`python -m tests.bench auto`).

docs/benchmarks.md has the table.
"""

from __future__ import annotations

import pytest

from roughfed.data import load
from roughfed.errors import ConfigError
from tests.bench.training.auto import CELLS, DATA, AutoOptions, run_auto_bench


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nine_in_ten_clients_choose_the_right_kind() -> None:
    try:
        load(DATA)
    except ConfigError as error:
        pytest.skip(f"needs Fashion-MNIST: apt-get install dataset-fashion-mnist ({error})")
    found = run_auto_bench(AutoOptions(), say=lambda _name, _figures: None)
    assert len(CELLS) * AutoOptions().clients == 60
    assert isinstance(found["right"], float)
    assert found["right"] >= 0.9, found["results"]
