"""A method is a composition of parts, written as one line: `balanced-softmax(tau=1.5)+co-teaching+der++(alpha=0.3)`.

The same line stands in fed.toml, in a job, in `Client(trainer=...)` and in reports. In TOML it may also be a table:
`method = { balanced-softmax = { tau = 1.5 }, co-teaching = {}, "der++" = { alpha = 0.3 } }`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from roughfed.errors import ConfigError
from roughfed.methods.row import NEEDS, ROOMS, SEVERAL, Option, Part, Value
from roughfed.methods.table import PARTS, PRESETS
from roughfed.registry import suggestion

KEY = "trainer.method"
PLAIN = "plain"
AUTO = "auto"
_ONE = re.compile(r"\s*([a-z][a-z0-9-]*(?:\+\+)?)\s*(?:\(([^()]*)\))?\s*(?:\+(?=\s*\S)|$)")
_MOST = 2000  # characters


@dataclass(frozen=True, slots=True)
class Chosen:
    """A part with its options, every one of them."""

    name: str
    options: Mapping[str, Value]

    @property
    def row(self) -> Part:
        """Its row."""
        return PARTS[self.name]

    def __str__(self) -> str:
        """As it is written: only options that differ from their defaults."""
        changed = {k: v for k, v in self.options.items() if v != self.row.options[k].default}
        inside = ", ".join(f"{key}={_written(value)}" for key, value in sorted(changed.items()))
        return f"{self.name}({inside})" if inside else self.name


@dataclass(frozen=True, slots=True)
class Composition:
    """The parts of a method, in the order of the rooms; none for `plain`."""

    parts: tuple[Chosen, ...] = ()

    def __str__(self) -> str:
        """The canonical line."""
        return "+".join(map(str, self.parts)) or PLAIN

    def __contains__(self, name: str) -> bool:
        """Whether a part of that name, or of that room, is in it."""
        return any(name in (part.name, part.row.room) for part in self.parts)

    @property
    def needs(self) -> frozenset[str]:
        """What its parts need together."""
        return frozenset(need for part in self.parts for need in part.row.needs)


def read_method(text: str) -> Composition:
    """Parse a method and check that its parts can stand together.

    Args:
        text: a line, or the name of a preset; `auto` is not a composition but chosen from the data (see `AUTO`).

    Raises:
        ConfigError: names the part or option, the cause and what to write instead.
    """
    text = PRESETS.get(text.strip(), text.strip())
    if text in ("", PLAIN):
        return Composition()
    if text == AUTO:
        raise ConfigError("auto names no parts: a client chooses them from its data", key=KEY)
    chosen = list(_parse(text))
    for part in tuple(chosen):
        rooms = {PARTS[name].room: name for name in part.row.brings}
        chosen += [_chosen(name, {}) for room, name in rooms.items() if all(c.row.room != room for c in chosen)]
    chosen.sort(key=lambda part: ROOMS.index(part.row.room))  # stable: as written within a room
    _check(chosen)
    return Composition(tuple(chosen))


def write_table(table: Mapping[str, object]) -> str:
    """The line of a method that is given as a table of tables.

    Raises:
        ConfigError: a value is no table, or an option is no word or number.
    """
    parts: list[str] = []
    for name, options in table.items():
        if not isinstance(options, Mapping):
            raise ConfigError(f"{name} is not a table of options", key=KEY, cure=f"write {name} = {{}}")
        named = cast("Mapping[str, object]", options)
        inside = ", ".join(f"{key}={_written(value)}" for key, value in named.items())
        parts.append(f"{name}({inside})" if inside else name)
    return "+".join(parts)


def is_personal(method: str) -> bool:
    """Whether a part of a method makes a model of the client's own."""
    return method != AUTO and "personal" in read_method(method)


def missing(composition: Composition, have: Collection[str]) -> list[tuple[str, str]]:
    """(part, what it needs in words) of everything that a client does not have."""
    return [(c.name, NEEDS[need]) for c in composition.parts for need in sorted(c.row.needs - set(have))]


