"""A default must not lose to plain training on data that nobody tuned it for (`python -m tests.bench matrix`)."""

from __future__ import annotations

import pytest

from roughfed.errors import ConfigError
from roughfed.methods import AUTO
from tests.bench.training import tables
from tests.bench.training.matrix import CELLS, Game, MatrixOptions, planted, run_matrix

MARGIN = 1.0
"""Points below plain that are too many."""


@pytest.fixture
def data() -> str:
    try:
        tables.load_real("letter")
    except ConfigError as error:
        pytest.skip(f"{error}: {error.cure}")
    return "letter"


def test_every_cell_plants_what_its_name_says(data: str) -> None:
    train, test = tables.load_real(data, most=3000)
    assert (len(train.labels), train.num_classes, train.x.shape[1]) == (3000, 26, 16)
    assert len(test.labels) > 6000
    for name, rough in CELLS.items():
        shares = planted(train, rough, Game(data, name, "plain", 0, 8, 3000, 20))
        assert len(shares) == 8
        assert all((hasattr(share, "parts")) == (rough.tasks > 1) for share in shares)
        if rough.rate:
            noisy = [share for share in shares if (share.true_y is not None)]
            assert len(noisy) == round(8 * rough.noisy)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cell", ["clean", "clean, IID", "symmetric 40 %, half of the clients"])
def test_clients_that_choose_lose_nothing(data: str, cell: str) -> None:
    """Letters, on which they once lost ten points."""
    options = MatrixOptions(seeds=(0, 1, 2), data=(data,), cells=(cell,), methods=(AUTO,), examples=3000, rounds=20)
    found = run_matrix(options, say=lambda _name, _figures: None)
    results = found["results"]
    assert isinstance(results, dict)
    assert results[f"{data}: {cell}"][AUTO]["points"] >= -MARGIN
