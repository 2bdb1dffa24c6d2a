"""A server that was in masked modes only says "updates": its own clients, in the same processes, give it nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from roughfed.deploy.bench.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive
from roughfed.wire.updates import decode_statement

from .federation import Cluster
from .masked import masked_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MASKED = ("sketches", "sums")


def play_anew(cluster: Cluster, sees: str) -> None:
    """The same server, CA and keys with a new run; who runs it decides what it asks for."""
    for path in cluster.place.state.glob("journal.db*"):
        path.unlink()
    for folder in ("models", "spool"):
        shutil.rmtree(cluster.place.state / folder, ignore_errors=True)
    cluster.configure({"privacy": {"server_sees": sees}})
    cluster.start_server().ready()


def digest_of_delta(cluster: Cluster, name: str) -> bytes:
    """Of the float32 update of round 1, as only the client should have it."""
    delta = np.concatenate(list(pieces(cluster.params, derive(cluster.seed, "client", name, 1))))
    return content_digest(memoryview(delta).cast("B"))


def test_a_server_that_asks_for_updates_after_sketches_and_sums_gets_nothing(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, rounds=1) as cluster:
        cluster.start_server().ready()
        clients = cluster.start_clients(tables={"client": {"stay": True}})
        for sees in MASKED:
            if sees != MASKED[0]:
                play_anew(cluster, sees)
            assert cluster.server.wait(timeout_s=90) == 0
            assert cluster.accepted() == {1: cluster.names}
        play_anew(cluster, "updates")
        cluster.server.wait(timeout_s=60)
        said = {
            row["client"]: decode_statement(row["statement"]).digest for row in cluster.rows("SELECT * FROM receipts")
        }
        print(said["c0"] == digest_of_delta(cluster, "c0"), json.dumps({k: v.hex() for k, v in said.items()}))
        assert digest_of_delta(cluster, "c0") not in said.values()
        assert clients
