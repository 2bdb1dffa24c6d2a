"""Members that open calls without reading them: a newer transfer takes over, and revoke ends what is left."""

import time
from pathlib import Path

import grpc
import pytest

from roughfed.wire.session import encode_get_model

from .federation import Cluster
from .peer import Peer, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


def test_revoke_ends_the_transfers_of_a_client(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=2, params=25_000_000, settings={"round": {"min_clients": 3}}) as cluster:
        cluster.start_server().ready()
        cluster.start_clients()
        papers = enrol(cluster, "silent")
        with cluster.watch() as watch, Peer(cluster.address, papers) as peer:
            watch.until(lambda s: s["model_version"] == 0 and sum(c["connected"] for c in s["clients"]) == 2)
            digest = bytes.fromhex(watch.until(lambda s: s["model_digest"])["model_digest"])
            older = peer.download(encode_get_model(digest, 0))
            next(older)  # one chunk of a hundred; the rest waits to be read
            newer = peer.download(encode_get_model(digest, 0))
            next(newer)
            assert code_of(older) == "FAILED_PRECONDITION"  # the newer one took over

            asked = time.monotonic()
            cluster.control(op="revoke", name="silent")
            assert code_of(newer) == "PERMISSION_DENIED"
            assert time.monotonic() - asked < 5.0


def code_of(call: grpc.RpcContext) -> str:
    """How a call ended; reads what is still on its way."""
    try:
        for _ in call:  # pyright: ignore[reportGeneralTypeIssues]
            pass
    except grpc.RpcError as error:
        return error.code().name  # pyright: ignore[reportAttributeAccessIssue]
    return "OK"
