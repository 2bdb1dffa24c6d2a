"""The tables of the rooms: finding a row by the name in a configuration, with a helpful refusal."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from roughfed.errors import ConfigError

Row = TypeVar("Row")


def look_up(table: Mapping[str, Row], name: str, *, key: str) -> Row:
    """The row called `name`.

    Args:
        table: the rows by kebab-case name.
        name: what the configuration says.
        key: the setting that says it, for example `data.name`.

    Raises:
        ConfigError: no such row; the cure names the closest one, or all of them.
    """
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, n=1)
    cure = f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(sorted(table))}"
    raise ConfigError(f"{name!r} is unknown", key=key, cure=cure)
