"""What adapters must reach beside full training (`python -m tests.bench adapters`)."""

from __future__ import annotations

import pytest

from tests.bench.training.adapters import AdapterOptions, run_adapter_bench


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_adapters_cost_little_accuracy_for_a_small_part_of_the_bytes(fashion_mnist: str) -> None:
    del fashion_mnist  # it is here
    rows = run_adapter_bench(
        AdapterOptions(seeds=(0, 1), conditions=("full training", "adapters, r = 8", "head alone"))
    )
    full, adapters, head = rows["rows"].values()  # pyright: ignore[reportAttributeAccessIssue]
    assert adapters["upload_bytes"] < full["upload_bytes"] / 15
    assert adapters["accuracy"] > full["accuracy"] - 0.05
    assert adapters["accuracy"] > head["accuracy"] + 0.02
