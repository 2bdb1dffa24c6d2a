"""`roughfed audit`: what can be learnt from what the server sees, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AuditFlags:
    """What is attacked, and how long."""

    data: Annotated[
        str, typer.Option(help="Listed images. [default: fashion-mnist where its files are, else digits]")
    ] = ""
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data's files.")] = None
    model: Annotated[str, typer.Option(help="Listed model: logistic, mlp or cnn.")] = "mlp"
    dim: Annotated[int, typer.Option(help="Numbers in a sketch, as sketch.dim.")] = 128
    group: Annotated[int, typer.Option(help="Clients of the group whose sum is seen.")] = 8
    images: Annotated[int, typer.Option(min=1, help="Trials, each with other images, weights and seeds.")] = 3
    steps: Annotated[int, typer.Option(min=1, help="Iterations of an attack.")] = 60
    clients: Annotated[int, typer.Option(min=4, help="Clients of the regression over rounds.")] = 32
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of the regression.")] = 60
    seed: Annotated[int, typer.Option(min=0, help="Of images, weights, groups and sketches.")] = 0
    active: Annotated[
        bool, typer.Option(help="Instead, let a server cheat, over real agents; takes no other option.")
    ] = False


OF_HONEST = tuple(name for name in AuditFlags.__slots__ if name != "active")
"""Flags of the audit of what a server sees that keeps to the protocol."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "audit", flags=AuditFlags, needs=("torch",))(audit)


def audit(context: CommandContext, flags: AuditFlags) -> Answer:
    """Attack exactly what the server sees in each mode, and write audit.html.

    Gradient inversion on updates, sketches and sums, beside guessing; and regression over many rounds. The figures go
    to audit.json in --dir, where `roughfed report` finds them. With --active a server cheats, in real connections with
    real agents, and the figures say what it got before they refused; they go to audit-active.json.
    """
    if flags.active:
        return cheat(context, flags)
    from dataclasses import asdict

    from roughfed.deploy.audit.options import AuditOptions
    from roughfed.deploy.audit.page import facts, sections
    from roughfed.deploy.audit.result import FILE
    from roughfed.deploy.audit.run import run_audit
    from roughfed.deploy.audit.table import draw
    from roughfed.files import disk_errors
    from roughfed.report.html import document

    chosen = AuditOptions(**{name: getattr(flags, name) for name in OF_HONEST})
    result = watched(context, partial(run_audit, chosen))
    page = context.folder / "audit.html"
    with disk_errors(f"write {page}"):
        (context.folder / FILE).write_text(result.to_json(), encoding="utf-8")
        page.write_text(document("Audit", facts(result), sections(result)), encoding="utf-8")
    context.say(draw(result))
    context.say(f"\nwrote {page} and {FILE}; roughfed report shows them, too")
    if result.warning:
        context.warn(result.warning)
    figures = {key: value for key, value in asdict(result).items() if key != "pictures"}
    return Answer(figures | {"page": str(page.absolute())})


def cheat(context: CommandContext, flags: AuditFlags) -> Answer:
    """`--active`.

    Raises:
        ConfigError: another option, which would say nothing.
    """
    from dataclasses import asdict

    from roughfed.deploy.audit.active.result import FILE, to_json
    from roughfed.deploy.audit.active.run import run_attacks
    from roughfed.deploy.audit.active.table import draw
    from roughfed.errors import ConfigError
    from roughfed.files import disk_errors

    untouched = AuditFlags()
    for name in OF_HONEST:
        if getattr(flags, name) != getattr(untouched, name):
            key = f"--{name.replace('_', '-')}"
            raise ConfigError("--active plays fixed attacks and takes no other option", key=key, cure="leave it out")
    found = watched(context, run_attacks)
    with disk_errors(f"write {FILE}"):
        (context.folder / FILE).write_text(to_json(found), encoding="utf-8")
    context.say(draw(found))
    context.say(f"\nwrote {FILE}")
    return Answer({"attacks": [asdict(row) for row in found]})


def watched(context: CommandContext, work: Callable[[Callable[[int, int, str], None]], T]) -> T:
    """Run it under a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("preparing", total=None)

        def moved(done: int, total: int, words: str) -> None:
            bar.update(task, completed=done, total=total, description=words)
            context.event({"done": done, "of": total, "what": words})

        return work(moved)
