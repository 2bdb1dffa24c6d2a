"""How a status looks on a terminal. Pure: dictionaries in, something for rich to draw out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roughfed.deploy.cli.live_unlike import lines
from roughfed.report.words import SEEN, reason

Status = Mapping[str, Any]

BAR = 20
STYLES = {
    "received": "green",
    "agreeing": "green",
    "training": "cyan",
    "uploading": "cyan",
    "downloading": "cyan",
    "gone": "red",
    "quarantined": "red",
}
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
NAMED = 8
"""Clients that are named in one line."""
SHOWN = 40
"""Rows of the clients' table; a terminal has no more, and the JSON has them all."""


def draw(status: Status) -> RenderableType:
    """A running server."""
    return Group(_facts(status), Text(), _clients(status))


def draw_ended(status: Status) -> RenderableType:
    """What the journal knows of a server that does not run."""
    if status["run"] is None:
        return Text("no server runs here, and no run was started yet")
    if status["finished"]:
        state = f"over ({status['finished']})"
    else:
        state = "stopped in the middle of a round" if status["round_open"] else "stopped between two rounds"
    table = _grid()
    table.add_row("run", Text(f"{status['run']}, {state}"))
    abandoned = f", {status['rounds_abandoned']} abandoned" if status["rounds_abandoned"] else ""
    table.add_row("rounds", f"{status['rounds_committed']} committed{abandoned}")
    best = f", best {status['best_version']}" if status["best_version"] is not None else ""
    table.add_row("model", f"version {status['model_version']}{best}, {status['parameters']:,} parameters")
    table.add_row("accuracy", _accuracy(status))
    _add_unlike(table, status)
    _add_defence(table, status.get("defence"))
    _add_quarantined(table, status)
    hint = "roughfed report, roughfed export" if status["finished"] else "roughfed server goes on with it"
    return Group(Text("no server runs on this directory", style="yellow"), table, Text(hint, style="dim"))


def _bar(total: float, completed: float) -> ProgressBar:
    return ProgressBar(total=total, completed=completed, width=BAR, complete_style="cyan", finished_style="green")


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    return table


def _facts(status: Status) -> Table:
    clients = status["clients"]
    connected = sum(client["connected"] for client in clients)
    table = _grid()
    table.add_row("run", Text(f"{status['run']}, up {_time(status['uptime_s'])}"))
    table.add_row("round", _round(status))
    table.add_row("phase", _phase(status))
    traffic = f"{_size(status['upload_bytes'])} up, {_size(status['download_bytes'])} down"
    table.add_row("this round", traffic)
    table.add_row("model", f"version {status['model_version']}, {status['parameters']:,} parameters")
    table.add_row("accuracy", _accuracy(status))
    table.add_row("clients", f"{connected} connected, {status['min_clients']} needed to open a round")
    table.add_row("server sees", Text(f"{status['server_sees']}: {SEEN.get(status['server_sees'], '')}"))
    if status.get("groups"):
        table.add_row("groups", _groups(status["groups"]))
    _add_unlike(table, status)
    _add_defence(table, status.get("defence"))
    _add_quarantined(table, status)
    return table


def _add_defence(table: Table, defence: Mapping[str, Any] | None) -> None:
    """The rule, whom it left out of the last round that was judged, and whom so far."""
    if defence is None or defence["rule"] == "none":
        return
    words = defence["rule"]
    if defence["judged"]:
        words += f", against {defence['tolerated']} of {defence['judged']} in round {defence['round']}"
    table.add_row("defence", Text(words))
    for each in defence["verdicts"]:
        if each["score"] is not None and each["reason"]:
            said = f"{each['client']}: {reason(each['reason'])} (score {each['score']:.3g})"
            table.add_row("left out", Text(said, style="yellow"))
    if often := defence["excluded"]:
        counts = {client: sum(by_reason.values()) for client, by_reason in often.items()}
        most = sorted(counts, key=lambda client: (-counts[client], client))
        so_far = ", ".join(f"{client} {counts[client]}x" for client in most[:NAMED])
        table.add_row("so far", Text(so_far + (f", {len(most) - NAMED} more" if len(most) > NAMED else "")))


def _add_unlike(table: Table, status: Status) -> None:
    """What the last rounds say of clients that differ."""
    for label, words, style in lines(status.get("unlike")):
        table.add_row(label, Text(words, style=style))


def _add_quarantined(table: Table, status: Status) -> None:
    """Who is not asked any more, and why."""
    for name, why in (status.get("quarantined") or {}).items():
        table.add_row("quarantined", Text(f"{name}: {reason(why)}", style="red"))


def _groups(groups: Sequence[Mapping[str, Any]]) -> Text:
    """Their sizes, and where the slowest is."""
    sizes = " + ".join(str(len(group["members"])) for group in groups)
    return Text(f"{sizes} clients" if len(groups) > 1 else f"one of {sizes} clients")


def _round(status: Status) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    bar = _bar(status["rounds"], status["model_version"])
    row.add_row(f"{status['round']} of {status['rounds']}", bar)
    return row


def _phase(status: Status) -> RenderableType:
    """The phase; while updates come in, how many of those that the round needs."""
    row = Table.grid(padding=(0, 1))
    style = "yellow" if status["paused"] else "bold"
    words = f"{status['phase']} (paused)" if status["paused"] and status["phase"] != "paused" else status["phase"]
    if status.get("waiting"):
        row.add_row(Text(status["waiting"], style=style))
        return row
    if status.get("stage"):
        words = f"{words}: {STAGES[status['stage']]}"
    if not status["needed"]:
        row.add_row(Text(words, style=style))
        return row
    members = [c for c in status["clients"] if c["in_cohort"]]
    received, goal = sum(c["state"] == "received" for c in members), status["needed"]["goal"]
    counts = f"{received} of {goal} updates, quorum {status['needed']['quorum']}, {_time(status['round_seconds'] or 0)}"
    row.add_row(Text(words, style=style), _bar(max(1, goal), received), counts)
    return row


def _clients(status: Status) -> RenderableType:
    clients = status["clients"]
    if not clients:
        return Text("no client is connected; invite one: roughfed invite NAME", style="dim")
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("client", "state", "", "device"):
        table.add_column(column)
    for client in clients[:SHOWN]:
        state = str(client["state"])
        name = Text(client["name"], style="" if client["in_cohort"] or not status["needed"] else "dim")
        busy = state == "training"
        bar = _bar(1.0, client["progress"]) if busy else Text()
        table.add_row(name, Text(state, style=STYLES.get(state.partition(":")[0], "")), bar, Text(client["device"]))
    if len(clients) > SHOWN:
        table.add_row(Text(f"and {len(clients) - SHOWN} more", style="dim"))
    return table


def _accuracy(status: Status) -> str:
    if status["accuracy"] is None:
        return "not measured by the server"
    balanced = status["balanced_accuracy"]
    whose = ", on the clients' data together" if status.get("measured_by") == "clients" else ""
    worst = status.get("worst_class_accuracy")
    more = (
        f", {name} {share:.1%}" for name, share in (("balanced", balanced), ("worst class", worst)) if share is not None
    )
    return f"{status['accuracy']:.1%}{''.join(more)}{whose}"


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
