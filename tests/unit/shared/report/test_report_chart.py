"""A chart hands over its data and says the same numbers in a table, whatever it is given."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.report.chart import FORMS, MOST_ROWS, figure
from roughfed.report.plots import holdings
from roughfed.report.scale import number, percent, seconds, size
from tests.unit.report_page import Reading, values

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "a&b\"'",
    "nul\0",
    "\ud800",
    "\u202eevil",
    "日本語",
    "x" * 200,
]
VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@pytest.mark.parametrize("kind", ["lines", "bars", "cells", "dots"])
def test_names_cannot_leave_their_place(kind: str) -> None:
    found = Reading(figure(HOSTILE[0], kind, HOSTILE, {name: [0.5] * len(HOSTILE) for name in HOSTILE}))  # pyright: ignore[reportArgumentType]
    assert found.tags.count("script") == 1
    (chart,) = found.charts
    assert chart["name"] == HOSTILE[0]
    assert chart["x"] == HOSTILE
    assert [each["name"] for each in chart["series"]] == HOSTILE
    assert "\u202e" not in found.text
    assert "<script>alert(1)</script>" in found.text


@pytest.mark.parametrize("attack", ["</script>", "</SCRIPT >", "<!--", "<script", "]]>"])
def test_the_data_hold_nothing_that_could_end_them(attack: str) -> None:
    markup = figure("c", "bars", [attack], {attack: [1.0]}, notes=[attack])
    data = markup.partition('<script type="application/json">')[2].partition("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["notes"] == [attack]


def test_the_table_says_what_the_chart_shows() -> None:
    found = Reading(figure("Accuracy", "lines", [1, 2], {"a": [0.125, None], "b": [math.nan, 1.0]}, "percent"))
    assert found.chart("Accuracy")["series"] == [
        {"name": "a", "values": [0.125, None]},
        {"name": "b", "values": [None, 1.0]},
    ]
    assert found.text == "Accuracy As a table Accuracy round a b 1 12.5 % – 2 – 100 %"


def test_the_table_of_cells_lies_as_they_do() -> None:
    text = Reading(figure("C", "cells", ["1", "2"], {"ann": ["0", "1"], "bob": ["1", None]})).text
    assert text == "C As a table C 1 2 ann 0 1 bob 1 –"


def test_what_was_not_measured_is_said_and_not_drawn() -> None:
    for series in ({}, {"a": []}, {"a": [None, math.nan, 1e200]}):
        found = Reading(figure("Loss", "lines", [1, 2, 3], series))
        assert found.text == "Loss not measured"
        assert found.charts == []


def test_a_long_table_is_cut_and_says_so() -> None:
    names = [f"client-{i}" for i in range(MOST_ROWS + 50)]
    found = Reading(figure("C", "bars", names, {"a": [1.0] * len(names)}))
    assert len(found.charts[0]["x"]) == len(names)
    assert "and 50 more rows" in found.text


@given(given_=st.lists(VALUES, min_size=1, max_size=8), form=st.sampled_from(list(FORMS)))
def test_any_values_can_be_handed_over(given_: list[float | None], form: str) -> None:
    found = Reading(figure("c", "lines", range(len(given_)), {"a": given_}, form))  # pyright: ignore[reportArgumentType]
    known = [v for v in given_ if v is not None and abs(v) <= 1e100]
    assert bool(found.charts) == bool(known)
    for chart in found.charts:
        drawn = [v for v in values(chart, "a") if v is not None]
        assert drawn == pytest.approx(known, rel=1e-5)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(12500), "12,500"),
        (number(0.034), "0.034"),
        (number(1e300), "1e+300"),
        (percent(0.934), "93.4 %"),
        (percent(1), "100 %"),
        (size(0), "0 B"),
        (size(1023), "1023 B"),
        (size(1536), "1.5 KiB"),
        (size(40 << 20), "40 MiB"),
        (seconds(0), "0 s"),
        (seconds(0.0004), "0.4 ms"),
        (seconds(0.9999), "1 s"),
        (seconds(200), "3 min 20 s"),
        (seconds(7500), "2 h 5 min"),
    ],
)
def test_numbers_are_written_as_people_do(written: str, expected: str) -> None:
    assert written == expected


def test_holdings_show_each_class_of_each_client() -> None:
    chart = Reading(holdings("held", [[3, 0], [1, 2]], ["ann", "bob"], ["cat", "dog"])).chart("held")
    assert (chart["kind"], chart["x"]) == ("bars", ["ann", "bob"])
    assert (values(chart, "cat"), values(chart, "dog")) == ([3, 1], [0, 2])


def test_holdings_with_many_classes_become_cells() -> None:
    chart = Reading(holdings("held", [[1] * 11, [0] * 11], ["ann", "bob"])).chart("held")
    assert chart["kind"] == "cells"
    assert values(chart, "bob") == [0] * 11


@pytest.mark.parametrize("names", [[], ["only one"], ["same", "same"]])
def test_holdings_number_clients_whose_names_do_not_tell_them_apart(names: list[str]) -> None:
    assert Reading(holdings("held", [[3], [1]], names)).chart("held")["x"] == ["client 1", "client 2"]
