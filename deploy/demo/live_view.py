"""What the demo shows while it runs: one value, and the picture that is drawn of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roughfed.report.scale import percent, seconds, size
from roughfed.report.summary import RoundSummary, last_known
from roughfed.report.words import SEEN, VOID

SPOKEN = {"configure": "open", "report": "train and upload", "aggregate": "aggregate", "commit": "commit"}
"""Phases of a round in order; `report` is when clients train and upload."""

SPOKEN_MASKED = {
    "advertising": "keys",
    "dealing": "shares",
    "masking": "train",
    "sketching": "sketches",
    "agreeing": "sets",
    "unmasking": "unmask",
    "aggregate": "sum",
    "commit": "commit",
}
"""Stages and phases of a masked round in order."""

SHOWN_AS = {"configure": "advertising", "judging": "sketching", "done": "unmasking"}
"""What lasts no time, and what it is shown as."""

BARS = "▁▂▃▄▅▆▇█"
LEAST_SPAN = 0.05
"""Of a share: less than that is no rise or fall worth a full bar."""
BAR_WIDTH = 24
STYLES = {
    "training": "bold cyan",
    "evaluating": "cyan",
    "downloading": "blue",
    "uploading": "bold blue",
    "received": "green",
    "agreeing": "green",
    "done": "green",
    "idle": "dim",
    "starting": "dim",
    "gone": "bold red",
}


@dataclass
class DemoScene:
    """The state of the picture; whoever follows the run changes it.

    Attributes:
        title: what is shown, in one line.
        folder: where logs and results are.
        held: examples of each client, by its name; the demo knows them, the server does not when masked.
        rounds_wanted: R.
        server_sees: the mode.
        page: address of the server's status page while it runs.
        stage: what happens while there is no status yet, in words.
        status: the server's last status; None before the first.
        rounds: the rounds that are over.
        over: the server has ended.
        began: monotonic seconds.
    """

    title: str
    folder: str
    held: Mapping[str, int]
    rounds_wanted: int
    server_sees: str = "updates"
    page: str = ""
    stage: str = ""
    status: Mapping[str, Any] | None = None
    rounds: Sequence[RoundSummary] = ()
    over: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        """The run is over, though processes may still be ending."""
        return self.over or (self.status is not None and bool(self.status.get("finished")))


def draw(scene: DemoScene, now: float) -> RenderableType:
    """The picture at a monotonic time."""
    head = Table.grid(padding=(0, 2))
    head.add_column(style="dim", justify="right")
    head.add_column()
    head.add_row("now", _phases(scene))
    head.add_row("round", _round_bar(scene))
    head.add_row("accuracy", _accuracy(scene.rounds))
    head.add_row("bytes", _traffic(scene))
    head.add_row("server sees", Text(f"{scene.server_sees}: {SEEN.get(scene.server_sees, '')}"))
    if scene.server_sees != "updates":
        head.add_row("groups", _groups(scene))
    if scene.page and not scene.over:
        head.add_row("in a browser", Text(scene.page))
    foot = Text(f"{seconds(now - scene.began)}   logs: {scene.folder}", style="dim", no_wrap=True, overflow="ellipsis")
    return Panel(Group(head, Text(), _clients(scene), Text(), foot), title=f"[bold]roughfed demo[/]  {scene.title}")


def sparkline(values: Sequence[float]) -> str:
    """Bars from the least of the values to the greatest, or over `LEAST_SPAN` around what differs by less."""
    if not values:
        return ""
    span = max(max(values) - min(values), LEAST_SPAN)
    low = (min(values) + max(values) - span) / 2
    return "".join(BARS[min(len(BARS) - 1, int((v - low) / span * len(BARS)))] for v in values)


def _phases(scene: DemoScene) -> RenderableType:
    if scene.status is None or scene.over:
        return Text(scene.stage, style="bold cyan")
    if scene.finished:
        return Text("the run is over, the processes end", style="bold cyan")
    phase = scene.status["phase"]
    if phase == "evaluate":
        return Text("every client evaluates the final model on its own held-out data", style="bold cyan")
    spoken = SPOKEN
    if scene.server_sees != "updates":
        spoken = {
            key: words for key, words in SPOKEN_MASKED.items() if (key, scene.server_sees) != ("sketching", "sums")
        }
        phase = (scene.status["stage"] or phase) if phase in ("report", "unmask") else phase
        phase = SHOWN_AS.get(phase, phase)
    if phase not in spoken:
        present = sum(client["connected"] for client in scene.status["clients"])
        waiting = present < scene.status["min_clients"]
        return Text(
            f"{present} of {len(scene.held)} clients are here" if waiting else "between rounds", style="bold cyan"
        )
    text = Text()
    for each, words in spoken.items():
        text.append(" > " if text else "", style="dim")
        text.append(words, style="bold reverse cyan" if each == phase else "dim")
    return text


def _groups(scene: DemoScene) -> Text:
    """The groups of the newest round, and what went wrong in any."""
    groups: Sequence[Mapping[str, Any]] = (scene.status or {}).get("groups") or []
    sizes = [len(g["members"]) for g in groups] or [len(g.members) for r in scene.rounds[-1:] for g in r.groups]
    if not sizes:
        return Text("not drawn yet", style="dim")
    void = sum(bool(g.void) for r in scene.rounds for g in r.groups)
    excluded = sum(why != VOID for r in scene.rounds for _, why in r.excluded)
    text = Text(
        f"{len(sizes)} of {' + '.join(map(str, sizes))} clients" if len(sizes) > 1 else f"1 of {sizes[0]} clients"
    )
    if void:
        text.append(f"   {void} void", style="yellow")
    if excluded:
        text.append(f"   {excluded} updates excluded", style="yellow")
    return text


def _round_bar(scene: DemoScene) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=scene.rounds_wanted, completed=len(scene.rounds), width=BAR_WIDTH, complete_style="cyan")
    row.add_row(bar, Text(f"{len(scene.rounds)} of {scene.rounds_wanted}"))
    return row


def _accuracy(rounds: Sequence[RoundSummary]) -> Text:
    known = [r.accuracy for r in rounds if r.accuracy is not None]
    if not known:
        return Text("not measured yet", style="dim")
    text = Text(sparkline(known[-BAR_WIDTH:]), style="green")
    text.append(f"  {percent(known[-1])}", style="bold green")
    if (balanced := last_known(r.balanced_accuracy for r in rounds)) is not None:
        text.append(f"  balanced {percent(balanced)}", style="green")
    return text


def _traffic(scene: DemoScene) -> Text:
    up = sum(r.upload_bytes for r in scene.rounds)
    down = sum(r.download_bytes for r in scene.rounds)
    status = scene.status
    if status is not None and status["round"] > len(scene.rounds) and not scene.over:  # the open round
        up, down = up + status["upload_bytes"], down + status["download_bytes"]
    return Text(f"↑ {size(up)}   ↓ {size(down)}")


def _clients(scene: DemoScene) -> Table:
    masked = scene.server_sees != "updates"
    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    table.add_column("client")
    table.add_column("examples", justify="right")
    table.add_column("state", min_width=12)
    table.add_column(("" if masked else "on its own data") if scene.finished else "progress", min_width=BAR_WIDTH)
    clients: Sequence[Mapping[str, Any]] = scene.status["clients"] if scene.status is not None else ()
    known = {str(client["name"]): client for client in clients}
    measured = next((r.client_accuracy for r in reversed(scene.rounds) if r.client_accuracy), dict[str, float]())
    for name, held in scene.held.items():
        if scene.finished:
            words = percent(measured[name]) if name in measured else "" if masked else "not measured"
            state, last = "done", Text(words, style="green")
        else:
            client = known.get(name, {"state": "starting", "progress": 0.0})
            state, last = str(client["state"]), _progress(client)
        table.add_row(name, f"{held:,}", Text(state, style=STYLES.get(state, "bold red")), last)
    return table


def _progress(client: Mapping[str, Any]) -> RenderableType:
    if client["state"] not in ("training", "evaluating"):
        return ""
    return ProgressBar(total=1.0, completed=client["progress"], width=BAR_WIDTH, complete_style="cyan")
