"""The line through what rounds of several cohorts cost the server, and loads that are none."""

from types import SimpleNamespace

import pytest

from roughfed.deploy.speed.options import UploadsBenchOptions
from roughfed.errors import ConfigError, RoughfedError
from tests.bench.load import cohorts
from tests.bench.load.cohorts import CohortsOptions, run_cohorts_bench


def figures(monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, square: float) -> dict[str, float]:
    def measured(_: CohortsOptions, cohort: int) -> list[float]:
        seconds = fixed + each * cohort + square * cohort**2
        return [9.0, seconds, 2 * seconds]  # what else the machine does only adds

    monkeypatch.setattr(cohorts, "measure", measured)
    return run_cohorts_bench(CohortsOptions())


def test_a_line_is_found_and_what_grows_faster_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    line = figures(monkeypatch, 0.1, 0.007, 0.0)
    assert (line["per_client_ms"], line["fixed_ms"]) == (pytest.approx(7.0), pytest.approx(100.0))
    assert line["worst_deviation"] < 1e-9
    assert line["per_client_ratio"] == pytest.approx((0.1 / 50 + 0.007) / (0.1 / 200 + 0.007))

    square = figures(monkeypatch, 0.0, 0.0, 0.0001)
    assert square["per_client_ratio"] == pytest.approx(4.0)
    assert square["worst_deviation"] > 0.15


@pytest.mark.parametrize("numbers", [(50,), (100, 50), (50, 50)])
def test_what_makes_no_line_is_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="two cohorts"):
        CohortsOptions(cohorts=numbers)


@pytest.mark.parametrize(
    ("options", "least", "key"),
    [
        (UploadsBenchOptions(clients=10, few=20), 1, "--clients"),
        (UploadsBenchOptions(few=3), 4, "--few"),
        (UploadsBenchOptions(params=0), 1, "--few"),
    ],
)
def test_uploads_that_give_nothing_to_compare_are_refused(options: UploadsBenchOptions, least: int, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options.check(least=least)
    assert caught.value.key == key


@pytest.mark.parametrize("numbers", [(0, 50), (3, 50), (50, 300)])
def test_cohorts_that_no_round_has_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="out of 200 clients"):
        CohortsOptions(clients=200, cohorts=numbers)


def test_a_round_that_came_to_nothing_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = enumerate(("committed", "abandoned"))
    rounds = [SimpleNamespace(round=number, outcome=outcome) for number, outcome in outcomes]
    monkeypatch.setattr(cohorts, "simulate", lambda _: SimpleNamespace(rounds=rounds))

    with pytest.raises(RoughfedError, match=r"cohort of 50, .*: \[1\]"):
        cohorts.measure(CohortsOptions(), 50)
