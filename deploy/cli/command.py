"""What every command has: `--dir`, `--json`, `--debug`, flags from a dataclass, and one answer at the end."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.text import Text

from roughfed.extras import need

NOT_RUNNING, LEDGER_BAD, UNWELL, TOO_OLD = 6, 7, 8, 9
INTERRUPTED = 130

EXIT_CODES = {
    0: "done",
    1: "the peer broke the protocol, or a fault of roughfed itself",
    2: "a flag, a setting or a file is wrong; the hint says what to do",
    3: "identity: an invite, a certificate, a name or a fingerprint was refused",
    4: "the disk refused: full, read-only or damaged",
    5: "the trainer failed: the own code, CUDA, or out of memory",
    NOT_RUNNING: "nobody answers: no server runs on this directory (`status` still prints what the journal knows), "
    "or it cannot be reached",
    LEDGER_BAD: "the ledger is not what was written (`ledger verify` names the line)",
    UNWELL: "`doctor` found something that does not work",
    TOO_OLD: "versions: client and server speak no common protocol, or a newer version wrote the files",
    INTERRUPTED: "interrupted with Ctrl-C",
}

COMMON: tuple[tuple[str, Any, object], ...] = (
    ("dir", Annotated[Path, typer.Option("--dir", help="Folder of fed.toml or client.toml, and of state/.")], Path()),
    ("json", Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")], False),
    ("debug", Annotated[bool, typer.Option("--debug", help="Show stack traces, log more.")], False),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out: plain data for `--json`, and its exit code."""

    data: Mapping[str, object] = field(default_factory=dict[str, object])
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Where a command works and how it speaks.

    Attributes:
        folder: `--dir`.
        json: people's words go to stderr, so that stdout holds JSON alone.
        debug: `--debug`.
    """

    folder: Path
    json: bool = False
    debug: bool = False

    def say(self, text: object = "", *, style: str = "") -> None:
        """Tell the operator something; a text is printed as it stands, a table or the like is drawn.

        With `--json` a table is not: the answer has it.
        """
        if isinstance(text, str) or not self.json:
            show(self.console(), text, style=style)

    def console(self) -> Console:
        """Where people's words go."""
        return Console(stderr=self.json, highlight=False)

    def note(self, text: str, *, style: str = "") -> None:
        """Say something beside the result, on stderr."""
        show(Console(stderr=True, highlight=False), text, style=style)

    def warn(self, text: str) -> None:
        """A warning on stderr."""
        self.note(f"warning: {text}", style="yellow")

    def event(self, data: Mapping[str, object]) -> None:
        """One JSON line before the last one, for whoever follows a long command with `--json`."""
        if self.json:
            print_json(data)


def plural(number: int, noun: str) -> str:
    """A number of things: 1 round, 2 rounds."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show(console: Console, text: object, *, style: str = "") -> None:
    """Print without markup and without folding lines that somebody may want to copy."""
    if isinstance(text, str):
        console.print(Text(text, style=style), soft_wrap=True)
    else:
        console.print(text)


def print_json(data: Mapping[str, object]) -> None:
    """One JSON object on a line of stdout."""
    sys.stdout.write(json.dumps(data, default=str) + "\n")
    sys.stdout.flush()


def command(
    app: typer.Typer, name: str, *, flags: type | None = None, needs: tuple[str, ...] = ()
) -> Callable[[Callable[..., Answer]], Any]:
    """Register `function(context)` or `function(context, flags)` as a command.

    Args:
        app: where.
        name: what people type.
        flags: a dataclass whose fields are the command's own flags, `Annotated[..., typer.Option(...)]` each; a field
            that is such a dataclass itself stands for the fields of that.
        needs: modules of extras (`roughfed.extras`) without which it does not begin.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        def call(**given: Any) -> None:
            context = CommandContext(*(given.pop(common) for common, _, _ in COMMON))
            need(*needs, who=f"roughfed {name}")
            answer = function(context, _filled(flags, given)) if flags else function(context)
            if context.json:
                print_json(answer.data)
            if answer.exit_code:
                raise typer.Exit(answer.exit_code)

        parameters = [*_parameters(flags), *(_keyword(*common) for common in COMMON)]
        call.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        call.__doc__ = function.__doc__
        app.command(name)(call)
        return function

    return register


def _parameters(flags: type | None) -> list[inspect.Parameter]:
    """The fields of a dataclass as keyword parameters, in order."""
    return [] if flags is None else list(_fields(flags, None))


def _fields(flags: type, defaults: object) -> Iterator[inspect.Parameter]:
    """The same; `defaults`: an instance that has them, None = the dataclass itself says them."""
    hints = get_type_hints(flags, include_extras=True)
    for each in dataclasses.fields(flags):
        default = _default(each) if defaults is None else getattr(defaults, each.name)
        if dataclasses.is_dataclass(hints[each.name]):
            yield from _fields(hints[each.name], default)
        else:
            yield _keyword(each.name, hints[each.name], default)


def _default(each: dataclasses.Field[Any]) -> object:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return inspect.Parameter.empty if each.default is dataclasses.MISSING else each.default


def _filled(flags: type, given: Mapping[str, Any]) -> Any:
    """An instance of the dataclass, of values by the names of fields."""
    hints = get_type_hints(flags)
    found = {
        each.name: _filled(hints[each.name], given) if dataclasses.is_dataclass(hints[each.name]) else given[each.name]
        for each in dataclasses.fields(flags)
    }
    return flags(**found)


def _keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
