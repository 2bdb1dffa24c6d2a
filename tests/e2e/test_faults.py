"""What goes wrong outside: a client dies, the server is not there yet, or it is told to stop. Nobody has to step in."""

import signal
import time
from pathlib import Path

import pytest

from .federation import Cluster, is_connected, state_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

NOTICE_S = 2.0
LONG_S = 60.0
"""A training that does not end within a test."""


@pytest.mark.alone
def test_a_client_killed_in_training_is_noticed_and_rejoins(tmp_path: Path) -> None:
    settings = {"round": {"quorum": 2}}  # and min_clients = 3: the second round waits for the one that was lost
    with Cluster(tmp_path, settings=settings) as cluster:
        cluster.start_server().ready()
        victim, *others = cluster.names
        with cluster.watch() as watch:
            first = cluster.start_client(victim, pace_s=LONG_S)
            clients = cluster.start_clients(*others)
            watch.until(lambda s: state_of(s, victim) == "training")
            first.kill()
            killed = time.monotonic()
            watch.until(lambda s: not is_connected(s, victim))
            notice_s = time.monotonic() - killed
            watch.until(lambda s: s["model_version"] == 1)
            completed_s = time.monotonic() - killed

        second = cluster.start_client(victim)

        assert [p.wait() for p in (cluster.server, *clients, second)] == [0, 0, 0, 0]
        assert cluster.accepted() == {1: others, 2: cluster.names}
        assert cluster.model_digests() == cluster.expected_digests(cluster.accepted())
        print(f"a killed client was noticed after {notice_s:.2f} s, the round complete after {completed_s:.2f} s")
        assert notice_s < NOTICE_S


def test_clients_wait_for_a_server_that_is_not_there(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server().ready()
        clients = cluster.start_clients()
        with cluster.watch() as watch:
            watch.until(lambda s: len(s["clients"]) == 3)
        cluster.server.kill()
        for client in clients:
            client.kill()  # now all are enrolled, and nothing runs

        clients = cluster.start_clients()
        for client in clients:
            client.wait_line("not connected", count=2)
        cluster.restart_server()

        assert [p.wait() for p in (cluster.server, *clients)] == [0, 0, 0, 0]
        assert cluster.model_digests() == cluster.expected_digests()


@pytest.mark.parametrize("when", ["waiting", "training"])
def test_a_drained_server_says_goodbye_and_its_clients_come_back(when: str, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        server = cluster.start_server()
        server.ready()
        *present, last = cluster.names
        with cluster.watch() as watch:
            clients = cluster.start_clients(*present, pace_s=1.0)
            if when == "training":
                clients.append(cluster.start_client(last, pace_s=1.0))
                watch.until(lambda s: all(state_of(s, name) == "training" for name in cluster.names))
            else:
                watch.until(lambda s: all(is_connected(s, name) for name in present))
            server.signal(signal.SIGTERM)
        assert server.wait(timeout_s=10.0) == 0
        assert server.lines[-1] == "drained"
        assert server.find("Traceback") == server.find('"ERROR"') == []

        cluster.restart_server()
        if when == "waiting":
            clients.append(cluster.start_client(last))

        assert [p.wait() for p in (cluster.server, *clients)] == [0, 0, 0, 0]
        assert cluster.model_digests() == cluster.expected_digests()
        assert all(len(c.find("trained round 1")) == 1 for c in clients)  # the job under way went on meanwhile


@pytest.mark.parametrize("key", ["port", "enrol_port", "http_port"])
def test_a_port_in_use_is_named(key: str, tmp_path: Path) -> None:
    with Cluster(tmp_path / "a") as one, Cluster(tmp_path / "b") as two:
        ports = one.start_server().ready()
        taken = {"port": ports.federation, "enrol_port": ports.enrolment, "http_port": ports.http}[key]
        two.configure({"server": {key: taken}})
        server = two.start_server()
        assert server.wait() == 2
        said = "\n".join(server.lines)
        assert f"server.{key}" in said
        assert str(taken) in said
        assert "choose another port" in said
        assert "Traceback" not in said


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        first = cluster.start_server()
        first.ready()
        second = cluster.start_server()
        assert second.wait() == 2
        said = "\n".join(second.lines)
        assert "a server runs on this directory already" in said
        assert str(cluster.place.state) in said
        assert "cure: roughfed stop" in said
        assert first.running
        assert cluster.control(op="status")["round"] == 0  # the first one still answers at its socket
