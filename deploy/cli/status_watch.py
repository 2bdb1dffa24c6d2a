"""Following a server for as long as a person looks: also over a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rich.console import RenderableType
from rich.live import Live

from roughfed.deploy.cli.command import CommandContext
from roughfed.deploy.cli.status_table import last_of, received
from roughfed.transport import control_socket

Status = Mapping[str, Any]

AGAIN_S = 0.5
"""A server that went away is looked for this often: its socket cannot be waited for before it is there."""
FRAME_S = 0.2
"""Pictures are so far apart at least: to draw one takes a terminal's program tens of milliseconds."""
NEWS_S = 60.0
"""How long it is said that a server was started again."""


@dataclass(frozen=True, slots=True)
class LastStatus:
    """What there is to be shown.

    Attributes:
        status: the newest of the server.
        note: that the server went away, or came back; empty as a rule.
        fresh: whether the status has just come.
    """

    status: Status
    note: str = ""
    fresh: bool = True


def follow(
    context: CommandContext, *, wait_s: float, over: Callable[[], bool], pause: Callable[[float], object] | None = None
) -> Iterator[LastStatus]:
    """Statuses, and what is to be said while none comes; it ends when the run is over or the server stays away.

    Args:
        context: whose directory.
        wait_s: how long a server that went away is waited for.
        over: whether the journal says that the run is over: a server that ends may not say so any more.
        pause: waits for seconds.

    Raises:
        NotRunning: nobody answers there at the beginning.
    """
    states = control_socket.watch(context.folder)
    last = next(states)
    yield LastStatus(last)
    wait, restarts = pause or threading.Event().wait, 0
    while True:
        with suppress(control_socket.NotRunning):  # a server that hangs has gone, too
            for last in states:
                yield LastStatus(last, _again(restarts) if restarts and last["uptime_s"] < NEWS_S else "")
        if last["finished"] or over():
            return
        left = time.strftime("%H:%M:%S")
        until = time.monotonic() + wait_s
        while True:
            if (rest := until - time.monotonic()) <= 0:
                return
            yield LastStatus(
                last, f"the server went away at {left}; waiting {rest:.0f} s for it (Ctrl-C ends this)", False
            )
            wait(min(AGAIN_S, rest))
            try:
                states = control_socket.watch(context.folder)
                last = next(states)
            except control_socket.NotRunning:
                continue
            restarts += 1
            yield LastStatus(last, _again(restarts))
            break


def _again(number: int) -> str:
    times = "once" if number == 1 else f"{number} times"
    return f"the server is back; it was started again {times} while you watched"


def watch(
    context: CommandContext,
    *,
    wait_s: float,
    over: Callable[[], bool],
    draw: Callable[[LastStatus, int], RenderableType],
) -> None:
    """Draw until the server ends; with `--json` a line for each status, without a terminal one for each change.

    Args:
        context: whose directory.
        wait_s: see `follow`.
        over: see `follow`.
        draw: makes a picture of so many rows.

    Raises:
        NotRunning: nobody answers there.
    """
    seen = follow(context, wait_s=wait_s, over=over)
    first = next(seen)  # not running shows here, before the screen is taken
    console = context.console()
    if context.json or not console.is_terminal:
        _print(context, first, seen)
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:  # what was there before comes back at the end
        for each in thinned(chain((first,), seen)):
            live.update(draw(each, console.size.height), refresh=True)


def thinned(seen: Iterable[LastStatus], *, clock: Callable[[], float] = time.monotonic) -> Iterator[LastStatus]:
    """As many as an eye follows; the server sends one a second at least, so that none that matters stays away."""
    due, note = 0.0, None
    for each in seen:
        if (now := clock()) >= due or each.note != note:
            due, note = now + FRAME_S, each.note
            yield each


def _print(context: CommandContext, first: LastStatus, more: Iterator[LastStatus]) -> None:
    """A line for each status as JSON, or in words for each change of what matters."""
    said = ""
    for each in chain((first,), more):
        if each.fresh:
            context.event({"running": True, **each.status})
        words = _words(each)
        if words != said and not context.json:
            context.say(words)
            said = words


def _words(each: LastStatus) -> str:
    """What a file of output gets of a status: only what does not change all the time."""
    if not each.fresh:
        return each.note.partition(";")[0]
    status = each.status
    alerts = "".join(f"; {found['severity']}: {found['name']}" for found in status.get("alerts") or ())
    progress = f", {received(status)} of {status['needed']['goal']} updates" if status["needed"] else ""
    return f"round {status['round']} of {last_of(status)}: {status['phase']}{progress}{alerts}"
