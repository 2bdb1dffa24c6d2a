"""An audit on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roughfed.deploy.audit.regression import Curve
from roughfed.deploy.audit.result import AuditResult
from roughfed.deploy.audit.words import CLOSE_DB, MEANINGS, named, solved, verdict


def draw(result: AuditResult) -> RenderableType:
    """All figures."""
    head = (
        f"{result.data}, {result.model}, one SGD step, labels known, medians of {result.trials};\n"
        f"sketches of {result.dim}, groups of {result.group}"
    )
    rounds = max((len(curve.error) for curve in result.statics), default=0)
    return Group(
        Text("Gradient inversion", style="bold"),
        Text(head, style="dim"),
        _inversions(result),
        *(Text(f"  {mode}: {meaning}", style="dim") for mode, meaning in MEANINGS.items()),
        Text("  learned: by an attacker that has thousands of such images", style="dim"),
        Text(),
        Text(f"Regression over {rounds} rounds, {result.clients} clients; 1.00 is guessing", style="bold"),
        _curves("static value", result.statics, with_end=True),
        _curves("mean update", result.habits, with_end=False),
    )


def _inversions(result: AuditResult) -> Table:
    table = _table("batch", "seen", "numbers", "unknowns", "PSNR dB", "guess dB", "it is")
    for row in result.inversions:
        style = "green" if row.gain_db <= CLOSE_DB else "yellow"
        figures = (f"{row.numbers:,}", f"{row.unknowns:,}", f"{row.psnr_db:.1f}", f"{row.guess_db:.1f}")
        table.add_row(str(row.batch), named(row), *figures, Text(verdict(row), style=style))
    return table


def _curves(what: str, curves: list[Curve], *, with_end: bool) -> Table:
    table = _table(what, "first", "half", "last", *(["all known"] if with_end else []))
    for curve in curves:
        marks = (curve.error[0], curve.error[len(curve.error) // 2], curve.error[-1])
        end = [Text(solved(curve), style="green" if curve.solved_after is None else "yellow")] if with_end else []
        table.add_row(curve.name, *(f"{mark:.2f}" for mark in marks), *end)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
