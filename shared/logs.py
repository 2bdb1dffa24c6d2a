"""Logs that can be shipped anywhere: one line per record, without secrets and without tensors.

JSON lines for machines, a short form for a terminal. Nothing is configured until `setup` is called.

What never reaches the stream: join tokens, PEM private keys, values under secret-like keys, the contents of bytes,
arrays and long lists, and raw control characters (a peer's text cannot forge a second line).
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Mapping, Set
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from json import dumps
from typing import Any, TextIO, cast

from roughfed.errors import ConfigError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MAX_ITEMS = 32  # longer containers are shown by type and length
MAX_DEPTH = 4  # so are containers nested deeper
MAX_MESSAGE_CHARS = 8 * 1024
MAX_TRACE_CHARS = 32 * 1024

_HIDDEN = "[redacted]"
_PREFILTER_CHARS = 256 * 1024  # a bound on the work per record, far above what is shown
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_WORD = r"(?:[\w-]*(?:token|secret|passw(?:or)?d|passphrase|credentials?)|(?:[\w-]*[_-])?key)"
_SECRET_NAME = re.compile(rf"{_WORD}s?", re.IGNORECASE)
_NUMBER = r"(?:[-+]?(?:\d++(?:\.\d*+)?(?:e[-+]?\d++)?|nan|inf))"

# In this order: whole keys first, then what a name gives away, then what its shape gives away.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        "[redacted private key]",
    ),
    (re.compile(r"#[\w.~=+/-]{40,}"), f"#{_HIDDEN}"),
    # {"password": "..."}, token='...', secret: "...": whatever the quotes hold
    (re.compile(rf"(?i)(?<![\w-])({_WORD}[\"']?\s*[:=]\s*b?)(\"[^\"]*\"|'[^']*')"), rf"\1{_HIDDEN}"),
    # --token=..., password=...: up to the next blank; a `key=` often names a setting, so its value has to look random
    (re.compile(rf"(?i)((?<![\w-]){_WORD}(?<!key)=)(?!\[redacted)[^\s\"',;&]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)(key=)[\w+/=-]{16,}"), rf"\1{_HIDDEN}"),
    # "token XXXX", "secret is XXXX", "key: XXXX"
    (
        re.compile(rf"(?i)((?<![\w-]){_WORD}(?:\s+is)?\s*[:\s]\s*)[\w+/=-]{{20,}}"),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?<!\w)b'(?:[^'\\]|\\.){32,}+'"), "<bytes>"),
    (re.compile(r'(?<!\w)b"(?:[^"\\]|\\.){32,}+"'), "<bytes>"),
    (re.compile(rf"(?i)(?<![\w.])(?:{_NUMBER}[\s,\[\]()]++){{32,}}+{_NUMBER}?"), "<numbers> "),
)

# C0, DEL, C1, line separators, and the marks that make text run backwards on a terminal
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


_about: ContextVar[Mapping[str, object] | None] = ContextVar("about", default=None)


def in_round(run: str, number: int) -> None:
    """From here on, JSON lines of this task, and of what it starts, say which round they are about.

    The trace is the round's W3C trace id, the same on both sides (`roughfed.trace_id`).
    """
    from roughfed.trace_id import trace_id

    _about.set({"run": run, "round": number, "trace": trace_id(run, number)})


def between_rounds() -> None:
    """From here on, they say nothing of a round."""
    _about.set(None)


def redact(text: str) -> str:
    """Remove secrets and bulk data from a text. Applying it twice changes nothing more."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def escape(text: str) -> str:
    r"""Make control characters visible (`\n`, `\x1b`), so that a text stays on its line."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def summarise(value: object, *, name: str = "", depth: int = 0) -> object:
    """A value as it may be logged: hidden under a secret-like name, bulk data by type, shape and length.

    Args:
        value: anything; numbers, texts and other objects come back as they are.
        name: the key under which it would be printed.
        depth: how many containers are around it.
    """
    if name and _SECRET_NAME.fullmatch(name) and not isinstance(value, bool | int | None):
        return _HIDDEN
    if isinstance(value, bytes | bytearray | memoryview):
        blob = cast("bytes", value)
        return f"<{type(blob).__name__} {len(blob)}>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _summarise_array(value)
    if isinstance(value, Mapping | list | tuple | Set):
        return _summarise_container(cast("Mapping[object, object] | list[object]", value), depth)
    return value


def _summarise_array(array: Any) -> object:
    """`<ndarray float32 [3, 4]>`; a scalar is its number."""
    shape = tuple(array.shape)
    if shape == () and hasattr(array, "item"):
        return array.item()
    dtype = str(array.dtype).removeprefix("torch.")
    return f"<{type(array).__name__} {dtype} {list(shape)}>"


def _summarise_container(items: Mapping[object, object] | list[object], depth: int) -> object:
    if len(items) > MAX_ITEMS or depth == MAX_DEPTH:
        return f"<{type(items).__name__} {len(items)}>"
    if isinstance(items, Mapping):
        return {key: summarise(value, name=str(key), depth=depth + 1) for key, value in items.items()}
    shown = [summarise(item, depth=depth + 1) for item in items]
    return tuple(shown) if isinstance(items, tuple) else shown


def _clean(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Redacted, then cut: a cut first would leave half a token that no rule knows."""
    cut = len(text) > _PREFILTER_CHARS
    shown = redact(text[:_PREFILTER_CHARS])
    if len(shown) > limit or cut:
        shown = f"{shown[:limit]}... ({len(text)} characters)"
    return shown


