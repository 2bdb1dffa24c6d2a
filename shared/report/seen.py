"""What the server saw of a run's clients: the mode in words, the groups, the sums, and who was left out of them."""

from __future__ import annotations

from itertools import groupby

from roughfed.report import plots
from roughfed.report.bars import bars
from roughfed.report.layout import captioned, pair
from roughfed.report.lines import line_chart
from roughfed.report.scale import finite, number, percent, ticks
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.svg import Axis, safe
from roughfed.report.tables import table
from roughfed.report.words import reason

WORDS = {
    "updates": (
        "Every client's whole update, its number of examples, of all and of each class, its metrics and its "
        "evaluation. Nothing was masked: TLS protects updates on the way, not from the server."
    ),
    "sketches": (
        "The sum of each group of clients, and of every single client {dim} numbers of its update in every round: "
        "enough to tell a poisoned one by norm, distance or angle. Evaluations came as sums, and so did counts of "
        "examples, which a client tells once a run."
    ),
    "sums": (
        "The sum of each group of clients, and nothing of a single one. Evaluations came as sums, too, and so did "
        "counts of examples, which a client tells once a run."
    ),
}


def seen(run: RunSummary) -> str:
    """The content of the section."""
    words = WORDS.get(run.server_sees, "not recorded").format(dim=run.sketch_dim or "a few")
    lead = f'<p class="lead">{safe(words)}</p>'
    if run.server_sees == "updates":
        return lead
    return lead + pair(_clip_norm(run), *_from_sums(run)) + pair(_groups(run), _broken(run))


def _clip_norm(run: RunSummary) -> str:
    """C, the norm that updates were cut to; it follows the norms of earlier rounds."""
    values = [r.clip_norm for r in run.rounds]
    axis = Axis(ticks(0, max(finite(values), default=1.0)), number)
    chart = line_chart("Clip norm by round", {"clip norm": values}, x=[r.round for r in run.rounds], axis=axis)
    return captioned("Clip norm, known to all: updates are cut to it", chart)


def _from_sums(run: RunSummary) -> list[str]:
    """Charts of what clients gave as sums; those that nobody gave are left out."""
    found: list[str] = []
    last = next((r for r in reversed(run.rounds) if r.together), None)
    if last is not None and last.together is not None:
        together, version = last.together, f"version {last.version}"
        if any(together.histogram):
            found.append(captioned(f"Clients by their own accuracy, {version}", _histogram(together.histogram)))
        if together.class_accuracy:
            names = plots.distinct(run.class_names, len(together.class_accuracy), "class")
            by_class = dict(zip(names, together.class_accuracy, strict=True))
            chart = bars("Accuracy by class, from sums", by_class, axis=plots.SHARE)
            found.append(captioned(f"Accuracy by class on all clients' held-out data, {version}", chart))
    if run.class_prior:
        names = plots.distinct(run.class_names, len(run.class_prior), "class")
        counts = {name: float(count) for name, count in zip(names, run.class_prior, strict=True)}
        chart = bars("Class prior", counts, axis=_counts(run.class_prior))
        found.append(captioned("Training examples by class, all clients together", chart))
    return found


def _histogram(counts: list[int]) -> str:
    width = 1 / len(counts)
    named = {f"{i * width * 100:.0f} to {percent((i + 1) * width)}": float(n) for i, n in enumerate(counts)}
    return bars("Clients by accuracy", dict(reversed(named.items())), axis=_counts(counts))


def _counts(values: list[int]) -> Axis:
    return Axis(ticks(0, max(values, default=1), step_of=plots.WHOLE), number)


def _groups(run: RunSummary) -> str:
    """Who was added up with whom; rounds with the same groups in one row."""
    rows: list[tuple[str, str, str]] = []
    for _, same in groupby((r for r in run.rounds if r.groups), key=_members):
        alike = list(same)
        rounds = str(alike[0].round) if len(alike) == 1 else f"{alike[0].round} to {alike[-1].round}"
        rows += [(rounds, str(len(group.members)), ", ".join(group.members)) for group in alike[0].groups]
    void = [(str(r.round), str(len(g.members)), g.void) for r in run.rounds for g in r.groups if g.void]
    total = sum(len(r.groups) for r in run.rounds)
    if not rows:
        return '<div><p class="note">No groups were drawn.</p></div>'
    words = f"{len(void):,} of {total:,} groups were void: they gave no sum." if void else "No group was void."
    listed = table(("rounds", "clients", "group"), rows, numeric=(1,))
    lost = table(("round", "clients", "why the group is void"), void, numeric=(0, 1)) if void else ""
    opened = ' open="open"' if len(rows) <= 6 else ""
    return (
        f'<div><p class="note">{safe(words)}</p>{lost}'
        f"<details{opened}><summary>Who was added up with whom</summary>{listed}</details></div>"
    )


def _members(r: RoundSummary) -> list[list[str]]:
    return [group.members for group in r.groups]


def _broken(run: RunSummary) -> str:
    """Who broke the protocol, and who was left out without a proof."""
    proofs = [(str(p.round), p.client, reason(p.reason)) for p in run.proofs]
    proofs += [("", client, f"suspended: {what}") for client, what in run.suspended.items()]
    left_out = [(str(r.round), name, reason(why)) for r in run.rounds for name, why in r.excluded]
    parts = ['<p class="note">No client was proved to have broken the protocol.</p>']
    if proofs:
        parts = [table(("round", "client", "out for good: what it signed proves it"), proofs, numeric=(0,))]
    if left_out:
        opened = ' open="open"' if len(left_out) <= 12 else ""
        listed = table(("round", "client", "left out of the sum"), left_out, numeric=(0,))
        parts.append(f"<details{opened}><summary>{len(left_out):,} updates left out</summary>{listed}</details>")
    else:
        parts.append('<p class="note">No update was left out.</p>')
    return f"<div>{''.join(parts)}</div>"
