"""Masked rounds between real processes, and what their versions must be: computed again from the seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roughfed.deploy.speed.recompute_masked import Clients, JournaledRound, digests_from, made_up
from roughfed.types import Signed
from roughfed.wire.updates import decode_statement

from .federation import Cluster

SECRET_SEED = 11
FAMILY = "one"
PARAMS = 20_000
"""20 kB of lanes: one chunk."""

TWO_CHUNKS = 1_200_000
"""1.2 MB of lanes."""


def masked_cluster(
    folder: Path,
    *,
    clients: int = 4,
    rounds: int = 2,
    params: int = PARAMS,
    sees: str = "sketches",
    settings: Mapping[str, Mapping[str, object]] | None = None,
) -> Cluster:
    """A cluster that masks; a round needs four updates, whoever else is lost.

    All pull the model one way, as clients do that learn: the default defence has no cause to leave one of them out.
    Where each pulls a way of its own, now and then one looks odd in a round's sketches.
    """
    tables: dict[str, dict[str, object]] = {"privacy": {"server_sees": sees}, "round": {"quorum": 4, "min_clients": 4}}
    for table, values in (settings or {}).items():
        tables.setdefault(table, {}).update(values)
    cluster = Cluster(folder, clients=clients, rounds=rounds, params=params, settings=tables, secret_seed=SECRET_SEED)
    cluster.family = FAMILY
    return cluster


def played(cluster: Cluster) -> list[JournaledRound]:
    """All rounds that are over, as the journal tells them."""
    rows = cluster.rows("SELECT * FROM rounds WHERE outcome IS NOT NULL ORDER BY round")
    return [
        JournaledRound(
            row["round"],
            Signed(row["header"], row["signature"], row["signer"]),
            _accepted(row),
            _weights(row),
            _classes(cluster, row["round"]),
        )
        for row in rows
    ]


def verdicts(cluster: Cluster) -> dict[int, dict[str, str]]:
    """Round -> client -> "" or why it is not in the sum."""
    return {row["round"]: json.loads(row["sets"]) for row in cluster.rows("SELECT * FROM rounds ORDER BY round")}


def is_exact(cluster: Cluster) -> bool:
    """Whether every committed version is, to the bit, what the accepted clients' updates give."""
    clients = Clients(made_up(cluster.params, cluster.seed, cluster.family), SECRET_SEED)
    wanted = digests_from(np.zeros(cluster.params, np.float32), played(cluster), clients)
    found = cluster.model_digests()
    assert found == [digest.hex() for digest in wanted], f"after {verdicts(cluster)}"
    return len(found) == cluster.rounds + 1


def _classes(cluster: Cluster, number: int) -> dict[str, str]:
    rows = cluster.rows(f"SELECT client, statement FROM receipts WHERE round = {number}")
    return {row["client"]: decode_statement(row["statement"]).tier for row in rows}


def _weights(row: Mapping[str, Any]) -> dict[str, int]:
    return json.loads(row["summary"] or "{}").get("weights", {})


def _accepted(row: Mapping[str, Any]) -> list[str]:
    if row["outcome"] != "committed":
        return []
    return sorted(name for name, why in json.loads(row["sets"]).items() if why == "")
