"""The line through what rounds of several cohorts cost the server."""

import pytest

from roughfed.deploy.bench import cohorts
from roughfed.deploy.bench.cohorts import CohortsOptions, run_cohorts_bench
from roughfed.errors import ConfigError


def figures(monkeypatch: pytest.MonkeyPatch, fixed: float, each: float, square: float) -> dict[str, float]:
    def measured(_: CohortsOptions, cohort: int) -> list[float]:
        seconds = fixed + each * cohort + square * cohort**2
        return [seconds, 9.0, seconds, 0.0, seconds]  # the middle one counts

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
