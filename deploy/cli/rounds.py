"""`roughfed rounds`: a table of the rounds, or a file of them for other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command, plural
from roughfed.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from roughfed.deploy.rounds_table import Row
    from roughfed.deploy.table import FittingTable


@dataclass(frozen=True, slots=True)
class RoundsFlags:
    """How many, and where to."""

    last: Annotated[int, typer.Option(min=0, help="Only the last N rounds; 0 = all.")] = 0
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|FILE.jsonl", help="Write them to a file; an existing one is replaced."),
    ] = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "rounds", flags=RoundsFlags)(rounds)


def rounds(context: CommandContext, flags: RoundsFlags) -> Answer:
    """List the rounds that are over.

    Outcome, seconds, who counts and who does not and why, bytes, accuracies. Also while the server runs. With --out as
    CSV or JSON lines, by the name's end.
    """
    from roughfed.deploy.rounds_table import as_csv, as_jsonl, rows
    from roughfed.deploy.summary import run_summary

    formats: dict[str, Callable[[list[Row]], str]] = {".csv": as_csv, ".jsonl": as_jsonl}
    if flags.out is not None and flags.out.suffix not in formats:
        raise ConfigError(
            f"{flags.out.name} ends in neither .csv nor .jsonl", key="--out", cure="name it rounds.csv or rounds.jsonl"
        )
    summary = run_summary(context.folder)
    found = rows(summary.rounds)[-flags.last if flags.last else 0 :]
    if flags.out is None:
        context.say(_table(found) if found else "no round is over yet")
        return Answer({"run": summary.run, "rounds": [dict(row) for row in found]})
    text = formats[flags.out.suffix](found)
    try:
        flags.out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StorageError(f"cannot write {flags.out}: {error.strerror}") from error
    context.say(f"wrote {flags.out}: {plural(len(found), 'round')} of {summary.run}")
    return Answer({"run": summary.run, "rounds": len(found), "out": str(flags.out.absolute())})


NAMED = 3
"""Clients that a cell names."""


def _table(found: list[Row]) -> FittingTable:
    from roughfed.deploy.table import Column, FittingTable
    from roughfed.report.scale import seconds, size

    def each(write: Callable[[Row], str]) -> list[str]:
        return [write(row) for row in found]

    def number(name: str, write: Callable[[float], str]) -> list[str]:
        return each(lambda row: write(value) if isinstance(value := row[name], int | float) else "")

    abandoned = each(lambda row: "" if row["outcome"] == "committed" else "red")
    return FittingTable(
        [
            Column("round", number("round", str)),
            Column("outcome", each(lambda row: str(row["outcome"])), left=True, styles=abandoned),
            Column("time", number("seconds", seconds)),
            Column("in sum", each(lambda row: f"{row['accepted']}/{row['asked']}")),
            Column("up", number("upload_bytes", size), spare=2),
            Column("down", number("download_bytes", size), spare=3),
            Column("accuracy", number("accuracy", _share)),
            Column("balanced", number("balanced_accuracy", _share), spare=7),
            Column("tail", number("tail_accuracy", _share), spare=4),
            Column("worst", number("worst_class", _share), spare=5),
            Column("loss", number("loss", lambda value: f"{value:.3g}"), spare=6),
            Column("not in it", each(_missing), spare=1, prose=True),
        ]
    )


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"


def _missing(row: Row) -> str:
    """Why there is no sum, or who is not in it, in one cell."""
    excluded, dropped, gone = row["excluded"], row["dropped"], row["gone"]
    said = [str(row["reason"])] if row["reason"] else []
    words = [f"{name} {why}" for name, why in excluded.items()] if isinstance(excluded, dict) else []
    if isinstance(dropped, list) and isinstance(gone, list):
        words += [f"{name} {'gone' if name in gone else 'late'}" for name in dropped]
    more = f", {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(said + words[:NAMED]) + more
