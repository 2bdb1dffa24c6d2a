"""Masked rounds between real processes: every version is, to the bit, what the accepted updates give.

`masked.py` computes the versions again from the seeds, without a mask: one that did not cancel, an update that counted
twice or a forgotten residual, and the digests differ. `recorder.py` sits between clients and server: whatever a client
says again after its restart must be what it said before. `test_masked_crash.py` dies at every other point.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from .federation import KILLED, Cluster, Process, state_of
from .masked import TWO_CHUNKS, is_exact, masked_cluster, verdicts
from .recorder import Recorder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

WAITING = "waiting: 3 of 4 clients; for fewer set privacy.server_sees to updates"


def all_end_well(cluster: Cluster, clients: list[Process]) -> None:
    assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
    for client in clients:
        assert client.wait() == 0, client.report("failed")
    assert cluster.rows("SELECT * FROM stages") == []
    assert cluster.rows("SELECT * FROM proofs") == []
    assert list((cluster.place.state / "spool").iterdir()) == []


def test_sums_of_four_whom_the_server_waits_for(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, rounds=3, sees="sums", settings={"round": {"min_clients": 1}}) as cluster:
        server = cluster.start_server()
        server.ready()
        clients = cluster.start_clients("c0", "c1", "c2")
        server.wait_line(WAITING)
        clients.append(cluster.start_client("c3"))
        all_end_well(cluster, clients)
        assert is_exact(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2, 3)}


# A client hears five messages in a round, and answers four of them.
KILLS = {
    "c0": ["secret-written", "message-written:1", "answer-sent:1", "masked-written"],
    "c1": ["update-saved", "upload-cut", "receipt-got"],
    "c2": ["message-written:3", "answer-sent:2", "message-written:4", "answer-sent:4"],
}


def dies_at_each(cluster: Cluster, name: str) -> Process:
    """Start a client that dies at one of its points after another; returns it when it has none left."""
    for point in KILLS[name]:
        assert cluster.start_client(name, crash_at=point).wait(timeout_s=60) == KILLED
    return cluster.start_client(name)


def test_clients_that_are_killed_say_the_same_again_or_nothing(tmp_path: Path) -> None:
    """Three at once, each started again at once; the others train long enough to see it back."""
    settings = {"round": {"min_clients": 7}}
    with masked_cluster(tmp_path, clients=7, rounds=5, params=TWO_CHUNKS, settings=settings) as cluster:
        cluster.start_server().ready()
        with Recorder(cluster, *KILLS) as recorder, ThreadPoolExecutor(len(KILLS)) as hands:
            clients = cluster.start_clients(*cluster.names[len(KILLS) :], pace_s=1.5)
            clients += hands.map(partial(dies_at_each, cluster), KILLS)
            all_end_well(cluster, clients)
        assert recorder.conflicts == []
        assert max(recorder.times.values()) > 1
        assert is_exact(cluster)
        for reasons in verdicts(cluster).values():  # where too many of them were away, the group is void
            assert {name for name, why in reasons.items() if why not in ("", "void")} <= KILLS.keys()


ONE_ROUND = [
    "roster-decided", "dealt-decided", "masked-decided", "judged-decided", "agreed-decided", "unmask-taken",
    "sets-journaled", "model-written",
]  # fmt: skip


def test_a_server_that_is_killed_again_and_again_in_one_round(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=4, settings={"round": {"min_clients": 4}}) as cluster:
        server = cluster.start_server(crash_at=ONE_ROUND[0])
        server.ready()
        clients = cluster.start_clients()
        for point in [*ONE_ROUND[1:], ""]:
            assert server.wait() == KILLED, server.report("was not killed")
            server = cluster.start_server(crash_at=point)
            server.ready()
        all_end_well(cluster, clients)
        assert is_exact(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2)}


def test_clients_that_are_revoked_in_the_middle(tmp_path: Path) -> None:
    """One that has uploaded already, and one that the round would wait for: seven, of whom five answers are enough."""
    with masked_cluster(tmp_path, clients=7, rounds=1, settings={"round": {"min_clients": 7}}) as cluster:
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            clients = cluster.start_clients(*cluster.names[:6])
            slow = cluster.start_client("c6", pace_s=60.0)
            watch.until(lambda s: state_of(s, "c6") == "training" and state_of(s, "c5") == "received")
            for name in ("c5", "c6"):
                assert cluster.control(op="revoke", name=name)["was_connected"]
            revoked = [clients.pop(), slow]
            all_end_well(cluster, clients)
        assert all(client.wait() != 0 and client.find("revoked") for client in revoked)
        assert is_exact(cluster)
        assert verdicts(cluster) == {1: dict.fromkeys(cluster.names[:5], "") | dict.fromkeys(("c5", "c6"), "revoked")}


def test_a_sum_of_too_few_is_never_unmasked_and_the_next_round_works(tmp_path: Path) -> None:
    """Three of four uploaded: enough for the quorum that the operator set, too few for a sum."""
    settings = {"round": {"min_clients": 4, "quorum": 3}}
    with masked_cluster(tmp_path, rounds=1, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        with Recorder(cluster, "c0") as recorder:
            clients = cluster.start_clients("c0", "c1", "c2")
            assert cluster.start_client("c3", crash_at="masked-written").wait() == KILLED
            server.wait_line("round 1 was abandoned")
            clients.append(cluster.start_client("c3"))
            all_end_well(cluster, clients)
        assert is_exact(cluster)
        assert verdicts(cluster) == {
            1: {"c0": "void", "c1": "void", "c2": "void", "c3": "gone"},
            2: dict.fromkeys(cluster.names, ""),
        }
        said = sorted(what for _, _, what in recorder.times)
        assert said == sorted(["advertise", "shares", "statement", "sketch"] * 2 + ["consistency", "unmask"])
