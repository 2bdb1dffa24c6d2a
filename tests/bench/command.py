"""Each benchmark is a command, `python -m tests.bench NAME`: the fields of its options are the flags, and the defaults.

A module of a benchmark ends in `BENCH = Benchmark(...)`, and `__main__.py` lists the modules.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from roughfed.deploy.cli.bench import shown
from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

Result = dict[str, object]
Draw = Callable[[Result], str]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark.

    Attributes:
        options: a dataclass; its fields are `Annotated[..., typer.Option(...)]`, or such dataclasses themselves.
        run: plays it; takes the options and, where there is a `line`, `say=`, which gets the name and figures of a row.
        line: (name, figures) -> a row in words, told as soon as it is there; None: the figures are told in the end.
        draw: ending of a file -> what `--plot` writes into it.
    """

    options: type
    run: Callable[..., Result]
    line: Callable[[str, Any], str] | None = None
    draw: Mapping[str, Draw] = field(default_factory=dict[str, Draw])


@dataclass(frozen=True, slots=True)
class Output:
    """Where the result goes."""

    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None


@dataclass(frozen=True, slots=True)
class DrawnOutput:
    """Where the result and its picture go."""

    out: Annotated[Path | None, typer.Option(help="Write the result as JSON, to be drawn again with --drawn.")] = None
    plot: Annotated[Path | None, typer.Option(help="Write a picture: FILE.svg, or a page where there is one.")] = None
    drawn: Annotated[Path | None, typer.Option(help="Measure nothing: draw this JSON.")] = None


def register(app: typer.Typer, name: str, bench: Benchmark) -> None:
    """Make a command of a benchmark; its help is what its module says of itself."""
    parts = {"options": bench.options, "output": DrawnOutput if bench.draw else Output}
    flags = make_dataclass(
        "Flags", [(part, kind, field(default_factory=kind)) for part, kind in parts.items()], frozen=True
    )

    def play(context: CommandContext, given: Any) -> Answer:
        return answered(context, name, bench, given.options, given.output)

    play.__doc__ = sys.modules[bench.run.__module__].__doc__
    command(app, name, flags=flags)(play)


def answered(
    context: CommandContext, name: str, bench: Benchmark, options: object, output: Output | DrawnOutput
) -> Answer:
    """Measure, or read what was measured, and write it where it is to go."""
    plot = None if isinstance(output, Output) else output.plot
    if plot is not None and plot.suffix not in bench.draw:
        raise ConfigError(f"{plot} is no picture", key="--plot", cure=f"end it in {' or '.join(bench.draw)}")
    if not isinstance(output, Output) and output.drawn is not None:
        result = read_result(output.drawn, name)
    elif bench.line is None:
        result = bench.run(options)
    else:
        line = bench.line
        result = bench.run(options, say=lambda row, figures: context.say(line(row, figures)))
    for key, value in result.items():
        if bench.line is None or isinstance(value, int | float):
            context.say(f"{key:<34} {shown(value)}")
    if output.out is not None:
        write(context, output.out, json.dumps(result, indent=1))
    if plot is not None:
        write(context, plot, bench.draw[plot.suffix](result))
    return Answer(result)


def write(context: CommandContext, path: Path, text: str) -> None:
    """Write a file and say so."""
    path.write_text(text, encoding="utf-8")
    context.say(f"written: {path}")


def read_result(path: Path, name: str) -> Result:
    """What a benchmark wrote with --out.

    Raises:
        ConfigError: it holds no result of this one.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("bench") != name:
        cure = f"give what python -m tests.bench {name} --out wrote"
        raise ConfigError(f"{path} holds no result of this benchmark", key="--drawn", cure=cure)
    return found


# -- flags of several values ---------------------------------------------------------------------------------------


def names(about: str) -> Any:
    """The flag of a field `Sequence[str]`: names with semicolons between them, since many have commas."""
    return _listed(about, str, ";", "NAMES", "all of them")


def numbers(about: str, *, of: type = float) -> Any:
    """The flag of a field of numbers, with commas between them."""
    return _listed(about, of, ",", "NUMBERS", "")


def _seeds(text: str | Sequence[int]) -> Sequence[int]:
    if not isinstance(text, str):
        return text
    given = [int(part) for part in text.split(",")]
    return tuple(given) if len(given) > 1 else tuple(range(given[0]))


Seeds = Annotated[
    Sequence[int],
    typer.Option(
        parser=_seeds,
        metavar="N",
        help="Seeds that each is played with: so many from 0 on, or a list such as 3,4,5. [default: 3]",
        show_default=False,
    ),
]
"""The type of a field of seeds."""


def _listed(about: str, of: type, between: str, metavar: str, default: str) -> Any:
    def parse(text: str | Sequence[Any]) -> Sequence[Any]:
        if not isinstance(text, str):
            return text
        return tuple(of(part.strip()) for part in text.split(between) if part.strip())

    more = f" [default: {default}]" if default else ""
    return typer.Option(parser=parse, metavar=metavar, help=about + more, show_default=not default)


def row(*keys: str, width: int = 46) -> Callable[[str, Mapping[str, Any]], str]:
    """A line of a name and some of its figures; without keys, all that are numbers."""

    def line(name: str, figures: Mapping[str, Any]) -> str:
        wanted = keys or tuple(key for key, value in figures.items() if isinstance(value, int | float))
        return f"{name:<{width}} " + "  ".join(f"{key} {shown(figures[key])}" for key in wanted)

    return line
