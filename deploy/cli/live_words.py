"""Numbers as a terminal shows them: sizes, times, rates, curves. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from roughfed.logs import escape

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-~=+*#"


def clean(value: Any) -> Any:
    """A status without control characters: names and reasons come from clients, and a terminal obeys some texts."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {clean(key): clean(each) for key, each in value.items()}
    return [clean(each) for each in value] if isinstance(value, list) else value


def size(number: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def span(seconds: float) -> str:
    """A time in words, in at most two units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"


def curve(values: Sequence[float | None], width: int, *, plain: bool = False) -> str:
    """The last values as blocks, scaled to their own range; a missing one is a blank. `plain`: with ASCII alone."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    marks = LETTERS if plain else BLOCKS
    step = (high - low) / (len(marks) - 1)
    return "".join(" " if v is None else marks[round((v - low) / step) if step else len(marks) // 2] for v in shown)


def change(now: float | None, before: float | None) -> str:
    """By how many points a share rose or fell since the last one; empty where either is not known."""
    if now is None or before is None:
        return ""
    return f"{(now - before) * 100:+.1f}"
