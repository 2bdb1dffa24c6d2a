"""One setting written into a settings file that is there, with all else in it left as it is."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path

from roughfed.errors import ConfigError
from roughfed.files import write_durably

_TABLE = re.compile(r"\s*\[(?P<name>[^\[\]]+)\]\s*(#.*)?$")


def write_setting(path: Path, key: str, value: str) -> None:
    """Set a text by its dotted key: over its line, over the comment that shows its default, or as a new one.

    Raises:
        ConfigError: the file cannot be read or written, or is written in a way in which this would not take effect.
    """
    table, _, name = key.partition(".")
    cure = f"Write {name} = {json.dumps(value)} in [{table}] yourself."
    try:
        before = path.read_text(encoding="utf-8")
        if tomllib.loads(before).get(table, {}).get(name) == value:
            return
        after = _with(before, table, name, f"{name} = {json.dumps(value)}")
        if tomllib.loads(after) != _changed(tomllib.loads(before), table, name, value):
            raise ConfigError("It is not written in a way that can be changed.", file=str(path), key=key, cure=cure)
        write_durably(path.resolve(), after.encode(), mode=stat.S_IMODE(path.stat().st_mode))
    except OSError as error:
        raise ConfigError(f"It cannot be changed ({error.strerror}).", file=str(path), key=key, cure=cure) from None
    except (ValueError, AttributeError):
        raise ConfigError("The file is no TOML that can be changed.", file=str(path), key=key, cure=cure) from None


def _with(text: str, table: str, name: str, line: str) -> str:
    lines = text.splitlines()
    heads = {n: match["name"].strip() for n, row in enumerate(lines) if (match := _TABLE.match(row))}
    start = next((n for n, head in heads.items() if head == table), None)
    if start is None:
        return "\n".join([*lines, "", f"[{table}]", line]) + "\n"
    end = next((n for n in heads if n > start), len(lines))
    for pattern in (rf"\s*{name}\s*=", rf"\s*#\s*{name}\s*="):
        for number in range(start + 1, end):
            if re.match(pattern, lines[number]):
                return "\n".join([*lines[:number], line, *lines[number + 1 :]]) + "\n"
    return "\n".join([*lines[: start + 1], line, *lines[start + 1 :]]) + "\n"


def _changed(document: dict[str, object], table: str, name: str, value: str) -> dict[str, object]:
    rows = document.get(table, {})
    return {**document, table: {**rows, name: value}} if isinstance(rows, dict) else document
