"""Planted clusters are found from sketches, and each gets a model of its own (docs/benchmarks.md)."""

from dataclasses import replace

import pytest

from tests.bench.rounds.clusters import ClusterOptions, run_clusters_bench

pytestmark = pytest.mark.slow


def played(plant: str, methods: tuple[str, ...], rounds: int) -> dict[str, dict[str, float]]:
    options = replace(ClusterOptions(), rounds=rounds, seeds=(0,), plants=(plant,), methods=methods, rules=("default",))
    return run_clusters_bench(options, say=print)["results"][plant]["default"]


@pytest.mark.timeout(1800)
def test_two_laws_are_told_apart_and_one_is_left_alone() -> None:
    found = played("two halves", ("one model", "apart", "cfl", "ifca"), 20)
    for method in ("cfl", "ifca"):
        assert found[method]["recovered"] == 1
        assert found[method]["accuracy"] >= found["apart"]["accuracy"] - 0.02
        assert found[method]["accuracy"] >= found["one model"]["accuracy"] + 0.2
    whole = played("no cluster", ("one model", "cfl"), 10)
    assert whole["cfl"]["clusters"] == 1
    assert whole["cfl"]["accuracy"] == whole["one model"]["accuracy"]
