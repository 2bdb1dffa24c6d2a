"""A backup in the middle of a round, the end of the server that it is of, and the run goes on elsewhere.

Where the server stopped right then, nothing was lost, and the model is that of the undisturbed run. Where it went on,
its clients know rounds that the restored journal does not: no client answers for one of these twice, none is refused,
and the run goes on behind them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.codec.downlink import quantise
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.command import NOT_RUNNING
from roughfed.deploy.speed.recompute_masked import Clients, JournaledRound, made_up
from roughfed.digest import content_digest
from roughfed.params import Flat
from roughfed.wire.session import decode_header

from .federation import KILLED, Cluster, Process, read_rows, state_of
from .ledger import is_accounted_for
from .masked import SECRET_SEED, masked_cluster, played, verdicts
from .recorder import Recorder
from .restored import backup, move, rounds_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


GONE = "this server has no such model (any more)"
"""What a client may say that was about to download the model of a round that is undone."""


def all_end_well(cluster: Cluster, clients: list[Process]) -> None:
    assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
    for client in clients:
        assert client.wait(timeout_s=60) == 0, client.report("failed")
        assert [line for line in client.find('"level": "ERROR"') if GONE not in line] == [], client.report("complained")


def in_round(number: int, *received: str) -> Any:
    """Whether a round is open, and these updates of it are here."""
    return lambda status: status["round"] == number and all(state_of(status, name) == "received" for name in received)


def test_the_open_round_is_finished_with_the_same_bits(tmp_path: Path) -> None:
    with Cluster(tmp_path, rounds=3) as cluster:
        cluster.start_server().ready()
        clients = cluster.start_clients("c0", "c1")
        clients.append(cluster.start_client("c2", pace_s=1.0))  # the rounds are open for as long as it trains
        with cluster.watch() as watch:
            watch.until(in_round(2, "c0", "c1"))
            file = backup(cluster)
            cluster.server.kill()
        old = move(cluster, file)
        assert [row["outcome"] for row in rounds_of(cluster)] == ["committed", None]

        cluster.restart_server()
        all_end_well(cluster, clients)

        assert cluster.model_digests() == cluster.expected_digests()
        assert cluster.accepted() == dict.fromkeys((1, 2, 3), cluster.names)
        assert is_accounted_for(cluster)
        kept = (
            "SELECT client, receipt_signature FROM receipts WHERE round = 2 AND client IN ('c0', 'c1') ORDER BY client"
        )
        assert cluster.rows(kept) == read_rows(old.state / "journal.db", kept)  # what was acknowledged stands


def test_a_masked_run_goes_on_behind_what_its_clients_have_played(tmp_path: Path) -> None:
    """Backed up while masked inputs of round 2 come in; the original plays rounds 2 and 3, and is killed in round 4."""
    with masked_cluster(tmp_path, clients=4, rounds=4) as cluster:
        cluster.start_server().ready()
        with Recorder(cluster, *cluster.names) as recorder, cluster.watch() as watch:
            clients = cluster.start_clients("c0", "c1", "c2")
            clients.append(cluster.start_client("c3", pace_s=0.7))
            watch.until(in_round(2, "c0", "c1"))
            file = backup(cluster)
            watch.until(in_round(4))
            cluster.server.kill()
            before = played(cluster)
            last_seen = cluster.rows("SELECT header FROM rounds WHERE round = 4")[0]["header"]
            old = move(cluster, file)
            assert [row["outcome"] for row in rounds_of(cluster)] == ["committed", None]
            assert cluster.rows("SELECT * FROM stages") == []  # nothing that a client said in the open round is in it
            assert list((cluster.place.state / "spool").glob("*.update")) == []

            cluster.restart_server()
            all_end_well(cluster, clients)

        assert recorder.conflicts == []
        assert [(row["round"], row["outcome"], row["reason"]) for row in rounds_of(cluster)] == [
            (1, "committed", ""),
            (2, "abandoned", "restored"),
            (4, "abandoned", "lost"),
            (5, "committed", ""),
            (6, "committed", ""),
            (7, "committed", ""),
        ]
        headers = {row["round"]: row["header"] for row in cluster.rows("SELECT round, header FROM rounds")}
        assert headers[4] == last_seen
        assert (
            headers[2] == read_rows(old.state / "journal.db", "SELECT header FROM rounds WHERE round = 2")[0]["header"]
        )
        following = {number: decode_header(headers[number]) for number in (5, 6, 7)}
        assert following[5].previous_header_digest == next(
            each.header.digest for each in played(cluster) if each.number == 4
        )
        assert following[5].epoch_round == 5  # drawn anew: clients know another beacon of the old groups
        assert following[5].clip_norm == decode_header(last_seen).clip_norm
        undone = [each for each in before if each.number > 1]
        assert [each.number for each in undone] == [2, 3]
        assert cluster.model_digests() == expected(cluster, undone)
        assert is_accounted_for(cluster)
        assert cluster.rows("SELECT * FROM proofs") == []
        for words in ("ledger verify", "report", "rounds", "status"):
            assert cli.run([*words.split(), "--dir", str(cluster.place.folder)]) in (0, NOT_RUNNING)


@pytest.mark.slow
def test_a_state_directory_that_was_put_back_by_hand_is_followed_too(tmp_path: Path) -> None:
    """A snapshot of the machine in the middle of masked round 2: no command says that it was put back."""
    with masked_cluster(tmp_path, clients=4, rounds=4, settings={"round": {"patience": 0}}) as cluster:
        cluster.start_server(crash_at="dealt-decided:2").ready()
        with Recorder(cluster, *cluster.names) as recorder:
            clients = cluster.start_clients(pace_s=0.5)
            assert cluster.server.wait() == KILLED
            shutil.copytree(cluster.place.state, tmp_path / "snapshot", ignore=shutil.ignore_patterns("*.sock"))
            cluster.restart_server()
            with cluster.watch() as watch:
                watch.until(in_round(4))
                cluster.server.kill()
            shutil.rmtree(cluster.place.state)
            shutil.copytree(tmp_path / "snapshot", cluster.place.state)

            cluster.restart_server()
            all_end_well(cluster, clients)

        assert recorder.conflicts == []
        assert [(row["round"], row["outcome"], row["reason"]) for row in rounds_of(cluster)] == [
            (1, "committed", ""),
            (2, "abandoned", "too-few-updates"),
            (4, "abandoned", "lost"),
            (5, "committed", ""),
            (6, "committed", ""),
            (7, "committed", ""),
        ]
        assert "ahead" in set(verdicts(cluster)[2].values()) <= {"ahead", "gone"}
        assert is_accounted_for(cluster)


def expected(cluster: Cluster, undone: list[JournaledRound]) -> list[str]:
    """Digests of the versions: rounds that are undone count in no model, but clients keep what their codec lost."""
    model: Flat = np.zeros(cluster.params, np.float32)
    error, clients = np.zeros_like(model), Clients(made_up(cluster.params, cluster.seed, cluster.family), SECRET_SEED)
    digests = [content_digest(memoryview(model).cast("B")).hex()]
    for each in sorted([*played(cluster), *undone], key=lambda one: one.number):
        if not each.accepted:
            continue
        mean = clients.mean(each)
        if each in undone:
            continue
        update = (model + mean) - model
        quantise(update, error)
        model = model + update
        digests.append(content_digest(memoryview(model).cast("B")).hex())
    return digests
