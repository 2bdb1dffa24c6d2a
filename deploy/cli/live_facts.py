"""The lines of facts of a status on a terminal: label, what is said, what goes first where there is no room. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from roughfed.deploy.cli import live_learning, live_round
from roughfed.deploy.cli.live_unlike import lines
from roughfed.deploy.cli.live_words import size, span
from roughfed.report.words import SEEN, reason

Status = Mapping[str, Any]

NAMED = 8
"""Clients that are named in one line."""
LEFT_OUT = 4
"""Lines of clients that the last verdicts left out."""
DAY_S = 86400.0
SOON_S = {"server": 2 * DAY_S, "ca": 30 * DAY_S, "client": 1.5 * DAY_S}
LITTLE = 0.1
"""Part of a disk; with less free, it is worth a line in any case."""

ALWAYS, IF_ROOM, LAST = 0, 5, 9


@dataclass(frozen=True, slots=True)
class Fact:
    """A line.

    Attributes:
        label: in front of it.
        said: what it says.
        spare: the larger, the earlier it goes where the terminal is low; 0: never.
    """

    label: str
    said: RenderableType
    spare: int = ALWAYS


@dataclass(frozen=True, slots=True)
class View:
    """How it is looked at: seconds now, width of the terminal, bytes a second, whether only ASCII can be shown."""

    now: float
    width: int
    rates: tuple[float, float] | None = None
    plain: bool = False


def facts(status: Status, view: View) -> list[Fact]:
    """All lines, in order."""
    return [
        *_run(status),
        *_round(status, view),
        *_model(status, view),
        *_clients(status),
        *(Fact(label, Text(words, style=style), 6) for label, words, style in lines(status.get("unlike"))),
        *defence(status),
        *quarantined(status),
        *_certificates(status, view),
        *_disk(status),
    ]


def grid(found: list[Fact]) -> Table:
    """The lines under one another."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column()
    for each in found:
        table.add_row(each.label, each.said)
    return table


def _run(status: Status) -> Iterator[Fact]:
    yield Fact("run", Text(f"{status['run']}, up {span(status['uptime_s'])}"), 4)
    seen = status["server_sees"]
    if (above := status.get("upstream")) is not None:
        yield Fact("upstream", Text(_above(above)), 1)
    yield Fact("server sees", Text(f"{seen}: {SEEN.get(seen, '')}"), LAST)


def _above(above: Mapping[str, Any]) -> str:
    """Of an edge: what the federation above asks for."""
    if not above["run"]:
        return "has asked for nothing yet"
    where = f"round {above['round']} of {above['rounds']} of {above['run']}"
    return f"waits for the sum of {where}" if above["open"] else f"{where} was the last"


def _round(status: Status, view: View) -> Iterator[Fact]:
    yield Fact("round", live_round.rounds(status))
    yield Fact("phase", live_round.phase(status, view.width))
    if (times := live_round.times(status, view.now)) is not None:
        yield Fact("time", times, 1)
    if (stages := live_round.stages(status)) is not None:
        yield Fact("stages", stages, 2)
    if status.get("groups"):
        yield Fact("groups", live_round.groups(status["groups"]), IF_ROOM)
    yield Fact("this round", live_round.traffic(status, view.rates), 2)
    if refused := [c for c in status["clients"] if str(c["state"]).startswith("refused")]:
        words = ", ".join(f"{c['name']} ({reason(str(c['state']).partition(': ')[2])})" for c in refused[:NAMED])
        more = f", {len(refused) - NAMED} more" if len(refused) > NAMED else ""
        yield Fact("refused", Text(words + more, style="red"), 3)


def _model(status: Status, view: View) -> Iterator[Fact]:
    yield Fact("model", Text(f"version {status['model_version']}, {status['parameters']:,} parameters"), 7)
    yield Fact("accuracy", live_learning.accuracy(status))
    for number, (name, drawn) in enumerate(live_learning.curves(status, min(60, view.width - 16), plain=view.plain)):
        yield Fact(name if number else "", drawn, 8 if number else 3)
    if (last := _last(status)) is not None:
        yield last


