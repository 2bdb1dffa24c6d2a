"""Charts are well-formed, show every value, and survive whatever they are given."""

import math
from collections.abc import Callable
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.report.bars import bars, stacked_bars
from roughfed.report.columns import stacked_columns
from roughfed.report.heat import heat_map
from roughfed.report.lines import line_chart
from roughfed.report.plots import holdings_svg
from roughfed.report.scale import byte_ticks, number, percent, seconds, size, ticks
from roughfed.report.svg import WIDTH, Axis, clip, standalone

SVG = "{http://www.w3.org/2000/svg}"
UNIT = Axis((0.0, 0.5, 1.0), percent)
HOSTILE = ["<script>", "a&b\"'", "nul\0", "\ud800", "\x1b[31m", "\u202eevil", "日本語", "x" * 200]
VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


def parse(svg: str) -> ET.Element:
    """Parse, and check what holds for every chart."""
    root = ET.fromstring(svg.encode())
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root.get("aria-label") == root[0].text
    height = float(root.get("viewBox", "").split()[3])
    for shape in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            if (value := shape.get(name)) is not None:
                assert -1 <= float(value) <= max(WIDTH, height) + 1, (shape.tag, name, value)
    return root


def tips(root: ET.Element) -> list[str]:
    return [t.text or "" for parent in root.iter() if parent is not root for t in parent.findall(f"{SVG}title")]


