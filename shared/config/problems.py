"""What is wrong with settings, in sentences: one problem per key, all of them together in one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from roughfed.config.schema import Key
from roughfed.config.values import Document, Origin, show
from roughfed.errors import ConfigError, NotBuiltYet
from roughfed.registry import nearest

_ORDER = ("file", "env", "flag", "default")
_TOO_LITTLE = ("greater_than", "greater_than_equal")
_COUNTABLE = ("whole", "number", "name", "duration", "size", "list")
_TOO_MUCH = ("less_than", "less_than_equal")


@dataclass(frozen=True, slots=True)
class Problem:
    """One setting that is refused.

    Attributes:
        origin: the file and line, the variable or the flag.
        key: dotted name.
        cause: one sentence.
        cure: one sentence.
        planned: a later version brings what was asked for.
    """

    origin: Origin
    key: str
    cause: str
    cure: str
    planned: bool = field(default=False)

    @property
    def sentence(self) -> str:
        """All of it on one line."""
        return f"{self.origin}: {self.key}: {self.cause} {self.cure}"

    @property
    def rank(self) -> tuple[int, str, int, str, str]:
        """The order in which problems are listed: file, environment, flags; there by place, then by key."""
        origin = self.origin
        return (_ORDER.index(origin.kind), origin.where, origin.line, self.key, self.cause)


class SettingsRefused(ConfigError):
    """Settings are wrong; `problems` lists every one of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """A single problem keeps its own cause and cure; several are listed, sorted, one a line."""
        self.problems = tuple(sorted(problems, key=lambda p: p.rank))
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__(first.cause, file=str(first.origin), key=first.key, cure=first.cure)
            return
        listing = "\n".join(f"  {p.sentence}" for p in self.problems)
        cause = f"{len(self.problems)} settings are wrong:\n{listing}"
        super().__init__(cause, file=first.origin.where, cure="Correct them; `roughfed plan` checks them again.")


class SettingsNotBuilt(SettingsRefused, NotBuiltYet):
    """Everything that is wrong is planned for a later version."""


def refusal(problems: Iterable[Problem]) -> SettingsRefused:
    """The error to raise for some problems: NotBuiltYet only when all of them are just that."""
    listed = list(problems)
    return SettingsNotBuilt(listed) if all(p.planned for p in listed) else SettingsRefused(listed)


def conflict(config: Document, keys: tuple[str, ...], cause: str, cure: str) -> Problem:
    """A problem at the first of the keys that somebody wrote; at the file when nobody wrote one."""
    origins = [(key, origin) for key in keys if (origin := config.origin(key)).kind != "default"]
    key, origin = origins[0] if origins else (keys[0], Origin("file", config.FILE))
    return Problem(origin, key, cause, cure)


def translate(error: ValidationError, keys: Mapping[str, Key]) -> Iterator[tuple[str, str, str]]:
    """Say in our words what pydantic found.

    Yields:
        dotted key, cause, cure; one for each key.
    """
    seen: set[str] = set()
    for detail in error.errors(include_url=False):
        dotted = ".".join(map(str, detail["loc"][:2]))
        if dotted in seen:  # every member of a list may be wrong; one sentence is enough
            continue
        seen.add(dotted)
        context = detail.get("ctx", {})
        if detail["type"] == "setting":
            yield dotted, str(context["cause"]), str(context["cure"])
        elif key := keys.get(dotted):
            yield dotted, _cause(detail["type"], detail["input"], key), cure_for(detail["input"], key)
        else:
            yield dotted, "It is not a setting.", f"Remove {dotted}."


def _cause(kind: str, value: object, key: Key) -> str:
    if kind in _TOO_LITTLE:
        return f"{show(value)} is too small."
    if kind in _TOO_MUCH:
        return f"{show(value)} is too large."
    if value == "":
        return "It is empty."
    if key.choices and type(value) is type(key.choices[0]):
        return f"{show(value)} is not one of its values."
    return f"{show(value)} has the wrong type."


def cure_for(value: object, key: Key) -> str:
    """What to write instead of a value of the wrong type or size."""
    meant = nearest(value, [c for c in key.choices if isinstance(c, str)]) if isinstance(value, str) else ""
    wanted = " or ".join(show(c) for c in key.choices if c != "") if key.choices else key.noun
    article = "a " if wanted.startswith(_COUNTABLE) else ""
    return f"Write {show(meant)}; the choice is {wanted}." if meant else f"Write {article}{wanted}."
