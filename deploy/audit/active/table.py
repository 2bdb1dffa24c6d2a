"""The attacks of a cheating server on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roughfed.deploy.audit.active.result import AttackResult

MEASURES = (
    "reached: cosine of what was found and the client's update, 1 is all of it; guess: that of the mean of all updates",
    "* error of the shares or counts that were found, relative to the best guess; 0 is all of it",
    "PSNR: in dB, of the image behind an update that is the gradient of one image",
)


def draw(found: Sequence[AttackResult]) -> RenderableType:
    """All of them."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("attack", "colluders", "rounds", "reached", "guess", "PSNR", "it is"):
        table.add_column(column, no_wrap=True)
    for row in found:
        table.add_row(
            row.attack,
            row.needs,
            str(row.rounds),
            "nothing" if row.reached is None else f"{row.reached:.3f}{'*' if row.measure == 'error' else ''}",
            f"{row.guess:.3f}",
            _decibels(row.psnr_db),
            Text(verdict(row), style="red" if row.succeeded else "green"),
        )
    guesses = {f"{row.psnr_guess_db:.1f}" for row in found if row.psnr_guess_db is not None}
    of_guess = [Text(f"  the best guess of that image has {' or '.join(sorted(guesses))} dB", style="dim")]
    lines = [Text(f"  {row.attack}: {row.says}", style="dim") for row in found]
    refusals = [Text(f"  {row.attack}: {why}", style="dim") for row in found for why in row.refused]
    head = Text("A server that cheats, over real agents with default settings", style="bold")
    refused = [Text("Refused", style="bold"), *refusals] if refusals else []
    return Group(
        head, table, *(Text(f"  {line}", style="dim") for line in MEASURES), *of_guess[: len(guesses)], *lines, *refused
    )


def verdict(row: AttackResult) -> str:
    """One attack in words."""
    if row.succeeded:
        return "part" if row.refused else "a leak"
    return "refused" if row.refused else "as guessing"


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
