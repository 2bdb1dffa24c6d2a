"""New keys and certificates for the server and all clients in the middle of masked rounds: nothing is lost by it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roughfed.crypto.certificates import load_certificate
from roughfed.deploy.cli import app as cli

from .federation import Cluster, Process, state_of
from .masked import SECRET_SEED, TWO_CHUNKS, is_exact, masked_cluster, verdicts
from .namespaces import Far, network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PACES = {"c0": 0.1, "c1": 1.5, "c2": 1.0, "c3": 0.5}
ROUNDS = 4
"""The first one loads the codec, and nothing of it can be told apart."""


def rotated(folder: Path, *flags: str) -> None:
    assert cli.run(["rotate", *flags, "--dir", str(folder)]) == 0


def amid(number: int) -> Callable[[dict[str, Any]], bool]:
    """One client has sent its update and waits for the others to agree, another one trains."""
    return lambda s: s["round"] == number and state_of(s, "c0") == "received" and state_of(s, "c1") == "training"


def storm(cluster: Cluster, name: str, over: threading.Event) -> int:
    """Rotate a client's key again and again, at most until it ends; how often."""
    count = 0
    while not over.is_set() and cli.run(["rotate", "--dir", str(cluster.client_folder(name))]) == 0:
        count += 1
    return count


def healthy(cluster: Cluster, *processes: Process) -> None:
    """Everybody ended well, each update is in its round's sum, and nobody had anything to complain about."""
    assert [process.wait() for process in processes] == [0] * len(processes)
    assert verdicts(cluster) == {n: dict.fromkeys(cluster.names, "") for n in range(1, cluster.rounds + 1)}
    assert is_exact(cluster)
    said = [line for process in processes for line in process.lines]
    assert [line for line in said if '"ERROR"' in line or "Traceback" in line] == []


def test_server_and_clients_rotate_in_the_middle_of_rounds_and_no_update_is_lost(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, rounds=ROUNDS, params=TWO_CHUNKS) as cluster:
        server = cluster.start_server()
        server.ready()
        clients = [cluster.start_client(name, pace_s=pace) for name, pace in PACES.items()]
        with cluster.watch() as watch:
            watch.until(amid(2))
            keys = [cluster.papers(name) for name in cluster.names]
            rotated(cluster.place.folder)
            rotated(cluster.place.folder, "--clients")
            for client in clients:
                client.wait_line("connected to", count=2)
            again = [cluster.papers(name) for name in cluster.names]

            watch.until(amid(3))
            for name in cluster.names:
                rotated(cluster.client_folder(name))
            rotated(cluster.place.folder)

            watch.until(lambda s: s["round"] == 4)
            over, counted = threading.Event(), list[int]()
            hand = threading.Thread(target=lambda: counted.append(storm(cluster, "c3", over)))
            hand.start()
            assert server.wait() == 0
            over.set()
            hand.join()
        healthy(cluster, server, *clients)
        for before, after in zip(keys, again, strict=True):
            assert before.tls_key != after.tls_key
            assert (
                load_certificate(before.certificate).serial_number != load_certificate(after.certificate).serial_number
            )
            assert before.identity.public_key == after.identity.public_key
        assert len(server.find("the server has a new certificate for a new key")) == 2
        print(f"one client rotated {counted[0]} times in one round")
        assert counted[0] > 1


@pytest.mark.slow
def test_a_client_rotates_while_it_uploads_over_a_slow_line(tmp_path: Path) -> None:
    names = ("c0", "c1", "c2", "c3")
    options = {"rounds": 2, "params": TWO_CHUNKS, "secret_seed": SECRET_SEED}
    settings = {"privacy": {"server_sees": "sketches"}, "round": {"quorum": 4, "min_clients": 4}}
    with network("server", *names) as net, Far(tmp_path, net, clients=4, settings=settings, **options) as cluster:
        net.slow("c1", "2mbit")
        server = cluster.start_server()
        server.ready()
        clients = cluster.start_clients()
        with cluster.watch() as watch:
            for number in (1, 2):
                watch.until(lambda s, n=number: s["round"] == n and state_of(s, "c1") == "uploading")
                rotated(cluster.client_folder("c1"))
                rotated(cluster.place.folder)
        healthy(cluster, server, *clients)
        assert len(clients[1].find("upload interrupted")) >= 2
        assert len(clients[1].find('"connected to')) == 3
        assert [len(clients[1].find(f"trained round {n}")) for n in (1, 2)] == [1, 1]
