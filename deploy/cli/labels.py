"""`roughfed labels`: which of the own training labels seem wrong."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError, StorageError
from roughfed.training import LABEL_AUDIT, LABEL_AUDIT_COLUMNS

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class LabelsFlags:
    """How many to show."""

    most: Annotated[int, typer.Option(min=1, help="Labels to print; --json has all of them.")] = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "labels", flags=LabelsFlags)(labels)


def labels(context: CommandContext, flags: LabelsFlags) -> Answer:
    """Show which training labels of a client seem wrong.

    The client writes them down where client.toml says [policy] label_audit = true, from its second round on. They are
    on this machine only: no server is told.
    """
    path = context.folder / "state" / LABEL_AUDIT
    if not path.exists():
        raise ConfigError(
            "no labels were audited here",
            file=str(path.absolute()),
            cure="set [policy] label_audit = true in client.toml, and take part in two rounds",
        )
    found = read(path)
    context.say(f"{len(found)} labels seem wrong; the whole list is in {path}")
    for row in found[: flags.most]:
        context.say("example {id}: labelled {label}, looks like {suggested} (score {score:.2f})".format(**row))
    return Answer({"file": str(path.absolute()), "suspected": len(found), "labels": found})


def read(path: Path) -> list[Row]:
    """The rows of the file, the most certain one first.

    Raises:
        StorageError: it cannot be read, or is no such list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        if lines[:1] != [list(LABEL_AUDIT_COLUMNS)]:
            raise StorageError(f"{path} is no list of audited labels")
        return [
            {"id": int(id_), "label": int(label), "suggested": int(suggested), "score": float(score)}
            for id_, label, suggested, score in lines[1:]
        ]
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
