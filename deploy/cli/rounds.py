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
        context.say(_table(found, context.console().width) if found else "no round is over yet")
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
WIDE = 100
"""Columns of a terminal from which it shows all measures."""


def _table(found: list[Row], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    shown = {title: cells for title, (cells, wide) in _columns(found).items() if width >= WIDE or not wide}
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for title, cells in shown.items():
        if any(cells):
            table.add_column(title, justify="left" if title in ("outcome", "not in it") else "right")
    for cells in zip(*(cells for cells in shown.values() if any(cells)), strict=True):
        abandoned = cells[1] != "committed"
        table.add_row(*(Text(cell, style="red" if abandoned and at == 1 else "") for at, cell in enumerate(cells)))
    return table


def _columns(found: list[Row]) -> dict[str, tuple[list[str], bool]]:
    """Title -> the cells, and whether it takes a wide terminal; a column of which nothing is known is not shown."""
    from roughfed.deploy.cli.live_words import size

    def each(write: Callable[[Row], str], *, wide: bool = False) -> tuple[list[str], bool]:
        return [write(row) for row in found], wide

    return {
        "round": each(lambda row: str(row["round"])),
        "outcome": each(lambda row: str(row["outcome"])),
        "time": each(lambda row: _time(float(str(row["seconds"])))),
        "in sum": each(lambda row: f"{row['accepted']}/{row['asked']}"),
        "up": each(lambda row: size(float(str(row["upload_bytes"])))),
        "down": each(lambda row: size(float(str(row["download_bytes"])))),
        "accuracy": each(lambda row: _share(row["accuracy"])),
        "balanced": each(lambda row: _share(row["balanced_accuracy"]), wide=True),
        "tail": each(lambda row: _share(row["tail_accuracy"])),
        "worst": each(lambda row: _share(row["worst_class"])),
        "loss": each(lambda row: f"{row['loss']:.3g}" if isinstance(row["loss"], float) else "", wide=True),
        "not in it": each(_missing),
    }


def _time(seconds: float) -> str:
    from roughfed.deploy.cli.live_words import span

    return f"{seconds:.1f} s" if seconds < 60 else span(seconds)


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float) else ""


def _missing(row: Row) -> str:
    """Who is not in the sum, in one cell."""
    excluded, dropped = row["excluded"], row["dropped"]
    words = [f"{name} {why}" for name, why in excluded.items()] if isinstance(excluded, dict) else []
    words += [f"{name} late" for name in dropped] if isinstance(dropped, list) else []
    more = f", {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more
