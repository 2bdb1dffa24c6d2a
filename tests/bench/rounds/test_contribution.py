"""Scores against the exact Shapley value: docs/benchmarks.md, with one seed and fewer rounds."""

from __future__ import annotations

from typing import Any, cast

import pytest

from roughfed.server.extensions.contribution.utility import CLASSIFICATION
from tests.bench.rounds.contribution import ContributionOptions, run_contribution_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHARE = 0.05
"""Of the 2^10 evaluations of the exact value."""


@pytest.fixture(scope="module")
def result(fashion_mnist: str) -> dict[str, Any]:
    del fashion_mnist  # it is here
    options = ContributionOptions(seeds=(0,), rounds=6, examples=500)
    return cast("dict[str, Any]", run_contribution_bench(options, say=lambda _name, _figures: None))


def test_a_twentieth_of_the_evaluations_ranks_clients_nearly_as_all_of_them(result: dict[str, Any]) -> None:
    for utility in CLASSIFICATION:
        figures = result["methods"]["gtg-shapley"][utility]
        assert figures["most_evaluations"] <= SHARE * 2**10
        assert figures["spearman"] >= 0.85  # 0.9 over three seeds of ten rounds
        assert figures["twins"] == 0


def test_who_alone_has_rare_classes_is_worth_most_where_classes_count_the_same(result: dict[str, Any]) -> None:
    worth = {name: row["balanced-accuracy"] for name, row in result["kinds"].items()}
    assert max(worth, key=worth.__getitem__) == "tail only"
    assert result["kinds"]["tail only"]["cosine"] < result["kinds"]["good"]["cosine"]  # agreement is no worth
