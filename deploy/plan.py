"""`roughfed plan`: what a fed.toml means, before anything runs. `plan` is pure; `render` draws it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from roughfed.config import FederationConfig, check_federation
from roughfed.config.planned import TABLES, VALUES
from roughfed.config.schema import keys_of
from roughfed.config.values import duration_text

EXAMPLES = (2, 4, 8, 16, 100)

SEES = {
    "updates": "The server sees every client's whole update, its number of examples, its metrics and its evaluation. "
    "TLS protects them on the way, not from the server: whoever runs it can try to reconstruct training data.",
}


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as it will be used: dotted key, value as TOML, and where it comes from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Turnout:
    """A round with so many connected clients.

    Attributes:
        connected: clients that are there.
        starts: whether the server opens a round at all (`round.min_clients`).
        invited: clients that get the job.
        goal: updates that close the round.
        quorum: updates that are enough at the deadline.
        tolerated: invited clients that may fail without voiding the round.
        download_bytes: model bytes sent to all of them; None when the size of the model is not known.
        upload_bytes: update bytes that reach the goal; late updates come on top.
    """

    connected: int
    starts: bool
    invited: int
    goal: int
    quorum: int
    tolerated: int
    download_bytes: int | None
    upload_bytes: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What `roughfed plan` says.

    Attributes:
        settings: every setting, in the order of the file.
        server_sees: what the server learns about a client, in words.
        turnouts: rounds with an example number of clients, or with those connected.
        size: parameters of the model, D; None when not known.
        refused: settings that this version refuses by name, each with the reason.
        warnings: what works and is probably not meant.
    """

    settings: tuple[Effective, ...]
    server_sees: str
    turnouts: tuple[Turnout, ...]
    size: int | None
    refused: dict[str, str]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain data, for `--json`."""
        return asdict(self)


def plan(config: FederationConfig, *, connected: int | None = None, size: int | None = None) -> Plan:
    """Work out what the settings mean.

    Args:
        config: the loaded settings.
        connected: clients that are connected now; None = a few example numbers.
        size: parameters of the model, D, if known.

    Raises:
        SettingsRefused: the settings cannot work together.
    """
    check_federation(config)
    numbers = (connected,) if connected is not None else sorted({config.round.min_clients, *EXAMPLES})
    turnouts = tuple(
        _turnout(config, n, size) for n in numbers if n >= config.round.min_clients or connected is not None
    )
    return Plan(
        settings=tuple(_effective(config)),
        server_sees=SEES[config.privacy.server_sees],
        turnouts=turnouts,
        size=size,
        refused=dict(_refused()),
        warnings=(*_round_warnings(config, turnouts), *_model_warnings(config), *_server_warnings(config)),
    )


def _turnout(config: FederationConfig, connected: int, size: int | None) -> Turnout:
    """The numbers of one round; the server takes them from the same methods of [round]."""
    r = config.round
    goal, invited = r.goal(connected), r.invited(connected)
    quorum = r.needed(goal)
    return Turnout(
        connected=connected,
        starts=connected >= r.min_clients,
        invited=invited,
        goal=goal,
        quorum=quorum,
        tolerated=max(0, invited - quorum),
        download_bytes=None if size is None else 4 * size * invited,
        upload_bytes=None if size is None else 4 * size * goal,
    )


def _effective(config: FederationConfig) -> Iterator[Effective]:
    for key in keys_of(FederationConfig).values():
        value = getattr(getattr(config, key.table), key.name)
        yield Effective(key.dotted, key.spell(value), str(config.origin(key.dotted)))


def _refused() -> Iterator[tuple[str, str]]:
    for dotted in ("defence.rule", "optimize.rule"):
        yield from ((f'{dotted} = "{value}"', sentence) for value, sentence in VALUES[dotted].items())
    yield from ((f"[{table}]", sentence) for table, sentence in TABLES.items())


def _round_warnings(config: FederationConfig, turnouts: tuple[Turnout, ...]) -> Iterator[str]:
    r = config.round
    if alone := [t.connected for t in turnouts if t.quorum == 1]:
        yield (
            f"round.quorum is 1 update with {', '.join(map(str, alone))} clients: "
            "the model step of such a round is one client's update, and everybody gets to see it."
        )
    if never := [t.connected for t in turnouts if t.quorum > t.invited]:
        yield f"With {', '.join(map(str, never))} clients no round counts: round.quorum is more than those invited."
    if fragile := [t.connected for t in turnouts if t.starts and t.quorum == t.invited]:
        yield f"With {', '.join(map(str, fragile))} clients the loss of any one of them voids the round."
    if 0 < r.time_budget < r.deadline:
        yield (
            f"round.time_budget = {duration_text(r.time_budget)} is shorter than one "
            f"round.deadline = {duration_text(r.deadline)}."
        )
    if r.early_stop_rounds >= r.rounds:
        yield f"round.early_stop_rounds = {r.early_stop_rounds} never applies within round.rounds = {r.rounds}."
    if 0 < r.early_stop_rounds < r.evaluate_every:
        yield (
            f"round.early_stop_rounds = {r.early_stop_rounds} is shorter than "
            f"round.evaluate_every = {r.evaluate_every}: a single evaluation without improvement ends the run."
        )
    if r.early_stop_rounds and r.evaluate_every and not config.data.name:
        yield "The server has no evaluation data (data.name), so early stop judges by what clients report about theirs."


def _model_warnings(config: FederationConfig) -> Iterator[str]:
    if config.model.keep_best and not config.round.evaluate_every:
        yield "model.keep_best has nothing to compare while round.evaluate_every = 0: only the newest models are kept."
    if config.model.app and config.data.name:
        yield "model.app and data.name: the own model must take the shapes of the listed data to be evaluated on it."


def _server_warnings(config: FederationConfig) -> Iterator[str]:
    s = config.server
    if s.http and s.http_host not in ("127.0.0.1", "::1", "localhost"):
        yield f"server.http_host = {s.http_host} opens /metrics beyond this machine, without TLS or password."
    if not s.address and s.port == 0:
        yield "server.port = 0 changes at every start, and clients keep the port that they were told."


def render(plan: Plan) -> RenderableType:
    """Draw a plan for a terminal."""
    parts: list[RenderableType] = [_settings_table(plan), Text(plan.server_sees), _turnout_table(plan)]
    parts += [Text(f"warning: {w}", style="yellow") for w in plan.warnings]
    parts.append(Text("Not built yet, refused by name: " + ", ".join(plan.refused), style="dim"))
    return Group(*parts)


def _settings_table(plan: Plan) -> Table:
    table = Table("setting", "value", "from", title="Effective settings", title_justify="left")
    for row in plan.settings:
        table.add_row(Text(row.key), Text(row.value), Text(row.origin), style="dim" if row.origin == "default" else "")
    return table


def _turnout_table(plan: Plan) -> Table:
    table = Table(title="A round", title_justify="left")
    for column in ("connected", "invited", "goal", "quorum", "may fail", "down", "up"):
        table.add_column(column, justify="right")
    for t in plan.turnouts:
        numbers = (t.connected, t.invited, t.goal, t.quorum, t.tolerated) if t.starts else (t.connected, "waits")
        sizes = (_mebibytes(t.download_bytes), _mebibytes(t.upload_bytes)) if t.starts else ()
        table.add_row(*map(str, numbers), *sizes)
    return table


def _mebibytes(number: int | None) -> str:
    return "?" if number is None else f"{number / (1 << 20):.1f} MiB"
