"""The kinds of values that settings have beyond TOML's own: durations, sizes, names, addresses, counts or fractions.

A kind is a type with a validator that refuses in our words, and `Words`, which says how to name and print it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, PrivateAttr
from pydantic_core import PydanticCustomError

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

NAME = re.compile(r"[a-z0-9-]{1,63}")
PEER = re.compile(r"(org:)?[a-z0-9-]{1,63}|sha256:[0-9a-f]{64}", re.ASCII)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(ms|[smh]?)")
_DURATION_UNITS = {"": 1, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_SIZE = re.compile(r"(\d{1,19})\s*(B|KiB|MiB|GiB|TiB)?")
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.%\w]+\]|[^\s:\[\]/@#]+):(\d{1,5})")
_APP = re.compile(r"[^:]+\.py:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind of value is named to people and written in TOML."""

    noun: str
    write: Callable[[object], str]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from.

    Attributes:
        kind: "default", "file", "env" or "flag".
        where: the file, the variable or the flag; empty for a default.
        line: line in the file, from 1; 0 when it is not known.
    """

    kind: Literal["default", "file", "env", "flag"] = "default"
    where: str = ""
    line: int = 0

    def __str__(self) -> str:
        """For people: `fed.toml:12`, `ROUGHFED_ROUND__ROUNDS`, `--round.rounds` or `default`."""
        return f"{self.where}:{self.line}" if self.line else self.where or self.kind


DEFAULT = Origin()


class Document(BaseModel):
    """A whole settings file: tables of settings, each with its origin."""

    model_config = STRICT
    FILE: ClassVar[str]
    MADE_BY: ClassVar[str]
    ABOUT: ClassVar[str]
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict[str, Origin])

    def origin(self, key: str) -> Origin:
        """Where the value of a dotted key comes from."""
        return self._origins.get(key, DEFAULT)

    def remember(self, origins: dict[str, Origin]) -> None:
        """Keep the origins; called once, by the loader."""
        self._origins = origins


def show(value: object) -> str:
    """A value as TOML would write it, cut short for a message."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return text if len(text) <= 60 else f'{text[:56]}..."'
        case dict():
            return "a table"
        case list() | tuple():
            return "[" + ", ".join(map(show, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
        case int() if value.bit_length() > 128:
            return "a very long number"
        case float() if value.is_integer() and abs(value) < 1e15:
            return f"{value:.1f}"
        case _:
            return str(value)


def refuse(cause: str, cure: str) -> NoReturn:
    """Refuse a value inside a validator.

    Raises:
        PydanticCustomError: always; `problems.translate` takes the two sentences out again.
    """
    raise PydanticCustomError("setting", "{cause}", {"cause": cause, "cure": cure})


def seconds(value: object) -> float:
    """Parse a duration: "200ms", "90s", "10m", "2h", or a number of seconds; the empty text is 0.

    Returns:
        seconds, finite and >= 0.
    """
    if isinstance(value, str):
        if not (text := value.strip()):
            return 0.0
        if match := _DURATION.fullmatch(text):
            return float(match[1]) * _DURATION_UNITS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    refuse(f"{show(value)} is not a duration.", 'Write "90s", "10m", "2h" or a number of seconds.')


def duration_text(value: object) -> str:
    """The shortest spelling of a number of seconds, quoted; `""` for 0."""
    number = seconds(value)
    if not number:
        return '""'
    unit, size = next((u, s) for u, s in (("h", 3600), ("m", 60), ("s", 1)) if number % s == 0 or u == "s")
    amount = f"{number / size:.6f}".rstrip("0").rstrip(".")
    return f'"{amount}{unit}"'


def size_bytes(value: object) -> int:
    """Parse a size: "512 MiB", "8 GiB" or a number of bytes."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        value = int(match[1]) * _SIZE_UNITS[match[2] or "B"]
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63:
        return value
    refuse(f"{show(value)} is not a size.", 'Write "512 MiB", "8 GiB" or a number of bytes, more than 0.')


def size_text(value: object) -> str:
    """A size in the largest unit that divides it, quoted."""
    number = size_bytes(value)
    unit, size = next((u, s) for u, s in reversed(_SIZE_UNITS.items()) if number % s == 0)
    return f'"{number // size} {unit}"'


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cohort(value: object) -> int | float:
    number = _number(value)
    if number is not None and (0 < number < 1 or (isinstance(number, int) and number >= 0)):
        return number
    refuse(
        f"{show(value)} is neither a number of clients nor a fraction of them.",
        "Write a whole number of clients, a fraction between 0 and 1 such as 0.3, or 0 for every connected client.",
    )


def _quorum(value: object) -> int | float:
    number = _number(value)
    if number is not None and (0 < number < 1 or number == 1.0 or (isinstance(number, int) and number >= 1)):
        return number
    refuse(
        f"{show(value)} is neither a number of clients nor a fraction of the cohort.",
        "Write a fraction such as 0.8, 1.0 for all of the cohort, or a whole number of clients, 1 or more.",
    )


def _peers(value: tuple[str, ...]) -> tuple[str, ...]:
    for peer in value:
        if not PEER.fullmatch(peer):
            refuse(
                f"{show(peer)} names no client.",
                'Write "NAME", "org:NAME", or "sha256:" and the 64 hex digits of a fingerprint (roughfed roster show).',
            )
    return value


def _name(value: str) -> str:
    if value and not NAME.fullmatch(value):
        refuse(f"{show(value)} is not a name.", "Write 1 to 63 lower-case letters, digits and hyphens.")
    return value


def _address(value: str) -> str:
    if value and not ((match := _ADDRESS.fullmatch(value)) and 1 <= int(match[1]) <= 65535):
        refuse(f"{show(value)} is not an address.", 'Write host:port, for example "fed.example.org:8443".')
    return value


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        if not 0 < len(pattern) <= 100:
            refuse(f"{show(pattern)} is no pattern of names.", "Write 1 to 100 characters.")
    if len(value) > 64:
        refuse(f"There are {len(value)} patterns.", "Write at most 64; one may have several stars.")
    return value


def _app(value: str) -> str:
    if value and not _APP.fullmatch(value):
        refuse(
            f"{show(value)} does not name a client in a file.",
            'Write FILE.py:NAME, for example "my.py:client" for `client = Client(...)` in my.py.',
        )
    return value


ServerSees = Literal["updates", "sketches", "sums"]
DataName = Literal["", "digits", "fashion-mnist", "mnist"]
ModelName = Literal[
    "",
    "mlp",
    "cnn",
    "cnn-small",
    "cnn-strided",
    "logistic",
    "resnet-8",
    "resnet-8-bn",
    "resnet-18",
    "resnet-18-bn",
    "transformer",
]
Duration = Annotated[float, BeforeValidator(seconds), Words('duration ("90s", "10m", "2h" or seconds)', duration_text)]
Size = Annotated[int, BeforeValidator(size_bytes), Words('size ("512 MiB", "8 GiB" or bytes)', size_text)]
Cohort = Annotated[int | float, PlainValidator(_cohort), Words("whole number, or fraction between 0 and 1", show)]
Quorum = Annotated[int | float, PlainValidator(_quorum), Words("fraction up to 1.0, or whole number", show)]
Patterns = Annotated[
    tuple[str, ...],
    Field(strict=False),  # TOML has lists, no tuples
    AfterValidator(_patterns),
    Words("list of patterns", show),
]
Peers = Annotated[
    tuple[str, ...],
    Field(strict=False),
    AfterValidator(_peers),
    Words('list of clients: "NAME", "sha256:64 HEX DIGITS" of a key, or "org:NAME"', show),
]
TierName = Annotated[str, AfterValidator(_name), Words("name of a tier of clients", show)]
Name = Annotated[str, AfterValidator(_name), Words("name ([a-z0-9-], 1 to 63 characters)", show)]
Address = Annotated[str, AfterValidator(_address), Words("host:port", show)]
App = Annotated[str, AfterValidator(_app), Words("FILE.py:NAME", show)]
