"""Whether the ledger of a server says everything that happened, once."""

from __future__ import annotations

import json
from contextlib import closing

from roughfed.server.extensions.ledger.check import check_ledger
from roughfed.server.storage.store import Store

from .federation import Cluster


def is_accounted_for(cluster: Cluster) -> bool:
    """Whether the ledger has a line for each client and round, says of each what the journal says, and is whole."""
    with closing(Store(cluster.place.state)) as store:
        found = check_ledger(store)
    assert found.problem is None, found.problem
    assert found.waiting == 0
    rounds = cluster.rows("SELECT round, sets, cohort FROM rounds WHERE outcome IS NOT NULL ORDER BY round")
    said: dict[int, dict[str, str]] = {row["round"]: {} for row in rounds}
    for entry in found.entries:
        if entry["kind"] == "client":
            assert entry["client"] not in said[entry["round"]]
            said[entry["round"]][entry["client"]] = entry["reason"]
    assert said == {row["round"]: json.loads(row["sets"]) for row in rounds}
    assert all(set(json.loads(row["cohort"])) == said[row["round"]].keys() for row in rounds)
    return [entry["round"] for entry in found.entries if entry["kind"] == "round"] == [row["round"] for row in rounds]
