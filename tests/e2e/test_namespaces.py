"""Several machines: clients in network namespaces of their own, a link that is cut, members that are revoked."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.errors import IdentityError

from .attacks import HONEST
from .federation import PATIENCE_S, is_connected, state_of, value
from .masked import TWO_CHUNKS
from .namespaces import FarCluster, ip, network, remove

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

NOTICED_S = 12.0
"""Two times five seconds (`transport.options`), and what a busy machine adds."""

AT_ONCE_S = 1.0
VICTIMS = {"training": "--pace 60", "uploading": "--pace 0.5", "stuck": "--pace 60"}


def test_what_a_killed_run_left_is_removed() -> None:
    with network("a"):  # there are namespaces at all
        gone = subprocess.Popen(["true"])
        gone.wait()
        left, kept = f"rf{gone.pid}-0-left", f"rf{os.getpid()}-99-kept"
        for space in (left, kept):
            ip("netns", "add", space)
    try:
        with network("a"):
            found = ip("netns", "list").split()
        assert (left in found, kept in found) == (False, True)
    finally:
        remove(kept)
    assert f"rf{os.getpid()}-" not in ip("netns", "list")


@pytest.mark.slow
def test_a_link_is_cut_in_a_round_and_the_client_is_back_in_a_later_one(tmp_path: Path) -> None:
    lost, *others = HONEST
    crowd = dict.fromkeys(HONEST, "none --pace 0.7")
    with network("server", *HONEST) as net, FarCluster(tmp_path, net, crowd, rounds=3) as cluster:
        cluster.start_server().ready()
        cluster.control(op="pause")
        clients = cluster.start_attackers()
        with cluster.watch() as watch:
            watch.until(lambda s: s["round"] == 2 and state_of(s, lost) == "training")
            net.cut(lost)
            cut = time.monotonic()
            cluster.control(op="pause")  # the open round goes on
            watch.until(lambda s: not is_connected(s, lost))
            noticed_s = time.monotonic() - cut
            watch.until(lambda s: s["model_version"] == 2)
            committed_s = time.monotonic() - cut
            net.mend(lost)
            mended = time.monotonic()
            watch.until(lambda s: is_connected(s, lost), timeout_s=2 * PATIENCE_S)
            back_s = time.monotonic() - mended
            cluster.control(op="resume")
        assert cluster.server.wait() == 0
        assert [client.wait() for client in clients.values()] == [0] * len(HONEST)
        assert cluster.accepted() == {1: HONEST, 2: others, 3: HONEST}
        print(f"cut: noticed after {noticed_s:.1f} s, round over after {committed_s:.1f} s, back in {back_s:.1f} s")
        assert noticed_s <= NOTICED_S


@pytest.mark.alone
def test_a_revoked_client_is_cut_within_a_second_whatever_it_does(tmp_path: Path) -> None:
    loyal = HONEST[:2]
    crowd = dict.fromkeys(loyal, "none --pace 0.5") | {name: f"none {pace}" for name, pace in VICTIMS.items()}
    settings = {"privacy": {"server_sees": "updates"}, "round": {"quorum": 2}}
    with (
        network("server", *crowd) as net,
        FarCluster(tmp_path, net, crowd, rounds=1, params=TWO_CHUNKS, settings=settings) as cluster,
    ):
        net.slow("uploading", "4mbit")
        cluster.start_server().ready()
        cluster.control(op="pause")
        clients = cluster.start_attackers()
        with cluster.watch() as watch:
            watch.until(lambda s: {state_of(s, name) for name in VICTIMS} == {"training", "uploading"})
        clients["stuck"].signal(signal.SIGSTOP)
        took: dict[str, float] = {}
        for name in VICTIMS:
            began = time.monotonic()
            assert cli.run(["revoke", name, "--dir", str(cluster.place.folder)]) == 0
            assert not is_connected(cluster.control(op="status"), name)
            if name == "stuck":
                while value(cluster.page("/metrics"), "roughfed_grpc_streams_active") > len(loyal):
                    assert time.monotonic() - began < PATIENCE_S
            else:
                clients[name].wait_line("is revoked")
            took[name] = time.monotonic() - began
        clients["stuck"].signal(signal.SIGCONT)
        assert cluster.server.wait() == 0  # the round did not wait for them
        ends = dict.fromkeys(loyal, 0) | dict.fromkeys(VICTIMS, IdentityError.exit_code)
        assert {name: client.wait() for name, client in clients.items()} == ends
        assert cluster.accepted() == {1: loyal}
        print("revoked, and cut after " + ", ".join(f"{seconds:.2f} s ({name})" for name, seconds in took.items()))
        assert max(took.values()) <= AT_ONCE_S
