"""A table in the room that there is: figures whole or not there, one line for each row, words cut at a word's end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from roughfed.deploy.table import CUT, Column, FittingTable, cut

WORDS = st.text("abc d", max_size=60).map(str.strip)
FIGURES = st.integers(0, 10**9).map(str)


def drawn(columns: list[Column], width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as said:
        console.print(FittingTable(columns))
    return [line.rstrip() for line in said.get().splitlines()]


@given(st.lists(st.tuples(FIGURES, FIGURES, WORDS, FIGURES), min_size=1, max_size=6), st.integers(60, 120))
def test_rows_have_a_line_each_and_figures_are_whole(rows: list[tuple[str, str, str, str]], width: int) -> None:
    one, two, words, three = ([row[at] for row in rows] for at in range(4))
    columns = [Column("one", one), Column("two", two, spare=1), Column("why", words, prose=True)]
    columns.append(Column("three", three))
    head, *lines = drawn(columns, width)
    assert len(lines) == len(rows)
    assert max(map(len, (head, *lines))) <= width
    for line, row in zip(lines, rows, strict=True):
        found = line.split()
        assert (found[0], found[-1]) == (row[0], row[3])
        assert found[1] == row[1] or "two" not in head.split()


def test_the_column_that_can_be_spared_most_goes_first_and_words_take_the_rest() -> None:
    columns = [
        Column("name", ["a"]),
        Column("up", ["1" * 10], spare=1),
        Column("down", ["2" * 10], spare=2),
        Column("why", ["a word and " * 8], prose=True),
        Column("never", [""]),
    ]
    assert [drawn(columns, width)[0].split() for width in (120, 54, 53, 42, 41)] == [
        ["name", "up", "down", "why"],
        ["name", "up", "down", "why"],
        ["name", "up", "why"],
        ["name", "up", "why"],
        ["name", "why"],
    ]
    assert drawn(columns, 60)[1].endswith(f"a word and a word and a{CUT}")


def test_a_title_may_have_lines_and_a_table_of_nothing_is_nothing() -> None:
    assert drawn([Column("may\nfail", ["1"])], 40) == [" may", "fail", "   1"]
    assert drawn([], 40) == [""]
    assert drawn([Column("a", [])], 40) == [""]


@given(WORDS, st.integers(8, 40))
def test_a_text_is_cut_at_the_end_of_a_word(text: str, width: int) -> None:
    found = cut(text, width)
    assert len(found) <= width
    if found != text:
        assert text.startswith(head := found.removesuffix(CUT))
        assert not head.endswith(" ")
