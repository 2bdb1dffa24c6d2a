"""What a demo of clients that differ found: accuracy of each model on their data, scores, free riders, rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from rich.table import Table
from rich.text import Text

from roughfed.report.heterogeneity.parts import Spread
from roughfed.report.scale import alike, percent
from roughfed.report.summary import RunSummary
from roughfed.report.words import free_riding

WORDS = {"global": "common model", "personal": "personal model", "alone": "trained alone"}
UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Differences:
    """Of the last rounds that knew it.

    Attributes:
        spread: "global", "personal" or "alone" -> accuracy over clients (`roughfed.report.heterogeneity.parts.Spread`).
        worse_than_alone: share of the clients that would be better off alone.
        by_client: the same models -> client -> accuracy; empty when masked.
        scores: client -> contribution over all rounds.
        method: by which it was told.
        levels: client -> quality of the model that is exported to it, 0..1.
        free_riders: client -> what it was taken for last.
        flagged: client -> rounds in which it was taken for a free rider.
    """

    spread: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    worse_than_alone: float | None = None
    by_client: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, dict[str, float]])
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    method: str = ""
    levels: Mapping[str, float] = field(default_factory=dict[str, float])
    free_riders: Mapping[str, str] = field(default_factory=dict[str, str])
    flagged: Mapping[str, list[int]] = field(default_factory=dict[str, list[int]])

    def data(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def differences(run: RunSummary) -> Differences | None:
    """What the run says of clients that differ; None where nothing was measured."""
    spreads = [r.heterogeneity.spread for r in run.rounds if r.heterogeneity.spread is not None]
    looked = [(r.round, found) for r in run.rounds if (found := r.heterogeneity.contribution) is not None]
    told = [(number, found) for number, found in looked if found.scores or found.free_riders]
    spread = next((s for s in reversed(spreads) if set(s.models) - {"global"}), None)
    if spread is None and not told:
        return None
    riders: dict[str, str] = {}
    flagged: dict[str, list[int]] = {}
    for number, found in told:
        for client, why in found.free_riders.items():
            riders[client] = why
            flagged.setdefault(client, []).append(number)
    last = next((found for _, found in reversed(told) if found.scores), None)
    return Differences(
        spread=dict(spread.models) if spread is not None else {},
        worse_than_alone=spread.worse_than_alone if spread is not None else None,
        by_client=_by_client(run),
        scores={name: parts["total"] for name, parts in last.scores.items() if "total" in parts} if last else {},
        method=last.method if last else "",
        levels=dict(last.levels) if last else {},
        free_riders=riders,
        flagged=flagged,
    )


def _by_client(run: RunSummary) -> dict[str, dict[str, float]]:
    last = next((r for r in reversed(run.rounds) if r.client_personal), None)
    if last is None:
        return {}
    known = {"global": last.client_accuracy, "personal": last.client_personal, "alone": last.client_alone}
    return {model: dict(found) for model, found in known.items() if found}


def models_table(found: Differences) -> Table:
    """A row for each model, over the clients; nobody's alone."""
    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    table.add_column("on the clients' own data")
    for column in ("worst tenth", "mean", "best tenth"):
        table.add_column(column, justify="right")
    for model, spread in found.spread.items():
        table.add_row(WORDS[model], *(_share(v) for v in (spread.worst10, spread.mean, spread.best10)))
    return table


def clients_table(found: Differences) -> Table:
    """A row for each client, as far as the server knows any of them."""
    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    table.add_column("client")
    for model in found.by_client:
        table.add_column(WORDS[model], justify="right")
    table.add_column(f"score ({found.method})" if found.method else "score", justify="right")
    if found.levels:
        table.add_column("is given", justify="right")
    table.add_column("")
    form = alike(max((abs(score) for score in found.scores.values()), default=0.0))
    for name in sorted({*found.scores, *found.free_riders, *(n for row in found.by_client.values() for n in row)}):
        accuracies = [_share(row.get(name)) for row in found.by_client.values()]
        score = form(found.scores[name]) if name in found.scores else UNKNOWN
        given = [_share(found.levels.get(name))] if found.levels else []
        table.add_row(Text(name), *accuracies, score, *given, _flag(found, name))
    return table


def _flag(found: Differences, name: str) -> Text:
    if name not in found.free_riders:
        return Text("")
    rounds = len(found.flagged[name])
    return Text(f"free rider in {rounds} round{'s'[: rounds > 1]}: {free_riding(found.free_riders[name])}", style="red")


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else percent(value)
