"""The rounds of a run as rows for other programs: spreadsheets, pandas, jq. Pure.

A name that a client chose may begin like a formula (`=`, `+`, `-`, `@`): in CSV, a text that does is written after an
apostrophe, by which spreadsheets take it for text. JSON lines have it as it is.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from roughfed.report.summary import RoundSummary

Cell = str | int | float | None | dict[str, str] | list[str]
Row = dict[str, Cell]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take a cell for more than text by."""


@dataclass(frozen=True, slots=True)
class RowColumn:
    """One column.

    Attributes:
        kind: its type in the files: "integer", "number" or "text"; in CSV lists are text, too ("name: reason; ...").
        meaning: with its unit.
        of: its value in a round; None: not measured, an empty cell.
    """

    kind: str
    meaning: str
    of: Callable[[RoundSummary], Cell]


COLUMNS: dict[str, RowColumn] = {
    "round": RowColumn("integer", "its number", lambda r: r.round),
    "outcome": RowColumn("text", "committed or abandoned", lambda r: r.outcome),
    "reason": RowColumn("text", "why it was abandoned", lambda r: r.reason),
    "version": RowColumn("integer", "of the model after it", lambda r: r.version),
    "seconds": RowColumn("number", "wall time", lambda r: r.seconds),
    "asked": RowColumn("integer", "clients of the cohort", lambda r: len(r.participants)),
    "accepted": RowColumn("integer", "clients whose update is in the sum", lambda r: len(r.accepted)),
    "excluded_count": RowColumn("integer", "clients whose update was left out or refused", lambda r: len(r.excluded)),
    "dropped_count": RowColumn("integer", "clients that sent none in time", lambda r: len(r.dropped)),
    "upload_bytes": RowColumn("integer", "from all clients together", lambda r: r.upload_bytes),
    "download_bytes": RowColumn("integer", "to all clients together", lambda r: r.download_bytes),
    "accuracy": RowColumn("number", "of the new model, 0 to 1", lambda r: _known(r.accuracy)),
    "balanced_accuracy": RowColumn("number", "mean recall over the classes", lambda r: _known(r.balanced_accuracy)),
    "tail_accuracy": RowColumn(
        "number", "mean recall of those with fewest examples", lambda r: _known(r.tail_accuracy)
    ),
    "worst_class": RowColumn("number", "lowest recall of a class", lambda r: _known(r.worst_class)),
    "loss": RowColumn("number", "mean loss", lambda r: _known(r.loss)),
    "train_seconds": RowColumn(
        "number", "mean time of local training, as clients say", lambda r: _known(r.train_seconds)
    ),
    "excluded": RowColumn("text", "who was left out, and why", lambda r: dict(r.excluded)),
    "dropped": RowColumn("text", "who sent none in time", lambda r: list(r.dropped)),
    "gone": RowColumn("text", "who of them had gone", lambda r: list(r.gone)),
}


def rows(rounds: Iterable[RoundSummary]) -> list[Row]:
    """A row for each round."""
    return [{name: column.of(each) for name, column in COLUMNS.items()} for each in rounds]


def as_csv(found: Sequence[Row]) -> str:
    """RFC 4180 with a header, lines end in CR LF; what was not measured is empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in found:
        writer.writerow([_cell(row[name]) for name in COLUMNS])
    return text.getvalue()


def as_jsonl(found: Sequence[Row]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in found)


def _known(value: float | None) -> float | None:
    """A loss that diverged is no number in JSON."""
    return value if value is not None and math.isfinite(value) else None


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        value = "; ".join(f"{name}: {why}" for name, why in value.items())
    elif isinstance(value, list):
        value = "; ".join(value)
    return f"'{value}" if value.startswith(FORMULA) else value