class _LogLine(logging.Formatter):
    """What both forms have in common: the redacted parts of a record, which itself stays as it is."""

    def message(self, record: logging.LogRecord) -> str:
        """The record's text, its arguments filled in after they were summarised."""
        args = record.args
        if isinstance(args, Mapping):
            args = {key: summarise(value, name=str(key)) for key, value in args.items()}
        elif args:
            args = tuple(summarise(value) for value in args)
        message = str(summarise(record.msg))
        return _clean(message % args if args else message)

    def extras(self, record: logging.LogRecord) -> dict[str, object]:
        """The fields given as `extra=`, such as run, round, client, update."""
        given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return {_clean(key): _clean_leaves(summarise(value, name=key)) for key, value in given.items()}

    def trace(self, record: logging.LogRecord) -> str:
        """Exception and stack, redacted; empty without them."""
        parts: list[str] = []
        if record.exc_info and record.exc_info[0]:
            parts.append(self.formatException(record.exc_info))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(record.stack_info)
        return _clean("\n".join(parts), MAX_TRACE_CHARS)


def _clean_leaves(value: object) -> object:
    """Every text inside a summarised value redacted; objects (and NaN, which JSON lacks) their redacted text."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {_clean(str(k)): _clean_leaves(v) for k, v in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_clean_leaves(item) for item in cast("list[object]", value)]
    return _clean(str(value))


class JsonLine(_LogLine):
    """`{"time": ..., "level": ..., "logger": ..., "msg": ..., "round": 3}`: ASCII, so nothing can break the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object; an extra field never replaces one of the first four."""
        line: dict[str, object] = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "msg": self.message(record),
        }
        if trace := self.trace(record):
            line["error"] = trace
        return dumps({**(_about.get() or {}), **self.extras(record), **line}, default=str)


class TerminalLine(_LogLine):
    """`12:03:01.123 WARNING round: text  round=3`; a trace follows, each line marked with a bar."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and one marked line for each line of a trace."""
        moment = _moment(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = record.name.removeprefix("roughfed.")
        fields = "".join(f"  {key}={value}" for key, value in self.extras(record).items())
        line = escape(f"{moment} {record.levelname:<7} {name}: {self.message(record)}{fields}")
        return "\n".join([line, *(f"    | {escape(row)}" for row in self.trace(record).splitlines())])


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


class _Stream(logging.StreamHandler[TextIO]):
    """A stream whose failure is nobody's failure, and which never prints the raw record."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say where the bad record came from (logging's own version would print its arguments)."""
        where = escape(f"{record.name} {record.pathname}:{record.lineno}")
        line = {"level": "ERROR", "logger": __name__, "msg": f"a log record could not be written: {where}"}
        with suppress(OSError, ValueError):  # a closed pipe or file
            self.stream.write(dumps(line) + "\n")


def setup(*, level: str | int = "INFO", stream: TextIO | None = None, json: bool | None = None) -> None:
    """Send the process's logs to one stream. Calling it again replaces the earlier setup.

    Args:
        level: of roughfed's own loggers; other libraries speak from WARNING on.
        stream: where to; None is stderr.
        json: JSON lines (True), the terminal form (False), or by whether the stream is a terminal (None).

    Raises:
        ConfigError: there is no such level.
    """
    name = level.upper() if isinstance(level, str) else logging.getLevelName(level)
    if name not in LEVELS:
        raise ConfigError(f"there is no level {level!r}", key="ROUGHFED_LOG", cure=f"use one of {', '.join(LEVELS)}")
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    handler = _Stream(out)
    handler.setFormatter(JsonLine() if as_json else TerminalLine())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stream)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("roughfed").setLevel(name)
