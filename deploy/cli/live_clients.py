"""The clients' table on a terminal: who needs looking at comes first, as many as there is room for. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from roughfed.deploy.cli.live_words import size, span
from roughfed.report.words import BLAMELESS, reason

Client = Mapping[str, Any]
Status = Mapping[str, Any]

STYLES = {
    "received": "green",
    "agreeing": "green",
    "training": "cyan",
    "uploading": "cyan",
    "downloading": "cyan",
    "evaluating": "cyan",
    "late": "yellow",
    "gone": "red",
    "refused": "red",
    "excluded": "yellow",
    "quarantined": "red",
}
ORDER = (
    "late",
    "refused",
    "excluded",
    "gone",
    "quarantined",
    "training",
    "downloading",
    "uploading",
    "agreeing",
    "evaluating",
)
"""What is looked at first; whatever else is between these and the last three."""
LAST = ("idle", "received", "away")
NO_FAULT = {*BLAMELESS, "late", "gone", "left-behind", "absent"}
BAR = 12
WIDE, WIDER = 96, 120
"""Columns from which a table has more of them."""
DAY_S = 86400.0


class Words:
    """One word for what each client does, of those in one status."""

    def __init__(self, status: Status) -> None:
        """Look once at what holds for all."""
        needed = status.get("needed")
        here = sum(each["state"] == "received" for each in status["clients"])
        self.late = bool(needed) and here >= needed["quorum"]
        self.out = excluded(status)

    def of(self, client: Client) -> str:
        """The word; "late": the round could end but for those who are as slow as this client."""
        state = str(client["state"]).partition(":")[0].partition(" ")[0]
        if client.get("held"):
            return "quarantined"
        if self.late and client["in_cohort"] and state not in ("received", "refused", "gone"):
            return "late"
        return "excluded" if state in ("received", "idle") and client["name"] in self.out else state


def excluded(status: Status) -> dict[str, str]:
    """Whom the last verdicts left out for what it sent, and why."""
    found: Mapping[str, Any] = status.get("defence") or {}
    if found.get("round", 0) < status["round"] - 1:
        return {}
    return {v["client"]: v["reason"] for v in found["verdicts"] if v["reason"] and v["reason"] not in NO_FAULT}


def ordered(status: Status, words: Words) -> list[Client]:
    """The clients, those first that need looking at; who trains, the slowest first."""

    def rank(client: Client) -> tuple[bool, int, float, str]:
        said = words.of(client)
        place = ORDER.index(said) if said in ORDER else len(ORDER)
        place = len(ORDER) + 1 + LAST.index(said) if said in LAST else place
        outside = bool(status.get("needed")) and not client["in_cohort"] and said not in ("quarantined",)
        return outside, place, client["progress"] if said in ("training", "late") else 0.0, client["name"]

    return sorted(status["clients"], key=rank)


def table(status: Status, *, rows: int, width: int, now: float) -> RenderableType:
    """At most `rows` clients in a terminal of `width` columns, and a line that counts the rest."""
    words = Words(status)
    clients = ordered(status, words)
    if not clients:
        return Text("no client is connected; invite one: roughfed invite NAME", style="dim")
    shown = clients if len(clients) <= rows else clients[: max(1, rows - 1)]
    drawn = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    drawn.add_column("client", max_width=max(12, width // 4), no_wrap=True)
    drawn.add_column("state", max_width=max(20, width // 3), no_wrap=True)
    for title in ("", "device", *(("in sum", "left out") if width >= WIDE else ())):
        drawn.add_column(title, justify="right" if "in" in title or "out" in title else "left", no_wrap=True)
    for title in ("memory", "GPU", "certificate") if width >= WIDER else ():
        drawn.add_column(title, justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True)
    for client in shown:
        drawn.add_row(
            *_cells(client, words.of(client), width, now), Text(words.out.get(client["name"], ""), style="yellow")
        )
    if rest := clients[len(shown) :]:
        counts = Counter(words.of(client) for client in rest)
        listed = ", ".join(f"{number} {name}" for name, number in counts.most_common())
        drawn.add_row(Text(f"{len(rest)} more", style="dim"), Text(listed, style="dim"))
    return drawn


def _cells(client: Client, said: str, width: int, now: float) -> list[RenderableType]:
    member = client["in_cohort"] or said in ("idle", "gone")
    cells: list[RenderableType] = [
        Text(client["name"], style="" if member else "dim"),
        Text(_state(client, said), style=STYLES.get(said, "" if member else "dim")),
        _bar(client) if client["state"] == "training" else Text(),
        Text(client["device"], style="" if member else "dim"),
    ]
    if width >= WIDE:
        cells += [_count(client, "accepted"), _count(client, "excluded", style="yellow")]
    if width >= WIDER:
        machine = client.get("machine") or {}
        cells += [Text(_size(machine.get("rss_bytes"))), Text(_gpu(machine)), _certificate(client, now)]
    return cells


def _state(client: Client, said: str) -> str:
    """The state in words, with what is worth knowing about it."""
    state = str(client["state"])
    if client.get("held"):
        return f"quarantined: {reason(client['held'])}"
    kind, _, why = state.partition(": ")
    if why:
        return f"{kind}: {reason(why)}"
    if said == "gone" and client.get("last_seen_s") is not None:
        return f"gone for {span(client['last_seen_s'])}"
    return f"{state} (late)" if said == "late" else state


def _bar(client: Client) -> ProgressBar:
    return ProgressBar(
        total=1.0, completed=client["progress"], width=BAR, complete_style="cyan", finished_style="green"
    )


def _count(client: Client, key: str, style: str = "") -> Text:
    number = client.get(key)
    return Text("" if number is None else f"{number}", style=style if number else "dim")


def _certificate(client: Client, now: float) -> Text:
    if (end := client.get("expires_at")) is None:
        return Text()
    left = end - now
    return Text(span(left) if left > 0 else "ended", style="red" if left < DAY_S else "dim")


def _size(number: object) -> str:
    return size(number) if isinstance(number, int | float) else ""


def _gpu(machine: Mapping[str, Any]) -> str:
    used, memory = machine.get("gpu_utilization"), machine.get("gpu_memory_bytes")
    share = "" if used is None else f"{used:.0%} "
    return f"{share}{_size(memory)}".strip()
