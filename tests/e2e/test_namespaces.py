"""Several machines: server and clients in network namespaces of their own, links that are cut, members that are revoked."""

import time
from pathlib import Path

import pytest

from .attacks import HONEST
from .federation import PATIENCE_S, is_connected, state_of
from .namespaces import FarCluster, network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

NOTICED_S = 100.0


def test_a_link_is_cut_in_a_round_and_the_client_is_back_in_a_later_one(tmp_path: Path) -> None:
    with network("server", *HONEST) as net:
        crowd = dict.fromkeys(HONEST, "none --pace 0.7")
        with FarCluster(tmp_path, net, crowd, rounds=3) as cluster:
            cluster.start_server().ready()
            cluster.control(op="pause")
            clients = cluster.start_attackers()
            lost = HONEST[0]
            with cluster.watch() as watch:
                watch.until(lambda s: s["round"] == 2 and state_of(s, lost) == "training")
                net.cut(lost)
                began = time.monotonic()
                cluster.control(op="pause")
                watch.until(lambda s: not is_connected(s, lost), timeout_s=120)
                noticed_s = time.monotonic() - began
                print(f"noticed {noticed_s:.1f}")
                watch.until(lambda s: s["model_version"] == 2)
                committed_s = time.monotonic() - began
                print(f"committed {committed_s:.1f}")
                net.mend(lost)
                began = time.monotonic()
                watch.until(lambda s: is_connected(s, lost), timeout_s=120)
                back_s = time.monotonic() - began
                print(f"back {back_s:.1f}")
                print("\n".join(clients[lost].lines[-12:]))
                cluster.control(op="resume")
            assert cluster.server.wait() == 0
            print("\n".join(l[10:300] for l in cluster.server.lines if "DEBUG" not in l))
            assert cluster.accepted() == {1: HONEST, 2: HONEST[1:], 3: HONEST}
            assert [p.wait() for p in clients.values()] == [0] * 5
