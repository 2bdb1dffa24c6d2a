"""A server that was in masked modes only says "updates": its own clients, in the same processes, give it nothing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from roughfed.deploy.cli import app as cli
from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.errors import ModeRefused
from roughfed.rng import derive
from roughfed.wire.updates import decode_statement

from .federation import Cluster
from .masked import masked_cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MASKED = ("sketches", "sums")
BUSY_S = 90.0


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line runs here, and puts a hook of its own there."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def play_anew(cluster: Cluster, sees: str) -> None:
    """The same server, CA and keys with a new run; who runs it decides what it asks for."""
    for path in (*cluster.place.state.glob("journal.db*"), cluster.place.state / "ledger.jsonl"):
        path.unlink(missing_ok=True)
    for folder in ("models", "spool"):
        shutil.rmtree(cluster.place.state / folder, ignore_errors=True)
    cluster.configure({"privacy": {"server_sees": sees}})
    cluster.start_server().ready()


def digest_of_delta(cluster: Cluster, name: str) -> bytes:
    """Of the float32 update of round 1, as only the client should have it."""
    delta = np.concatenate(list(pieces(cluster.params, derive(cluster.seed, "client", name, 1))))
    return content_digest(memoryview(delta).cast("B"))


def given(cluster: Cluster) -> dict[str, bytes]:
    """Whose signed statement about an update the server has, and the digest in it."""
    rows = cluster.rows("SELECT client, statement FROM receipts")
    return {row["client"]: decode_statement(row["statement"]).digest for row in rows}


def test_a_server_that_asks_for_updates_after_sketches_and_sums_gets_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with masked_cluster(tmp_path, rounds=1) as cluster:
        cluster.start_server().ready()
        clients = cluster.start_clients(tables={"client": {"stay": 5}})
        for sees in MASKED:
            if sees != MASKED[0]:
                play_anew(cluster, sees)
            assert cluster.server.wait(timeout_s=BUSY_S) == 0
            assert cluster.accepted() == {1: cluster.names}
        play_anew(cluster, "updates")
        ended = [client.wait(timeout_s=BUSY_S) for client in clients]

        assert ended == [ModeRefused.exit_code] * len(clients)
        assert given(cluster) == {}
        assert cluster.rows("SELECT * FROM rounds") == []
        assert not list((cluster.place.state / "spool").glob("*"))
        for name, client in zip(cluster.names, clients, strict=True):
            (loud,) = (json.loads(line) for line in client.find("REFUSED"))
            assert loud["level"] == "ERROR"
            assert 'asks for server_sees = "updates"' in loud["msg"]
            assert 'shows at most "sums"' in loud["msg"]
            assert cli.run(["status", "--dir", str(cluster.client_folder(name)), "--json"]) == 6
            status = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert (status["server_sees"], status["rounds"], status["runs"]) == ("sums", 2, 2)
            (refused,) = status["refused"]
            assert (refused["mode"], refused["held"], refused["times"]) == ("updates", "sums", 1)

        # Neither a restart nor a client.toml that somebody edited changes it.
        toml = cluster.client_folder("c0") / "client.toml"
        toml.write_text(toml.read_text().replace('server_sees = "sketches"', 'server_sees = "updates"'))
        again = cluster.start_client("c0")
        assert again.wait(timeout_s=BUSY_S) == ModeRefused.exit_code
        assert again.find("only `roughfed join --accept updates` changes that")
        assert given(cluster) == {}


def test_a_federation_in_updates_has_those_clients_whose_owners_typed_it(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2, rounds=1) as cluster:
        cluster.start_server().ready()
        silent = cluster.start_client("c0", tables={"policy": {"server_sees": "sketches"}})
        assert silent.wait(timeout_s=BUSY_S) == 2
        assert silent.find("the whole update of this client")
        folder = cluster.client_folder("c0")
        assert not (folder / "state" / "papers").exists()  # the line was not used: it is still good
        shutil.rmtree(folder)
        clients = cluster.start_clients()
        assert [process.wait(timeout_s=BUSY_S) for process in (cluster.server, *clients)] == [0, 0, 0]
        assert given(cluster)["c0"] == digest_of_delta(cluster, "c0")
