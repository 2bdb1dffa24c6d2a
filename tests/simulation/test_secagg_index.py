"""The index of README.md names tests that are there, and every property of secure aggregation has its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INDEX = (HERE / "README.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w./]+\.py)(?:::([\w.]+))?`", INDEX)))
ROWS = dict(re.findall(r"^\| \*\*(T?\d+)\*\* .*? \| (.*) \|$", INDEX, re.MULTILINE))


@pytest.mark.parametrize(("file", "name"), [pair for pair in NAMED if pair[0].startswith(("test_", "../"))])
def test_what_the_index_names_is_there(file: str, name: str) -> None:
    text = (HERE / file).read_text()
    for part in filter(None, name.split(".")):
        assert re.search(rf"^\s*(?:async )?(?:def|class) {part}\b", text, re.MULTILINE)


def test_every_property_has_a_row() -> None:
    assert ROWS.keys() == {f"T{i}" for i in range(1, 25)} | {str(i) for i in range(1, 12)}
    assert all(re.search(r"::test_|e2e|tests/bench", row) for row in ROWS.values())


def test_what_is_slow_is_said_to_be() -> None:
    """A row that rests on a slow test says so, and no other is called slow."""
    for file, name in NAMED:
        if not name or not name.startswith("test_") or "." in name:
            continue
        before = (HERE / file).read_text().split(f"def {name}(")[0].rsplit("\n\n\n", 1)[-1]
        said = f"`{file}::{name}` (slow)" in INDEX
        assert said == ("mark.slow" in before), name
