"""What the server saw of a run's clients: the mode in words, the groups, the sums, and who was left out of them."""

from __future__ import annotations

from itertools import groupby

from roughfed.report import plots
from roughfed.report.chart import figure
from roughfed.report.layout import folded, lead, note, pair
from roughfed.report.scale import percent
from roughfed.report.summary import RoundSummary, RunSummary
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
    if run.server_sees == "updates":
        return lead(words)
    return lead(words) + pair(_clip_norm(run), *_from_sums(run)) + pair(_groups(run), _broken(run))


def _clip_norm(run: RunSummary) -> str:
    """C, by which updates were cut; it follows the norms of earlier rounds."""
    caption = "Clip norm by round, known to all: updates are cut to it, or to half of it"
    return plots.curves(caption, plots.numbers(run), {"clip norm": [r.clip_norm for r in run.rounds]}, "number")


def _from_sums(run: RunSummary) -> list[str]:
    """Charts of what clients gave as sums; those that nobody gave are left out."""
    found: list[str] = []
    last = next((r for r in reversed(run.rounds) if r.together), None)
    if last is not None and last.together is not None:
        together, version = last.together, f"version {last.version}"
        if any(together.histogram):
            found.append(_histogram(f"Clients by their own accuracy, {version}", together.histogram))
        if together.class_accuracy:
            caption = f"Accuracy by class on all clients' held-out data, {version}"
            found.append(plots.class_accuracy(caption, together.class_accuracy, run.class_names))
    if run.class_prior:
        names = plots.distinct(run.class_names, len(run.class_prior), "class")
        caption = "Training examples by class, all clients together"
        found.append(figure(caption, "bars", names, {"examples": run.class_prior}, "count"))
    return found


def _histogram(caption: str, counts: list[int]) -> str:
    """The buckets in use and those between them, the highest first."""
    width, used = 1 / len(counts), [i for i, n in enumerate(counts) if n]
    at = range(used[-1], used[0] - 1, -1)
    names = [f"{i * width * 100:.0f} to {percent((i + 1) * width)}" for i in at]
    return figure(caption, "bars", names, {"clients": [counts[i] for i in at]}, "count")


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
        return f"<div>{note('No groups were drawn.')}</div>"
    words = f"{len(void):,} of {total:,} groups were void: they gave no sum." if void else "No group was void."
    listed = table(("rounds", "clients", "group"), rows, numeric=(1,))
    lost = table(("round", "clients", "why the group is void"), void, numeric=(0, 1)) if void else ""
    return f"<div>{note(words)}{lost}{folded('Who was added up with whom', listed, len(rows))}</div>"


def _members(r: RoundSummary) -> list[list[str]]:
    return [group.members for group in r.groups]


def _broken(run: RunSummary) -> str:
    """Who broke the protocol, and who was left out without a proof."""
    proofs = [(str(p.round), p.client, reason(p.reason)) for p in run.proofs]
    proofs += [("", client, f"suspended: {what}") for client, what in run.suspended.items()]
    left_out = [(str(r.round), name, reason(why)) for r in run.rounds for name, why in r.excluded]
    parts = [note("No client was proved to have broken the protocol.")]
    if proofs:
        parts = [table(("round", "client", "out for good: what it signed proves it"), proofs, numeric=(0,))]
    if left_out:
        listed = table(("round", "client", "left out of the sum"), left_out, numeric=(0,))
        parts.append(folded(f"{len(left_out):,} updates left out", listed, len(left_out)))
    else:
        parts.append(note("No update was left out."))
    return f"<div>{''.join(parts)}</div>"
