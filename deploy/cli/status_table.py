"""How a status looks on a terminal: some facts, the alerts with their cure, one table of the clients. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from roughfed.deploy.table import Column, FittingTable
from roughfed.logs import escape
from roughfed.report.scale import percent, seconds
from roughfed.report.words import BLAMELESS, reason

Status = Mapping[str, Any]
Client = Mapping[str, Any]
Fact = tuple[str, str | Text]

SHOWN = 40
"""Clients in the table where nothing says how many there is room for; the JSON has them all."""
KINDS = 3
"""States that are named of those that have no room."""
ALERTS_OF = 12
"""Rows of a screen that are left for one alert."""
MARKS = {"critical": ("!!", "bold red"), "warning": ("! ", "bold yellow"), "info": ("i ", "bold cyan")}
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
OTHER = ""
ORDER = (
    "late", "refused", "excluded", "gone", "quarantined", "training", "downloading", "uploading", "agreeing",
    "evaluating", OTHER, "idle", "received", "away",
)  # fmt: skip
"""States, those first that need looking at."""
STYLES = {"late": "yellow", "excluded": "yellow", "gone": "red", "refused": "red", "quarantined": "red"}
NO_FAULT = {*BLAMELESS, "late", "gone", "left-behind", "absent"}


@dataclass(frozen=True, slots=True)
class StatusView:
    """A running server.

    Attributes:
        status: of the server.
        now: Unix seconds.
        page: address of its page; empty: not known.
        accuracy: of the model on a client's own data, by its name, where the client told it.
        height: rows of the terminal; None: as many as it takes.
        note: a line above all else.
    """

    status: Status
    now: float
    page: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    height: int | None = None
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        status, rows, alerts = clean(self.status), SHOWN, None
        if self.height is not None:
            alerts = max(1, self.height // ALERTS_OF)
        note = [Text(self.note, style="bold yellow")] if self.note else []
        shown = _alerts(status.get("alerts") or (), self.now, alerts)
        top = Group(*note, grid(facts(status, self.now, self.page)), *shown, Text())
        if self.height is not None:  # the table has its head, and a line for who has no room
            rows = max(1, self.height - len(console.render_lines(top, options.update(height=None), pad=False)) - 2)
        yield top
        yield clients(status, rows=rows, now=self.now, accuracy=self.accuracy)


def draw_ended(status: Status, accuracy: Mapping[str, float]) -> RenderableType:
    """What the journal knows of a server that does not run; `accuracy` as in a `StatusView`."""
    status = clean(status)
    if status["run"] is None:
        return Text("no server runs here, and no run was started yet")
    if status["finished"]:
        state = f"over ({status['finished']})"
    else:
        where = "in the middle of a round" if status["round_open"] else "between two rounds"
        state = f"stopped {where}"
    abandoned = f", {status['rounds_abandoned']} abandoned" if status["rounds_abandoned"] else ""
    found: list[Fact] = [
        ("run", f"{status['run']}, {state}"),
        ("rounds", f"{status['rounds_committed']} committed{abandoned}"),
        ("model", model(status)),
        ("next", then(status)),
    ]
    parts: list[RenderableType] = [Text("no server runs on this directory", style="yellow"), grid(found)]
    verdicts: Sequence[Mapping[str, Any]] = part(status, "defence").get("verdicts") or ()
    known = {*(str(each["client"]) for each in verdicts), *accuracy}
    if members := [_absent(status, name, "") for name in sorted({*known, *_left_out(status)})]:
        parts += [Text(), clients({**status, "clients": members}, rows=SHOWN, now=0.0, accuracy=accuracy)]
    return Group(*parts)


def part(status: Status, key: str) -> Mapping[str, Any]:
    """What a status says under a key; nothing where it says nothing."""
    return status.get(key) or {}


def clean(value: Any) -> Any:
    """A status without control characters: names and reasons come from clients, and a terminal obeys some texts."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return {clean(key): clean(each) for key, each in cast("Mapping[str, Any]", value).items()}
    return [clean(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def grid(found: Sequence[Fact]) -> Grid:
    """Facts, one under the other."""
    table = Grid.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for label, said in found:
        table.add_row(label, said if isinstance(said, Text) else Text(said))
    return table


def span(of_s: float) -> str:
    """A time to the second; in days where it is long."""
    return f"{of_s / 86400:.0f} days" if of_s >= 2 * 86400 else seconds(float(round(of_s)))


def last_of(status: Status) -> int:
    """Number of the last round: rounds that were abandoned are played again. An older server does not say."""
    return int(status.get("last_round", status["rounds"]))


def facts(status: Status, now: float, page: str) -> list[Fact]:
    """Run, round and what it waits for, model, the round before, what to type next."""
    found: list[Fact] = [
        ("run", f"{status['run']}, up {span(status['uptime_s'])}; the server sees {status['server_sees']}"),
        *([("upstream", _above(above))] if (above := status.get("upstream")) is not None else []),
        ("round", f"{status['round']} of {last_of(status)}; {_phase(status, now)}"),
        ("model", model(status)),
    ]
    if history := status.get("history"):
        found.append(("before", _before(history[-1])))
    return found + [(label, said) for label, said in (("page", page), ("next", _next(status))) if said]


def _above(above: Mapping[str, Any]) -> str:
    """Of an edge: what the federation above asks for."""
    if not above["run"]:
        return "has asked for nothing yet"
    where = f"round {above['round']} of {above['rounds']} of {above['run']}"
    return f"waits for the sum of {where}" if above["open"] else f"{where} was the last"


def _phase(status: Status, now: float) -> str:
    """The phase, what is missing, and how long the round may still take."""
    if status.get("waiting"):
        return str(status["waiting"])
    words = [STAGES[stage] if (stage := status.get("stage")) else str(status["phase"])]
    if status["paused"] and status["phase"] != "paused":
        words[0] += " (paused)"
    if status.get("stopping"):
        words[0] += " (the server is stopping)"
    if status["needed"]:
        here, needed = received(status), status["needed"]
        words.append(f"{here} of {needed['goal']} updates, {needed['quorum']} are enough")
    if status.get("round_seconds") is not None and (end := status.get("deadline_at")) is not None:
        words.append(f"{span(end - now)} left" if end > now else f"{span(now - end)} over its deadline")
    return ", ".join(words)


def received(status: Status) -> int:
    """Updates of the open round that are here."""
    return sum(client["state"] == "received" for client in status["clients"] if client["in_cohort"])


def model(status: Status) -> str:
    """The version, and its accuracy with the change since the round before."""
    best = f", best {found}" if (found := status.get("best_version")) not in (None, status["model_version"]) else ""
    version = f"version {status['model_version']}{best}"
    if (value := status.get("accuracy")) is None:
        return f"{version}, its accuracy is not measured"
    known = [each["accuracy"] for each in status.get("history") or () if each.get("accuracy") is not None]
    before = [each for at, each in enumerate(known) if at < len(known) - 1 or each != value]
    change = f"{(value - before[-1]) * 100:+.1f}" if before else ""
    change = f" ({change} points)" if change.strip("+-0.") else ""
    whose = " on the clients' data together" if status.get("measured_by") == "clients" else ""
    return f"{version}, accuracy {percent(value)}{change}{whose}"


def then(status: Status) -> str:
    """What a person would type once a server has ended."""
    return (
        "roughfed report, roughfed rounds, roughfed export" if status["finished"] else "roughfed server goes on with it"
    )


def _before(last: Mapping[str, Any]) -> Text:
    """How the last round ended."""
    gone = last.get("gone", 0)  # an older server does not say
    counts = {"left out": last["excluded"], "gone": gone, "late": last["dropped"] - gone}
    more = [f"{number} {word}" for word, number in counts.items() if number]
    ended = "" if last["outcome"] == "committed" else f" {last['outcome']} ({last['reason']})"
    said = [f"{last['accepted']} of {last['asked']} in the sum", *more, seconds(last["seconds"])]
    return Text(f"round {last['round']}{ended}: {', '.join(said)}", style="red" if ended else "")


def _next(status: Status) -> str:
    """What a person would type now."""
    if status["finished"]:
        return then(status)
    if status["paused"]:
        return "roughfed resume"
    here = sum(client["connected"] for client in status["clients"])
    return "roughfed invite NAME" if here < status["min_clients"] else ""


def _alerts(found: Sequence[Mapping[str, Any]], now: float, most: int | None) -> Iterator[RenderableType]:
    """The worst first, each with who, what, since when and what to type; those beyond `most` are named."""
    for each in found[:most]:
        mark, style = MARKS.get(str(each["severity"]), MARKS["info"])
        said = Text.assemble((str(each["name"]), style), f" for {span(max(0.0, now - each['since']))}: {each['text']}")
        yield grid([(mark, said), ("", Text(f"> {each['cure']}", style="green"))])
    if rest := found[len(found) if most is None else most :]:
        yield Text(f"    and {', '.join(str(each['name']) for each in rest)}", style="yellow")


class States:
    """A word for what each client does, of those in one status."""

    def __init__(self, status: Status) -> None:
        """Look once at what holds for all."""
        found, needed = part(status, "defence"), status.get("needed")
        fresh = found.get("round", 0) >= status.get("round", 0) - 1
        verdicts: Sequence[Mapping[str, Any]] = found.get("verdicts") or ()
        self.verdicts = {str(each["client"]): str(each["reason"]) for each in verdicts if fresh}
        self.open = bool(needed)
        self._late = bool(needed) and sum(c["state"] == "received" for c in status["clients"]) >= needed["quorum"]

    def of(self, client: Client) -> str:
        """The word; "late": the round could end but for those who are as slow as this client."""
        state = str(client["state"]).partition(":")[0].partition(" ")[0]
        if client.get("held"):
            return "quarantined"
        if self._late and client["in_cohort"] and state not in ("received", "refused", "gone"):
            return "late"
        blamed = self.verdicts.get(client["name"], "") not in {"", *NO_FAULT}
        return "excluded" if blamed and state in ("received", "idle", "") else state

    def rank(self, client: Client) -> tuple[bool, int, float, str]:
        """What the clients are sorted by: who needs looking at, then who trains, the slowest first."""
        said = self.of(client)
        outside = self.open and not client["in_cohort"] and said != "quarantined"
        slow = client["progress"] if said in ("training", "late") else 0.0
        return outside, ORDER.index(said if said in ORDER else OTHER), slow, client["name"]

    def words(self, client: Client) -> str:
        """The state, with what is worth knowing about it."""
        said, state = self.of(client), str(client["state"])
        if said == "late":
            return f"late ({state})"
        if said == "gone" and client.get("last_seen_s") is not None:
            return f"gone for {span(client['last_seen_s'])}"
        if said == "training" and client["progress"]:
            return f"training {client['progress'] * 100:.0f} %"
        return state if said == "away" else said

    def outcome(self, client: Client) -> str:
        """What became of its last update, or why it is asked for none."""
        if client.get("held"):
            return reason(client["held"])
        if why := str(client["state"]).partition(": ")[2]:
            return reason(why)
        verdict = self.verdicts.get(client["name"])
        return "" if verdict is None else reason(verdict).removeprefix("the defence: ") if verdict else "in the sum"


def _left_out(status: Status) -> set[str]:
    return {*part(status, "quarantined"), *part(part(status, "defence"), "excluded")}


def _absent(status: Status, name: str, state: str) -> dict[str, Any]:
    """A client of which a status says no more than that it was left out."""
    reasons = part(part(part(status, "defence"), "excluded"), name)
    known = {"connected": False, "progress": 0.0, "in_cohort": False, "excluded": sum(reasons.values())}
    return {"name": name, "state": state, "held": part(status, "quarantined").get(name, ""), **known}


def clients(status: Status, *, rows: int, now: float, accuracy: Mapping[str, float]) -> RenderableType:
    """The table of at most `rows` clients, and a line that counts the others; else as in a `StatusView`."""
    known = {each["name"] for each in status["clients"]}
    held = [_absent(status, name, "gone") for name in status.get("quarantined") or () if name not in known]
    states = States(status)
    found: list[Client] = sorted([*status["clients"], *held], key=states.rank)
    if not found:
        return Text("no client is connected; invite one: roughfed invite NAME", style="dim")
    shown = found[:rows]
    table = FittingTable(
        [
            Column("client", [each["name"] for each in shown], prose=True),
            Column("state", [states.words(c) for c in shown], left=True, styles=[_style(states, c) for c in shown]),
            Column("last round", [states.outcome(each) for each in shown], spare=1, prose=True),
            Column("in sum", [_count(each.get("accepted")) for each in shown], spare=3),
            Column("left out", [_count(each.get("excluded")) for each in shown], spare=2),
            Column("accuracy", [_share(accuracy.get(each["name"])) for each in shown], spare=4),
            Column("examples/s", [_speed(each) for each in shown], spare=5),
            Column("here for", [_since(each, now) for each in shown], spare=6),
        ]
    )
    if not (rest := found[len(shown) :]):
        return table
    counts = Counter(states.of(each) for each in rest)
    named = ", ".join(f"{number} {said}" for said, number in list(counts.items())[:KINDS])
    said = f"and {len(rest)} more ({named}{', ...' if len(counts) > KINDS else ''}): roughfed status --json"
    return Group(table, Text(said, style="dim", no_wrap=True, overflow="crop"))


def _style(states: States, client: Client) -> str:
    return STYLES.get(states.of(client), "" if client["in_cohort"] or not states.open else "dim")


def _count(number: int | None) -> str:
    return f"{number}" if number else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def _speed(client: Client) -> str:
    """Examples of its last training a second, where it tells its server."""
    machine: Mapping[str, Any] = client.get("machine") or {}
    spent, samples = machine.get("train_seconds"), machine.get("samples")
    return f"{samples / spent:,.0f}" if spent and samples else ""


def _since(client: Client, now: float) -> str:
    return "" if client.get("since") is None else span(max(0.0, now - client["since"]))