def _parse(text: str) -> Iterator[Chosen]:
    if len(text) > _MOST:
        raise ConfigError(f"a method of {len(text)} characters", key=KEY, cure=f"at most {_MOST}")
    at = 0
    while at < len(text):
        found = _ONE.match(text, at)
        if found is None:
            cause = f"cannot read {text[at : at + 40]!r} as a part"
            raise ConfigError(cause, key=KEY, cure="write parts like balanced-softmax+der++(alpha=0.3)")
        at = found.end()
        yield _chosen(found[1], _options(found[1], found[2] or ""))


def _pairs(name: str, inside: str) -> Iterator[tuple[str, str]]:
    for pair in inside.split(",") if inside.strip() else ():
        key, sign, value = (part.strip() for part in pair.partition("="))
        if not (key and sign and value):
            raise ConfigError(f"{pair.strip()!r} is no option of {name}", key=KEY, cure=f"write {name}(option=value)")
        yield key, value


def _options(name: str, inside: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in _pairs(name, inside):
        if key in options:
            raise ConfigError(f"{name} has {key} twice", key=KEY, cure="leave one of them out")
        options[key] = value
    return options


def _chosen(name: str, given: Mapping[str, str]) -> Chosen:
    if name not in PARTS:
        raise ConfigError(f"there is no part {name!r}", key=KEY, cure=suggestion(name, {*PARTS, *PRESETS}))
    options = PARTS[name].options
    for key in given:
        if key not in options:
            cure = suggestion(key, options) if options else "write it without brackets"
            raise ConfigError(f"{name} has no option {key!r}", key=KEY, cure=cure)
    return Chosen(
        name, {k: _value(f"{name}({k})", o, given[k]) if k in given else o.default for k, o in options.items()}
    )


def _value(place: str, option: Option, text: str) -> Value:
    try:
        value = _converted(option.default, text)
    except ValueError:
        kind = _KINDS[type(option.default)]
        raise ConfigError(f"{place} = {text} is not {kind}", key=KEY) from None
    if isinstance(value, str):
        if option.choices and value not in option.choices:
            raise ConfigError(f"{place} = {value} is unknown", key=KEY, cure=suggestion(value, option.choices))
        _written(value)  # what cannot be written again is refused
        return value
    low, high = option.low, option.high
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    if not least <= value <= most or math.inf in (value, -value):  # whole numbers may be too large for a float
        bounds = " and ".join(f"{w} {b:g}" for w, b in (("at least", low), ("at most", high)) if b is not None)
        raise ConfigError(f"{place} = {text} is out of range", key=KEY, cure=f"give {bounds or 'a finite number'}")
    return value


_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}


def _converted(default: Value, text: str) -> Value:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    return text if isinstance(default, str) else type(default)(text)


def _written(value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.-]+", value):
        raise ConfigError(f"{value!r} is no option's value", key=KEY, cure="give a number, true, false or a word")
    return value


def _check(chosen: list[Chosen]) -> None:
    """Refuse parts that cannot stand together."""
    for at, one in enumerate(chosen):
        for other in chosen[at + 1 :]:
            if why := _clash(one, other):
                cure = f"leave out {one.name} or {other.name}"
                raise ConfigError(f"{one.name} and {other.name} cannot stand together: {why}", key=KEY, cure=cure)


def _clash(one: Chosen, other: Chosen) -> str:
    if one.name == other.name:
        return "it is the same part twice"
    if one.row.room == other.row.room and one.row.room not in SEVERAL:
        return f"a method has one part of the room {one.row.room}"
    for left, right in ((one, other), (other, one)):
        why = left.row.excludes.get(right.name) or left.row.excludes.get(right.row.room)
        if why:
            return why
        if left.row.room == "ensemble" and "head" in right.row.needs:
            return f"{right.name} needs one linear head, and experts have several"
    return ""
