"""What a round costs the server grows with its cohort in a line (`python -m tests.bench cohorts`)."""

import pytest

from tests.bench.load.cohorts import CohortsOptions, run_cohorts_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_client_of_two_hundred_costs_what_one_of_fifty_does() -> None:
    figures = run_cohorts_bench(CohortsOptions(clients=240, cohorts=(50, 100, 200), rounds=3, data="digits"))

    assert [each["cohort"] for each in figures["cohorts"]] == [50, 100, 200]
    assert all(len(each["rounds"]) == 3 and each["per_client_ms"] > 0.1 for each in figures["cohorts"])
    parts = [each["per_client_ms"] for each in figures["cohorts"]]
    assert parts[-1] <= 1.25 * parts[0]  # four times the clients: quadratic work would show
    assert figures["worst_deviation"] <= 0.15
