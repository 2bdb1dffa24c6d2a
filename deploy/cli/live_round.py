"""What a terminal shows of the open round: where it is, what is missing, the time left, bytes and their rates. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roughfed.deploy.cli.live_words import size, span

Status = Mapping[str, Any]

BAR, ROOMY = 20, 100
"""Length of a bar, and columns of a terminal from which it is not shorter."""
STAGES = {
    "advertising": "keys come in",
    "dealing": "shares are dealt",
    "masking": "train and upload",
    "sketching": "sketches come in",
    "judging": "verdicts",
    "agreeing": "the accepted sets are signed",
    "unmasking": "the sum is unmasked",
    "done": "the sum is checked",
}
"""Stages of a masked round, as people read them."""
STEPS = {
    "advertising": "keys",
    "dealing": "shares",
    "masking": "uploads",
    "sketching": "sketches",
    "judging": "verdicts",
    "agreeing": "sets",
    "unmasking": "unmask",
    "done": "check",
}
"""The same in a word each, for all in one line."""


class Rates:
    """Bytes a second, out of the statuses of the last seconds."""

    SPAN_S = 5.0

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._seen: deque[tuple[float, int, int, int]] = deque(maxlen=256)

    def see(self, status: Status, now: float) -> None:
        """A status came (seconds of any clock); another round counts from zero again."""
        number = int(status["round"])
        if self._seen and self._seen[-1][1] != number:
            self._seen.clear()
        self._seen.append((now, number, int(status["upload_bytes"]), int(status["download_bytes"])))
        while len(self._seen) > 2 and self._seen[1][0] < now - self.SPAN_S:
            self._seen.popleft()

    def now(self) -> tuple[float, float] | None:
        """(up, down); None until there are two statuses of a round, half a second apart."""
        if len(self._seen) < 2 or (spent := self._seen[-1][0] - self._seen[0][0]) < 0.5:
            return None
        first, last = self._seen[0], self._seen[-1]
        return max(0, last[2] - first[2]) / spent, max(0, last[3] - first[3]) / spent


def bar(total: float, completed: float, width: int = BAR) -> ProgressBar:
    """How far something is."""
    return ProgressBar(total=total, completed=completed, width=width, complete_style="cyan", finished_style="green")


def last_of(status: Status) -> int:
    """Number of the last round: rounds that were abandoned are played again. An older server does not say."""
    return int(status.get("last_round", status["rounds"]))


def rounds(status: Status) -> RenderableType:
    """Which round of how many."""
    row = Table.grid(padding=(0, 1))
    number, last = status["round"], last_of(status)
    over = number - (status.get("round_seconds") is not None)
    row.add_row(f"{number} of {last}", bar(max(1, last), max(0, over)))
    return row


def phase(status: Status, width: int = 120) -> RenderableType:
    """The phase; while updates come in, how many of those that the round needs."""
    row = Table.grid(padding=(0, 1))
    style = "yellow" if status["paused"] else "bold"
    words = f"{status['phase']} (paused)" if status["paused"] and status["phase"] != "paused" else status["phase"]
    if status.get("stopping"):
        words += " (the server is stopping)"
    if status.get("waiting"):
        row.add_row(Text(status["waiting"], style=style))
        return row
    if status.get("stage") and width >= ROOMY:
        words = f"{words}: {STAGES[status['stage']]}"
    if not status["needed"]:
        row.add_row(Text(words, style=style))
        return row
    members = [c for c in status["clients"] if c["in_cohort"]]
    received, goal = sum(c["state"] == "received" for c in members), status["needed"]["goal"]
    counts = f"{received} of {goal} updates, quorum {status['needed']['quorum']}"
    row.add_row(Text(words, style=style), bar(max(1, goal), received, BAR if width >= ROOMY else BAR // 2), counts)
    return row


def times(status: Status, now: float) -> Text | None:
    """How long the open round takes, and when it ends in any case; None without one."""
    if status.get("round_seconds") is None:
        return None
    text = Text(f"for {span(status['round_seconds'])}")
    if (end := status.get("deadline_at")) is not None:
        left = end - now
        words = f", deadline in {span(left)}" if left > 0 else f", {span(-left)} over its deadline"
        text.append(words, style="red" if left <= 0 else "yellow" if left < 10 else "")
    return text


def stages(status: Status) -> Text | None:
    """All stages of a masked round in one line, the present one marked; None where nothing is masked."""
    if not (present := status.get("stage")):
        return None
    text, passed = Text(), True
    for stage, word in STEPS.items():
        here = stage == present
        passed = passed and not here
        text.append(" " if text else "")
        text.append(f"[{word}]" if here else word, style="bold cyan" if here else "green" if passed else "dim")
    return text


def groups(found: Sequence[Mapping[str, Any]]) -> Text:
    """Their sizes, and in which stage how many are."""
    sizes = Counter(len(group["members"]) for group in found)
    if len(found) <= 6:
        words = " + ".join(str(len(group["members"])) for group in found)
    else:
        words = " + ".join(f"{number} x {members}" for members, number in sorted(sizes.items(), reverse=True))
    text = Text(f"{words} clients" if len(found) > 1 else f"one of {words} clients")
    at = Counter(str(group["stage"]) for group in found)
    if len(at) > 1:
        text.append(f" ({', '.join(f'{number} {stage}' for stage, number in at.items())})", style="dim")
    return text


def traffic(status: Status, rates: tuple[float, float] | None) -> Text:
    """Bytes of this round, and how many a second."""
    up, down = (f" ({size(rate)}/s)" if rates is not None else "" for rate in rates or (0.0, 0.0))
    return Text(f"{size(status['upload_bytes'])} up{up}, {size(status['download_bytes'])} down{down}")
