"""Slopes and bends of lines that grow (`python -m tests.bench growth`)."""

import pytest

from roughfed.errors import ConfigError
from tests.bench.load.growth import GrowthOptions, line_of
from tests.bench.plots.growth_lines import growth_svg


def test_a_line_is_told_with_its_slopes_and_where_it_bends() -> None:
    points = [
        {"at": 1, "cpu": 2.0, "mib": 50.0},
        {"at": 10, "cpu": 20.0, "mib": 50.0},
        {"at": 100, "cpu": 2000.0, "mib": 0},
    ]
    line = line_of(points)
    assert line["slopes"] == {"cpu": [pytest.approx(1), pytest.approx(2)], "mib": [0, 0]}
    assert line["bends"] == {"cpu": 10}


def test_a_word_that_nothing_grows_along_is_refused() -> None:
    with pytest.raises(ConfigError, match="--along"):
        GrowthOptions(along="time")


def test_the_picture_has_a_panel_for_each() -> None:
    points = [
        {"at": 1.0, "server_cpu_s": 0.1, "server_mib": 60.0},
        {"at": 60.0, "server_cpu_s": 6.0, "server_mib": 90.0},
    ]
    picture = growth_svg({"bench": "growth", "lines": {"groups": {"points": points}, "clients": {"points": points}}})
    assert picture.count("<path") == 4
    assert "groups" in picture
    with pytest.raises(ConfigError, match="no result"):
        growth_svg({"bench": "round"})
