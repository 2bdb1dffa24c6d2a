"""How a status looks on a terminal. Pure: dictionaries in, something for rich to draw out.

`draw` shows all of it; `Screen` as much as fits a terminal: alerts, then the round, then as many clients as there is
room for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from roughfed.deploy.cli import live_clients, live_learning
from roughfed.deploy.cli.live_alerts import alerts
from roughfed.deploy.cli.live_facts import Fact, View, defence, facts, grid, quarantined
from roughfed.deploy.cli.live_round import STAGES
from roughfed.deploy.cli.live_unlike import lines
from roughfed.deploy.cli.live_words import clean

__all__ = ["STAGES", "Screen", "draw", "draw_ended"]

Status = Mapping[str, Any]

SHOWN = 40
"""Rows of the clients' table where nothing says how many there is room for; the JSON has them all."""
CLIENTS = 6
"""Clients that a low terminal still shows; facts make room for them."""
ALERTS = 3
"""Alerts in full on a screen; the others are named."""


class Screen:
    """A running server, in the room that there is."""

    def __init__(
        self,
        status: Status,
        *,
        height: int | None = None,
        rates: tuple[float, float] | None = None,
        note: str = "",
        now: float | None = None,
    ) -> None:
        """Draw nothing yet.

        Args:
            status: of the server.
            height: rows of the terminal; None: as many as it takes.
            rates: bytes a second, up and down.
            note: a line above all else.
            now: Unix seconds.
        """
        self._status, self._height, self._rates, self._note = clean(status), height, rates, note
        self._now = time.time() if now is None else now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        options = options.update(height=None)
        width = options.max_width
        view = View(self._now, width, self._rates, options.ascii_only)
        top = self._top()
        shown, rows = facts(self._status, view), SHOWN
        if self._height is not None:
            room = self._height - _lines(console, options, top) - 2  # a blank line, and the head of the table
            wanted = min(CLIENTS, len(self._status["clients"]) or 1)
            shown = fitting(shown, room - wanted, lambda drawn: _lines(console, options, drawn))
            rows = max(1, room - _lines(console, options, grid(shown)))
        yield top
        yield grid(shown)
        yield Text()
        yield live_clients.table(self._status, rows=rows, width=width, now=self._now)

    def _top(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self._note, style="bold yellow")] if self._note else []
        if found := self._status.get("alerts"):
            most = None if self._height is None else ALERTS if self._height >= 30 else 1
            parts.append(alerts(found, now=self._now, most=most))
        return Group(*parts)


def draw(status: Status) -> RenderableType:
    """A running server, in full."""
    return Screen(status)


def _lines(console: Console, options: ConsoleOptions, drawn: RenderableType) -> int:
    return len(console.render_lines(drawn, options, pad=False))


def fitting(found: Sequence[Fact], room: int, height: Callable[[RenderableType], int]) -> list[Fact]:
    """Facts that have room, in their order: those that can be spared most go first, those that cannot stay.

    Args:
        found: all facts.
        room: rows.
        height: of something drawn, in rows.
    """
    widest = max((len(each.label) for each in found), default=0)
    heights = [height(grid([Fact(each.label.rjust(widest), each.said)])) for each in found]
    kept, used = set(range(len(found))), sum(heights)
    for at in sorted(kept, key=lambda at: (-found[at].spare, at)):
        if used <= room or not found[at].spare:
            break
        kept.discard(at)
        used -= heights[at]
    return [found[at] for at in sorted(kept)]


def draw_ended(status: Status) -> RenderableType:
    """What the journal knows of a server that does not run."""
    status = clean(status)
    if status["run"] is None:
        return Text("no server runs here, and no run was started yet")
    if status["finished"]:
        state = f"over ({status['finished']})"
    else:
        state = "stopped in the middle of a round" if status["round_open"] else "stopped between two rounds"
    abandoned = f", {status['rounds_abandoned']} abandoned" if status["rounds_abandoned"] else ""
    best = f", best {status['best_version']}" if status["best_version"] is not None else ""
    found = [
        Fact("run", Text(f"{status['run']}, {state}")),
        Fact("rounds", f"{status['rounds_committed']} committed{abandoned}"),
        Fact("model", f"version {status['model_version']}{best}, {status['parameters']:,} parameters"),
        Fact("accuracy", live_learning.accuracy(status)),
        *(Fact(label, Text(words, style=style)) for label, words, style in lines(status.get("unlike"))),
        *defence(status),
        *quarantined(status),
    ]
    hint = (
        "roughfed report, roughfed rounds, roughfed export" if status["finished"] else "roughfed server goes on with it"
    )
    return Group(Text("no server runs on this directory", style="yellow"), grid(found), Text(hint, style="dim"))
