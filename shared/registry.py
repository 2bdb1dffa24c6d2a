"""The tables of the rooms: finding a row by the name in a configuration, with a helpful refusal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
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
    raise ConfigError(f"{name!r} is unknown", key=key, cure=suggestion(name, table))


def suggestion(word: str, words: Iterable[str]) -> str:
    """The cure for a word that is none of `words`: the nearest one, or all of them."""
    known = list(words)
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"choose one of: {', '.join(sorted(known))}"


def nearest(word: str, words: Iterable[str]) -> str:
    """The word that was probably meant; empty when none is near."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1)), "")
