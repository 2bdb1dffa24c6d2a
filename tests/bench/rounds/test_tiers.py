"""A quarter of the clients at a sixteenth of the bytes costs no more than a point (docs/benchmarks.md)."""

import pytest

from tests.bench.rounds.tiers import HEADS, THIN, WHOLE, WITHOUT, TiersOptions, run_tiers_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("fashion_mnist")]


def test_a_thin_quarter_costs_less_than_a_point_and_what_it_alone_knows_is_learnt() -> None:
    options = TiersOptions(rounds=20, seeds=(0,), divisions=(WHOLE, THIN))
    found = run_tiers_bench(options, say=lambda *_: None)["results"]
    assert found[THIN]["points"] >= -1
    few, others = found[THIN]["upload_bytes"]
    assert others == 16 * few


def test_divisions_differ_in_what_is_sent_only() -> None:
    learning = TiersOptions().learning
    options = TiersOptions(learning=type(learning)(clients=16, examples=1600, model="logistic"), rounds=1, seeds=(0,))
    found = run_tiers_bench(options, say=lambda *_: None)["results"]
    assert set(found) == {WHOLE, THIN, HEADS, WITHOUT}
    assert all(0 < one["accuracy"] < 1 for one in found.values())
