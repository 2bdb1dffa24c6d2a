"""The dashboard's rows, from what is asked first to what is asked last."""

from __future__ import annotations

from tests.grafana import machines, rounds, updates

ROWS = (
    rounds.NOW,
    rounds.ROUNDS,
    rounds.CLIENTS,
    rounds.LEARNING,
    updates.BYTES,
    updates.DEFENCE,
    updates.MASKS,
    rounds.FAIRNESS,
    machines.DURABILITY,
    machines.TRANSPORT,
    machines.CERTIFICATES,
    machines.FLEET,
    machines.PAGES,
    machines.PROCESS,
)
