"""`roughfed rounds`: a table of the rounds, or a file of them for other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command
from roughfed.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from rich.table import Table

    from roughfed.deploy.rounds_table import Row


@dataclass(frozen=True, slots=True)
class Flags:
    """How many, and where to."""

    last: Annotated[int, typer.Option(min=0, help="Only the last N rounds; 0 = all.")] = 0
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv|FILE.jsonl", help="Write them to a file; an existing one is replaced."),
    ] = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "rounds", flags=Flags)(rounds)


def rounds(context: Context, flags: Flags) -> Answer:
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
    context.say(f"wrote {flags.out}: {len(found)} rounds of {summary.run}")
    return Answer({"run": summary.run, "rounds": len(found), "out": str(flags.out.absolute())})


NAMED = 3
"""Clients that a cell names."""


def _table(found: list[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from roughfed.deploy.cli.live_words import size

    table = Table(box=None, padding=(0, 1), header_style="dim")
    for title in (
        "round",
        "outcome",
        "time",
        "accepted",
        "up",
        "down",
        "accuracy",
        "balanced",
        "tail",
        "worst",
        "loss",
    ):
        table.add_column(title, justify="left" if title == "outcome" else "right", no_wrap=True)
    table.add_column("left out, or late", overflow="fold")
    for row in found:
        bad = row["outcome"] != "committed"
        shares = [_share(row[key]) for key in ("accuracy", "balanced_accuracy", "tail_accuracy", "worst_class")]
        table.add_row(
            Text(str(row["round"])),
            Text(str(row["outcome"]), style="red" if bad else "green"),
            f"{row['seconds']:.1f} s",
            f"{row['accepted']}/{row['asked']}",
            size(float(str(row["upload_bytes"]))),
            size(float(str(row["download_bytes"]))),
            *shares,
            "" if row["loss"] is None else f"{row['loss']:.3g}",
            Text(_missing(row)),
        )
    return table


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float) else ""


def _missing(row: Row) -> str:
    """Who is not in the sum, in one cell."""
    excluded, dropped = row["excluded"], row["dropped"]
    words = [f"{name} {why}" for name, why in excluded.items()] if isinstance(excluded, dict) else []
    words += [f"{name} late" for name in dropped] if isinstance(dropped, list) else []
    more = f", {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