def _last(status: Status) -> Fact | None:
    """How the last round ended."""
    if not (history := status.get("history")):
        return None
    last = history[-1]
    counts = f"{last['accepted']} of {last['asked']} in the sum"
    more = [f"{last[key]} {name}" for key, name in (("excluded", "left out"), ("dropped", "late or gone")) if last[key]]
    ended = "" if last["outcome"] == "committed" else f" {last['outcome']} ({last['reason']})"
    words = f"round {last['round']}{ended}: {', '.join([counts, *more])}, {span(last['seconds'])}"
    return Fact("before", Text(words, style="red" if ended else ""), 4)


def _clients(status: Status) -> Iterator[Fact]:
    connected = sum(client["connected"] for client in status["clients"])
    words = f"{connected} connected, {status['min_clients']} needed to open a round"
    yield Fact("clients", Text(words), IF_ROOM)


def defence(status: Status) -> Iterator[Fact]:
    """The rule, whom it left out of the last round that was judged, and whom so far."""
    found: Mapping[str, Any] | None = status.get("defence")
    if found is None or found["rule"] == "none":
        return
    words = found["rule"]
    if found["judged"]:
        words += f", against {found['tolerated']} of {found['judged']} in round {found['round']}"
    yield Fact("defence", Text(words), 6)
    out = [each for each in found["verdicts"] if each["score"] is not None and each["reason"]]
    for each in out[:LEFT_OUT]:
        said = f"{each['client']}: {reason(each['reason'])} (score {each['score']:.3g})"
        yield Fact("left out", Text(said, style="yellow"), IF_ROOM)
    if len(out) > LEFT_OUT:
        yield Fact("left out", Text(f"{len(out) - LEFT_OUT} more", style="yellow"), IF_ROOM)
    if often := found["excluded"]:
        counts = Counter({client: sum(by_reason.values()) for client, by_reason in often.items()})
        most = sorted(counts, key=lambda client: (-counts[client], client))
        so_far = ", ".join(f"{client} {counts[client]}x ({_reasons(often[client])})" for client in most[:NAMED])
        yield Fact("so far", Text(so_far + (f", {len(most) - NAMED} more" if len(most) > NAMED else "")), 4)


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(sorted(counts, key=lambda why: (-counts[why], why)))


def quarantined(status: Status) -> Iterator[Fact]:
    """Who is not asked any more, and why."""
    for name, why in (status.get("quarantined") or {}).items():
        yield Fact("quarantined", Text(f"{name}: {reason(why)}", style="red"), 3)


def _certificates(status: Status, view: View) -> Iterator[Fact]:
    """Those that end soon."""
    ends = [(each["role"], each["role"], each["expires_at"]) for each in status.get("certificates") or ()]
    ends += [("client", c["name"], c["expires_at"]) for c in status["clients"] if c.get("expires_at")]
    soon = [(end - view.now, name) for kind, name, end in ends if end - view.now < SOON_S[kind]]
    if soon:
        words = [f"{name} {f'in {span(left)}' if left > 0 else 'ended'}" for left, name in sorted(soon)[:NAMED]]
        more = f", {len(soon) - NAMED} more" if len(soon) > NAMED else ""
        yield Fact("certificates", Text(", ".join(words) + more, style="yellow"), 2)


def _disk(status: Status) -> Iterator[Fact]:
    disk: Mapping[str, int] = status.get("disk") or {}
    if not disk.get("total_bytes"):
        return
    free, total = disk["free_bytes"], disk["total_bytes"]
    words = f"{size(free)} free of {size(total)}; journal {size(disk['journal_bytes'])}, "
    words += f"models and updates {size(disk['blob_bytes'])}"
    low = free < LITTLE * total
    yield Fact("disk", Text(words, style="yellow" if low else ""), 2 if low else LAST)
