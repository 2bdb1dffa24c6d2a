"""Where settings come from: a TOML file, environment variables, flags. Each yields values with their origin."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from roughfed.config.dropped import current_name
from roughfed.config.reading import meant_by, read
from roughfed.config.schema import Key
from roughfed.config.values import Origin
from roughfed.errors import ConfigError

_PREFIX = "ROUGHFED_"
_SYNTAX = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)
_TABLE = re.compile(r"\s*\[+\s*(?P<name>[^\]#]+?)\s*\]")
_WORD = re.compile(r"\s*([\w-]+)")
_KEY = re.compile(r"""\s*(?P<name>[\w"'-]+(?:\s*\.\s*[\w"'-]+)*)\s*=""")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that somebody wrote.

    Attributes:
        value: as TOML or text gave it, not checked yet.
        origin: who wrote it.
    """

    value: object
    origin: Origin


def from_file(path: Path, tables: Mapping[str, object], *, made_by: str) -> dict[str, Setting]:
    """Read a TOML file.

    Args:
        path: the file.
        tables: names of the tables that are flattened to `table.key`; others stay whole under their own name.
        made_by: the command that writes such a file, for the cure.

    Returns:
        settings by dotted key, in order.

    Raises:
        ConfigError: no such file, not readable, not UTF-8, not TOML.
    """
    text = read(path, made_by)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, text, str(error)) from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists thousands deep
        cause = "The file holds a number or a nesting that is far too long."
        raise ConfigError(cause, file=str(path), cure="Remove it.") from None
    lines = _lines(text)
    settings: dict[str, Setting] = {}
    for name, content in document.items():
        rows: Mapping[str, object] = {f'"{name}"' if "." in name else name: content}  # "a.b" is no key b of [a]
        if current_name(name) in tables and isinstance(content, dict):
            rows = {f"{name}.{key}": value for key, value in cast("dict[str, object]", content).items()}
        for dotted, value in rows.items():
            origin = Origin("file", str(path), lines.get(dotted) or lines.get(name, 0))
            if (known := current_name(dotted, str(origin))) in settings:
                cause = f"{known} is written twice, once under its old name."
                raise ConfigError(cause, file=str(origin), key=known, cure="Remove the old one.")
            settings[known] = Setting(value, origin)
    return settings


def from_env(env: Mapping[str, str], keys: Mapping[str, Key], others: Mapping[str, Key]) -> dict[str, Setting]:
    """Read `ROUGHFED_TABLE__KEY` variables.

    Variables without a double underscore are not settings. Those that belong to the other settings file are left to
    the other process: both may run with one environment.

    Raises:
        ConfigError: a variable that is meant to be a setting and would not be read: one underscore, or lower case.
    """
    settings: dict[str, Setting] = {}
    spelled = {key.variable.replace("__", "_"): key for key in (*others.values(), *keys.values())}
    for variable, text in env.items():
        meant = spelled.get(re.sub("_+", "_", variable.upper()))
        # Kubernetes and container links set NAME_PORT=tcp://... for a service called roughfed-server: nobody's slip.
        if meant is not None and variable != meant.variable and "://" not in text:
            cause, cure = f"{variable} is not read.", f"Write {meant.variable}: upper case, two underscores."
            raise ConfigError(cause, file=variable, key=meant.dotted, cure=cure)
        if not variable.startswith(_PREFIX) or "__" not in variable:
            continue
        dotted = ".".join(variable.removeprefix(_PREFIX).lower().split("__", 1))
        dotted = current_name(dotted, variable)
        if dotted in keys or dotted not in others:
            value = keys[dotted].parse(text) if dotted in keys else text
            settings[dotted] = Setting(value, Origin("env", variable))
    return settings


def from_flags(flags: Mapping[str, str], keys: Mapping[str, Key]) -> dict[str, Setting]:
    """Read flags, given as text by dotted key."""
    named = {current_name(dotted, f"--{dotted}"): (dotted, text) for dotted, text in flags.items()}
    return {
        known: Setting(keys[known].parse(text) if known in keys else text, Origin("flag", f"--{dotted}"))
        for known, (dotted, text) in named.items()
    }


def _not_toml(path: Path, text: str, message: str) -> ConfigError:
    match = _SYNTAX.fullmatch(message)
    what = match["what"] if match else message
    line = int(match["line"]) if match and match["line"] else text.rstrip().count("\n") + 1
    column = f", column {match['column']}" if match and match["column"] else ""
    cause = f"Line {line}{column} is not TOML: {what[:1].lower()}{what[1:]}."
    rows = text.splitlines()
    cure = meant_by(rows[line - 1]) if 0 < line <= len(rows) else ""
    return ConfigError(cause, file=f"{path}:{line}", key=_key_at(text, line), cure=cure or _syntax_cure(what))


def _syntax_cure(what: str) -> str:
    if what.startswith(("Cannot overwrite", "Cannot declare", "Duplicate")):
        return "Keep one of the two."
    if what.startswith(("Invalid value", "Unterminated", "Illegal character", "Expected \"'")):
        return 'Write text in double quotes, for example name = "value".'
    return 'Write one `key = value` a line, text in double quotes, below its "[table]".'


def _key_at(text: str, line: int) -> str:
    """The dotted key that is written on a line, as far as it can be told."""
    table = ""
    for number, dotted in _named_lines(text):
        if number == line:
            return dotted if "." in dotted else ""
        if number > line:
            break
        table = dotted.partition(".")[0]
    word = _WORD.match(text.splitlines()[line - 1]) if 0 < line <= len(text.splitlines()) else None
    return f"{table}.{word[1]}" if table and word else ""


def _lines(text: str) -> dict[str, int]:
    """Lines of the tables and of the dotted keys, from 1; the first of each."""
    lines: dict[str, int] = {}
    for number, dotted in _named_lines(text):
        lines.setdefault(dotted, number)
        lines.setdefault(".".join(dotted.split(".")[:2]), number)
    return lines


def _named_lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line that opens a table or sets a key: its number, from 1, and the dotted name."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TABLE.match(line):
            table = _plain(match["name"])
            yield number, table
        elif match := _KEY.match(line):
            name = _plain(match["name"])
            yield number, f"{table}.{name}" if table else name


def _plain(name: str) -> str:
    return re.sub(r"""["'\s]""", "", name)
