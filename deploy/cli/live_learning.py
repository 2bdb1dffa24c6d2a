"""What a terminal shows of how well the model does: measures, their change since the last round, and a curve. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from roughfed.deploy.cli.live_words import change, curve

MEASURES = {"accuracy": "accuracy", "balanced": "balanced", "tail": "tail", "worst": "worst class"}
"""Key of a round in "history" -> what people call it."""
IN_STATUS = {"accuracy": "accuracy", "balanced": "balanced_accuracy", "worst": "worst_class_accuracy"}
"""The same in a status."""


def accuracy(status: Mapping[str, Any]) -> Text:
    """The newest measures, each with its change in points since the round before."""
    if status.get("accuracy") is None:
        return Text("not measured by the server")
    text = Text()
    history: Sequence[Mapping[str, Any]] = status.get("history") or ()
    for key, name in MEASURES.items():
        known = [value for each in history if (value := each.get(key)) is not None]
        value = status.get(IN_STATUS.get(key, ""), known[-1] if known else None)
        if value is None:
            continue
        text.append(f"{', ' if text else ''}{'' if key == 'accuracy' else name + ' '}{value:.1%}")
        if moved := change(value, _before(known, value)):
            style = "dim" if float(moved) == 0 else "green" if moved[0] == "+" else "red"
            text.append(f" ({moved})", style=style)
    if status.get("measured_by") == "clients":
        text.append(", on the clients' data together")
    return text


def _before(known: Sequence[float], newest: float) -> float | None:
    """The measurement before the newest one: the status may be a round ahead of its history."""
    if not known:
        return None
    if known[-1] != newest:
        return known[-1]
    return known[-2] if len(known) > 1 else None


def curves(status: Mapping[str, Any], width: int, *, plain: bool = False) -> Iterator[tuple[str, Text]]:
    """(label, curve) of each measure over the rounds; nothing before there are three."""
    history: Sequence[Mapping[str, Any]] = status.get("history") or ()
    for key, name in MEASURES.items():
        values = [each.get(key) for each in history if each["outcome"] == "committed"]
        known = [value for value in values if value is not None]
        if len(known) < 3:
            continue
        ends = f" {min(known):.0%} to {max(known):.0%}"
        text = Text(curve(values, max(8, width - len(ends)), plain=plain), style="cyan")
        text.append(ends, style="dim")
        yield name, text
