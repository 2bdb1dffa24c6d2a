"""Classes of clients: who sends how much of the model, what it costs, and which class gave no sum."""

from __future__ import annotations

from roughfed.report.chart import figure
from roughfed.report.layout import lead, note, pair
from roughfed.report.scale import size
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.tables import UNKNOWN, table
from roughfed.report.unlike.parts import ClientClass

PROVES = "Each coordinate is the mean over the clients that sent it: what only a small class sends rests on few."


def was_classed(run: RunSummary) -> bool:
    """Whether clients sent unlike parts of the model."""
    return any(r.unlike.classes for r in run.rounds)


def classes(run: RunSummary) -> str:
    """The content of the section."""
    told = [r for r in run.rounds if r.unlike.classes]
    names = list(dict.fromkeys(name for r in told for name in r.unlike.classes))
    tables = f"<div>{_table(names, told[-1].unlike.classes)}{_voids(run)}</div>"
    words = (
        f"Classes of clients by what they send, as in round {told[-1].round}: bytes of one client's upload, and their "
        "share of those of the class that sends most."
    )
    return lead(words) + pair(tables, *_over_rounds(told, names)) + note(PROVES)


def _over_rounds(told: list[RoundSummary], names: list[str]) -> list[str]:
    """Clients and bytes; nothing of a single round."""
    x = [r.round for r in told]
    if len(x) < 2:
        return []
    absent = ClientClass()
    by_class = {name: [r.unlike.classes.get(name, absent) for r in told] for name in names}
    clients = {name: [c.clients for c in row] for name, row in by_class.items()}
    bytes_ = {name: [c.bytes * c.clients for c in row] for name, row in by_class.items()}
    return [
        figure("Clients by class and round", "columns", x, clients, "count"),
        figure("Bytes up by class, all its clients", "columns", x, bytes_, "size"),
    ]


def _table(names: list[str], last: dict[str, ClientClass]) -> str:
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
    head = ("class", "clients", "coordinates", "tensors", "bytes up", "share")
    return table(head, rows, numeric=(1, 4, 5))


def _voids(run: RunSummary) -> str:
    rows = [(str(r.round), n, c.void) for r in run.rounds for n, c in r.unlike.classes.items() if c.void]
    if not rows:
        return note("Every class gave a sum in every round.")
    return table(("round", "class", "why it gave no sum"), rows, numeric=(0,))
