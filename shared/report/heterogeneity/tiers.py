"""Tiers of clients: who sends how much of the model, what it costs, and which tier gave no sum."""

from __future__ import annotations

from roughfed.report.chart import figure
from roughfed.report.heterogeneity.parts import TierFigures
from roughfed.report.layout import lead, note, pair
from roughfed.report.scale import size
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.tables import UNKNOWN, table

PROVES = "Each coordinate is the mean over the clients that sent it: what only a small tier sends rests on few."


def has_tiers(run: RunSummary) -> bool:
    """Whether clients sent unlike parts of the model."""
    return any(r.heterogeneity.tiers for r in run.rounds)


def tiers(run: RunSummary) -> str:
    """The content of the section."""
    told = [r for r in run.rounds if r.heterogeneity.tiers]
    names = list(dict.fromkeys(name for r in told for name in r.heterogeneity.tiers))
    tables = f"<div>{_table(names, told[-1].heterogeneity.tiers)}{_voids(run)}</div>"
    words = (
        f"Tiers of clients by what they send, as in round {told[-1].round}: bytes of one client's upload, and their "
        "share of those of the tier that sends most."
    )
    return lead(words) + pair(tables, *_over_rounds(told, names)) + note(PROVES)


def _over_rounds(told: list[RoundSummary], names: list[str]) -> list[str]:
    """Clients and bytes; nothing of a single round."""
    x = [r.round for r in told]
    if len(x) < 2:
        return []
    absent = TierFigures()
    by_tier = {name: [r.heterogeneity.tiers.get(name, absent) for r in told] for name in names}
    clients = {name: [c.clients for c in row] for name, row in by_tier.items()}
    bytes_ = {name: [c.bytes * c.clients for c in row] for name, row in by_tier.items()}
    return [
        figure("Clients by tier and round", "columns", x, clients, "count"),
        figure("Bytes up by tier, all its clients", "columns", x, bytes_, "size"),
    ]


def _table(names: list[str], last: dict[str, TierFigures]) -> str:
    known = [c.bytes for c in last.values() if c.bytes]
    most = max(known, default=0.0)
    rows = [
        (
            name,
            str(found.clients),
            "every" if found.keep_one_in <= 1 else f"1 in {found.keep_one_in}",
            ", ".join(found.tensors) or "all",
            size(found.bytes) if found.bytes else UNKNOWN,
            f"{found.bytes / most:.3g}" if found.bytes and most else UNKNOWN,
        )
        for name in names
        if (found := last.get(name)) is not None
    ]
    head = ("tier", "clients", "coordinates", "tensors", "bytes up", "share")
    return table(head, rows, numeric=(1, 4, 5))


def _voids(run: RunSummary) -> str:
    rows = [(str(r.round), n, c.void) for r in run.rounds for n, c in r.heterogeneity.tiers.items() if c.void]
    if not rows:
        return note("Every tier gave a sum in every round.")
    return table(("round", "tier", "why it gave no sum"), rows, numeric=(0,))
