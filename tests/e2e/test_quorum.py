"""Over-selection, quorum and deadline: who is late is told so, and a round with too few is given up, not the run."""

from pathlib import Path

import pytest

from roughfed.messages import RoundClosed
from roughfed.types import Job

from .federation import Cluster, is_connected, state_of
from .peer import Peer, chunks, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

LONG_S = 60.0


def test_the_wanted_number_closes_the_round_and_the_slow_one_is_late(tmp_path: Path) -> None:
    settings = {"round": {"cohort": 2, "over_select": 1.5, "min_clients": 3}}
    with Cluster(tmp_path, rounds=1, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        slow, *others = cluster.names
        laggard = cluster.start_client(slow, pace_s=LONG_S)
        clients = cluster.start_clients(*others)

        assert [p.wait() for p in (server, *clients, laggard)] == [0, 0, 0, 0]
        assert cluster.accepted() == {1: others}
        assert cluster.model_digests() == cluster.expected_digests({1: others})
        assert laggard.find("round 1 committed; this client's update: late")
        assert laggard.find("trained round 1") == []


def test_an_update_after_the_end_of_the_round_is_refused_as_late(tmp_path: Path) -> None:
    settings = {"round": {"cohort": 2, "over_select": 1.5, "min_clients": 3}}
    with Cluster(tmp_path, clients=2, rounds=2, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        with Peer(cluster.address, enrol(cluster, "x0")) as peer:
            peer.join()
            clients = cluster.start_clients()
            job = peer.next(Job)
            closed = peer.next(RoundClosed)
            data = bytes(4 * cluster.params)
            refused = peer.put(chunks(peer.sign(peer.statement(job, data)), data))
            late = [row["reason"] for row in cluster.rows("SELECT * FROM refusals")]

            assert (closed.round, closed.outcome, closed.verdict) == (1, "committed", "late")
            assert refused == ("FAILED_PRECONDITION", "late")
            assert late == []  # refusing it is no judgement on the update
            assert [p.wait() for p in (server, *clients)] == [0, 0, 0]
        assert cluster.accepted() == {1: ["c0", "c1"], 2: ["c0", "c1"]}


def test_a_round_with_too_few_at_its_deadline_is_abandoned_and_the_next_goes_on(tmp_path: Path) -> None:
    settings = {"round": {"deadline": "4s"}}  # quorum = all
    with Cluster(tmp_path, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        slow, *others = cluster.names
        with cluster.watch() as watch:
            stuck = cluster.start_client(slow, pace_s=LONG_S)
            clients = cluster.start_clients(*others)
            watch.until(lambda s: state_of(s, slow) == "training")
            assert cluster.control(op="pause")["paused"]  # the open round goes on, the next one waits for us
            watch.until(lambda s: s["phase"] == "paused")
            assert is_connected(watch.latest, slow)
            stuck.kill()
            watch.until(lambda s: not is_connected(s, slow))
            clients.append(cluster.start_client(slow))
            watch.until(lambda s: is_connected(s, slow))
            assert cluster.control(op="resume") == {"paused": False}

        assert [p.wait() for p in (server, *clients)] == [0, 0, 0, 0]
        rounds = cluster.rows("SELECT round, outcome, reason FROM rounds ORDER BY round")
        assert rounds == [
            {"round": 1, "outcome": "abandoned", "reason": "deadline"},
            {"round": 2, "outcome": "committed", "reason": ""},
            {"round": 3, "outcome": "committed", "reason": ""},  # two rounds were asked for, and one brought nothing
        ]
        assert clients[0].find("round 1 abandoned")
        assert cluster.model_digests() == cluster.expected_digests(cluster.accepted())
        assert list((cluster.place.state / "spool").iterdir()) == []
