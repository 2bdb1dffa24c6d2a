"""`roughfed demo`: the whole thing on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command


@dataclass(frozen=True, slots=True)
class DemoFlags:
    """The demo's size and subject."""

    clients: Annotated[
        int,
        typer.Option(help="Clients, each a process with a trainer; 0 = what suits the scenario: 6, or 10."),
    ] = 0
    rounds: Annotated[int, typer.Option(help="Rounds; 0 = what suits the data.")] = 0
    seed: Annotated[int, typer.Option(help="Of the data's division, weights and training.")] = 0
    data: Annotated[str, typer.Option(help="Listed data: digits or fashion-mnist.")] = "digits"
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the data's files.")] = None
    alpha: Annotated[
        float | None, typer.Option(help="Concentration of the division; smaller = more skewed. [default: 0.5]")
    ] = None
    scenario: Annotated[
        str, typer.Option(help="What is rough: clean, long-tail, noisy, continual, poisoned, heterogeneous or rough.")
    ] = "rough"
    attack: Annotated[
        str,
        typer.Option(
            help="poisoned: what the attackers do, such as sign-flip, alie or backdoor. [default: label-flip]"
        ),
    ] = ""
    attackers: Annotated[
        float | None, typer.Option(help="poisoned: share of the clients that attack, below 0.5. [default: 0.2]")
    ] = None
    method: Annotated[str, typer.Option(help="Other parts of the training than the scenario's.")] = ""
    server_sees: Annotated[str, typer.Option(help="Of a single client: updates, sketches or sums.")] = "sketches"
    out: Annotated[Path | None, typer.Option(help="Folder that keeps everything. [default: a temporary one]")] = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "demo", flags=DemoFlags, needs=("torch",))(demo)


def demo(context: CommandContext, flags: DemoFlags) -> Answer:
    """Run a whole federation on this machine.

    A server and its clients, each a process of its own, over mutual TLS with throw-away certificates; a live table, and
    report.html at the end.
    """
    from roughfed.deploy.demo import DemoOptions, run_demo

    given = {name: getattr(flags, name) for name in DemoFlags.__slots__}
    return Answer(run_demo(DemoOptions(**given, json=context.json)).data())