DRAWINGS: dict[str, Callable[[list[str]], str]] = {
    "line_chart": lambda names: line_chart("t", {n: [0.1, None, 0.9] for n in names}, x=[1, 2, 3], axis=UNIT),
    "stacked_columns": lambda names: stacked_columns("t", {n: [0.1, 0.0] for n in names}, x=[1, 2], axis=UNIT),
    "bars": lambda names: bars("t", dict.fromkeys(names, 0.5), axis=UNIT),
    "stacked_bars": lambda names: stacked_bars("t", {n: [0.1] * len(names) for n in names}, parts=names, axis=UNIT),
    "heat_map": lambda names: heat_map(
        "t", {n: [0.5] * len(names) for n in names}, columns=names, high=1, form=percent
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_hostile_names_cannot_leave_their_text(name: str) -> None:
    svg = DRAWINGS[name](HOSTILE)
    root = parse(svg)
    assert "script" not in {e.tag.removeprefix(SVG) for e in root.iter()}
    assert "\u202e" not in svg
    assert any("<script>" in t for t in tips(root))


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("rows", [0, 1, 200])
def test_any_number_of_names_makes_a_chart(name: str, rows: int) -> None:
    parse(DRAWINGS[name]([f"client-{i}" for i in range(min(rows, 40) if name == "heat_map" else rows)]))


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_names_are_said_in_words(name: str) -> None:
    assert [t.text for t in parse(DRAWINGS[name]([])).iter(f"{SVG}text")] in (["not measured"], ["nothing to show"])


def test_a_line_is_broken_at_gaps_and_each_value_has_a_tooltip() -> None:
    values = [0.1, None, 0.3, math.nan, math.inf, 0.5]
    root = parse(line_chart("t", {"accuracy": values}, x=[1, 2, 3, 4, 5, 6], axis=UNIT))
    path = next(e.get("d", "") for e in root.iter(f"{SVG}path"))
    assert (path.count("M"), path.count("L")) == (3, 0)
    assert tips(root) == ["accuracy, round 1: 10 %", "accuracy, round 3: 30 %", "accuracy, round 6: 50 %"]


def test_a_larger_value_lies_higher_and_a_longer_bar_is_larger() -> None:
    dots = [
        float(e.get("cy", ""))
        for e in parse(line_chart("t", {"a": [0.2, 0.8]}, x=[1, 2], axis=UNIT)).iter(f"{SVG}circle")
    ]
    assert dots[0] > dots[1]
    widths = [float(e.get("width", "")) for e in parse(bars("t", {"a": 0.25, "b": 0.5}, axis=UNIT)).iter(f"{SVG}rect")]
    assert widths[1] == pytest.approx(2 * widths[0], rel=1e-4)


def test_stacked_parts_touch_and_add_up() -> None:
    root = parse(stacked_bars("t", {"a": [0.2, 0.0, 0.3]}, parts=["p", "q", "r"], axis=UNIT))
    pieces = [e for e in root.iter(f"{SVG}rect") if len(e)]
    assert [e[0].text for e in pieces] == ["a, p: 20 %", "a, r: 30 %"]
    assert float(pieces[1].get("x", "")) == pytest.approx(
        float(pieces[0].get("x", "")) + float(pieces[0].get("width", "")), rel=1e-4
    )


@given(values=st.lists(VALUES, min_size=1, max_size=8))
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    axis = Axis(ticks(min(known, default=0), max(known, default=0)), number)
    parse(line_chart("t", {"a": values}, x=list(range(len(values))), axis=axis))
    parse(heat_map("t", {"a": values}, columns=[str(i) for i in range(len(values))], high=1, form=number))
    parse(bars("t", {str(i): v for i, v in enumerate(values)}, axis=UNIT))


@given(low=st.floats(-1e12, 1e12), span=st.floats(0, 1e12), about=st.integers(2, 10))
def test_ticks_are_few_increasing_and_cover_the_values(low: float, span: float, about: int) -> None:
    marks = ticks(low, low + span, about=about)
    assert 2 <= len(marks) <= 2 * about + 3
    assert all(a < b for a, b in pairwise(marks))
    if span > 1e-6 * max(1, abs(low)):
        slack = span * 1e-6
        assert marks[0] <= low + slack
        assert marks[-1] >= low + span - slack


@pytest.mark.parametrize(
    ("low", "high"), [(math.nan, math.nan), (-math.inf, math.inf), (-1e308, 1e308), (0, 5e-324), (1e300, 1e300)]
)
def test_ticks_of_bounds_without_a_span(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert len(marks) >= 2
    assert all(math.isfinite(m) for m in marks)


@given(high=st.floats(0, 1e15))
def test_byte_ticks_are_written_without_fractions_of_a_byte_and_cover(high: float) -> None:
    marks = byte_ticks(high)
    assert marks[0] == 0
    assert marks[-1] >= high * (1 - 1e-6)


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
        (clip("klinikum-münchen-süd-3", 11), "klini…süd-3"),
    ],
)
def test_numbers_are_written_as_people_do(written: str, expected: str) -> None:
    assert written == expected


def test_holdings_show_each_class_of_each_client() -> None:
    root = parse(holdings_svg([[3, 0], [1, 2]], ["ann", "bob"], ["cat", "dog"]))
    assert tips(root) == ["ann, cat: 3", "bob, cat: 1", "bob, dog: 2"]


def test_holdings_with_many_classes_become_a_heat_map() -> None:
    root = parse(holdings_svg([[1] * 11, [0] * 11], ["ann", "bob"]))
    assert len(tips(root)) == 22
    assert "ann, 10: 1" in tips(root)


@pytest.mark.parametrize("names", [[], ["only one"], ["same", "same"]])
def test_holdings_number_clients_whose_names_do_not_tell_them_apart(names: list[str]) -> None:
    assert tips(parse(holdings_svg([[3], [1]], names))) == ["client 1, 0: 3", "client 2, 0: 1"]


def test_holdings_that_are_not_known_say_so() -> None:
    assert "not known" in holdings_svg([], [])


def test_a_standalone_chart_carries_its_style_for_light_and_dark() -> None:
    root = ET.fromstring(standalone(holdings_svg([[3]], ["a"])).encode())
    style = next(root.iter(f"{SVG}style")).text or ""
    assert "prefers-color-scheme: dark" in style
    assert all(f".s{i} " in style for i in range(10))
