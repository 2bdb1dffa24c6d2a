"""Clusters: who belongs where, round by round."""

from __future__ import annotations

import math
from collections import Counter

from roughfed.report.chart import figure
from roughfed.report.heterogeneity.parts import ClusterFigures
from roughfed.report.layout import MAX_CLIENTS, MAX_COLUMNS, lead, note, pair
from roughfed.report.summary import RoundSummary, RunSummary
from roughfed.report.tables import table

EVENTS = {
    "split": "split in two",
    "chosen": "clients chose theirs",
    "joined-default": "too small: joined the default cluster",
}
PROVES = (
    "Members of a cluster look alike by the rule's own measure (the direction of their updates, or whose model fits "
    "their data best); it does not say why, and a client can choose how it looks."
)


def was_clustered(run: RunSummary) -> bool:
    """Whether clients were told apart in any round."""
    return bool(_told(run))


def clusters(run: RunSummary) -> str:
    """The content of the section."""
    told = _told(run)
    last = told[-1][1]
    sizes = ", ".join(f"{name}: {len(members)}" for name, members in last.clusters.items())
    words = f"{len(last.clusters)} clusters after round {told[-1][0].round}; clients in each: {sizes}."
    return lead(words) + pair(_strips(told), f"<div>{_events(told)}{_members(last)}</div>") + note(PROVES)


def _told(run: RunSummary) -> list[tuple[RoundSummary, ClusterFigures]]:
    return [(r, found) for r in run.rounds if (found := r.heterogeneity.clusters) is not None and found.clusters]


def _strips(told: list[tuple[RoundSummary, ClusterFigures]]) -> str:
    """Rows by the last cluster, so that clusters lie together."""
    shown = told[-MAX_COLUMNS:]
    homes = [{client: name for name, members in c.clusters.items() for client in members} for _, c in shown]
    kinds = sorted({name for _, c in shown for name in c.clusters}, key=_natural)
    order = {name: i for i, name in enumerate(kinds)}
    clients = {client for home in homes for client in home}
    latest = {client: next(home[client] for home in reversed(homes) if client in home) for client in clients}
    ordered = sorted(clients, key=lambda client: (order[latest[client]], client))
    rows = ordered[:: max(1, math.ceil(len(ordered) / MAX_CLIENTS))]
    values = {client: [home.get(client) for home in homes] for client in rows}
    columns = [str(r.round) for r, _ in shown]
    return figure("Cluster of each client, by round", "cells", columns, values, kinds=kinds, across="round")


def _natural(name: str) -> tuple[int, str]:
    """Numbers by their value, other names after them."""
    return (int(name), "") if name.isascii() and name.isdigit() and len(name) < 10 else (10**9, name)


def _events(told: list[tuple[RoundSummary, ClusterFigures]]) -> str:
    rows = [(str(r.round), c.cluster, EVENTS.get(c.event, c.event)) for r, c in told if c.event]
    counts = Counter(event for _, _, event in rows)
    if not rows:
        return note("Nobody changed clusters.")
    if len(counts) == 1 and len(rows) == len(told):
        return note(f"In every round: {rows[0][2]}.")
    return table(("round", "cluster", "what happened"), rows, numeric=(0,))


def _members(last: ClusterFigures) -> str:
    rows = [(name, str(len(members)), ", ".join(members)) for name, members in last.clusters.items()]
    return table(("cluster", "clients", "members"), rows, numeric=(1,))
