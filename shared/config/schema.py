"""The keys of a settings file, read off its models: dotted name, type in words, default, meaning."""

from __future__ import annotations

import json
import tomllib
import types
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from roughfed.config.values import Words, show

_NOUNS: dict[object, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        table: its table, without brackets.
        name: its name in the table.
        field: what pydantic knows about it.
    """

    table: str
    name: str
    field: FieldInfo

    @property
    def dotted(self) -> str:
        """`table.name`, the name that flags and messages use."""
        return f"{self.table}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ROUGHFED_{self.table}__{self.name}".upper()

    @property
    def meaning(self) -> str:
        """What it does, in one sentence."""
        return self.field.description or ""

    @cached_property
    def words(self) -> Words | None:
        """Name and spelling of a kind of value beyond TOML's own."""
        return next((m for m in self.field.metadata if isinstance(m, Words)), None)

    @cached_property
    def choices(self) -> tuple[str | int, ...]:
        """The values it can have, when they are few."""
        return get_args(self.field.annotation) if get_origin(self.field.annotation) is Literal else ()

    @cached_property
    def noun(self) -> str:
        """The type in words, with its bounds."""
        if self.words:
            return self.words.noun
        if self.choices:
            return " or ".join(map(show, self.choices))
        return _NOUNS[self.field.annotation] + _bounds(self.field.metadata)

    @cached_property
    def default(self) -> str:
        """The default as TOML."""
        return self.spell(self.field.default)

    def spell(self, value: object) -> str:
        """A value of this key as TOML."""
        write = self.words.write if self.words else show
        if write is show and isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)  # a message may cut a long text short, a file may not
        return write(value)

    def parse(self, text: str) -> object:
        """A value from an environment variable or a flag; what does not parse stays text and is refused later."""
        annotation = self.field.annotation
        if get_origin(annotation) is tuple and not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        if get_origin(annotation) is not tuple and self._is_text:
            return text
        try:
            document = tomllib.loads(f"value = {text.lower() if annotation is bool else text}")
        except (ValueError, RecursionError):
            return text
        return document["value"] if len(document) == 1 else text

    @property
    def _is_text(self) -> bool:
        if self.choices:
            return isinstance(self.choices[0], str)
        annotation = self.field.annotation
        return annotation is str or bool(self.words and not isinstance(annotation, types.UnionType))


def _bounds(metadata: list[Any]) -> str:
    low = next((m for m in metadata if isinstance(m, Ge | Gt)), None)
    high = next((m for m in metadata if isinstance(m, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f" from {show(low.ge)} to {show(high.le)}"
    parts: list[str] = []
    if isinstance(low, Ge):
        parts.append(f"{show(low.ge)} or more")
    elif low:
        parts.append(f"more than {show(low.gt)}")
    if isinstance(high, Lt) and high.lt != 1 << 63:  # the width of a seed interests nobody
        parts.append(f"less than {show(high.lt)}")
    return ", " + ", ".join(parts) if parts else ""


def tables_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables of a settings file, in order."""
    types_of = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: sub for name, sub in types_of.items() if isinstance(sub, type) and issubclass(sub, BaseModel)}


def named_tables_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The tables of which there may be several, [table.NAME] each: what one of them holds, by the table's name."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        arguments = get_args(field.annotation)
        if get_origin(field.annotation) is dict and issubclass(arguments[1], BaseModel):
            found[name] = arguments[1]
    return found


def keys_of(model: type[BaseModel]) -> dict[str, Key]:
    """The settings of a file by dotted name, in order."""
    keys = (
        Key(table, name, field) for table, sub in tables_of(model).items() for name, field in sub.model_fields.items()
    )
    return {key.dotted: key for key in keys}
