"""Masked rounds between real processes: every version is, to the bit, what the accepted updates give.

`masked.py` computes the versions again from the seeds, without a mask: one that did not cancel, an update that counted
twice or a forgotten residual, and the digests differ.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .masked import is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


@pytest.mark.parametrize(("sees", "clients"), [("sketches", 6), ("sums", 4)])
def test_every_version_is_what_the_seeds_give(sees: str, clients: int, tmp_path: Path) -> None:
    with masked_cluster(
        tmp_path, clients=clients, rounds=4, sees=sees, settings={"round": {"min_clients": clients}}
    ) as cluster:
        server = cluster.start_server()
        server.ready()
        processes = cluster.start_clients()
        assert server.wait() == 0, server.report("failed")
        assert [process.wait() for process in processes] == [0] * clients

        assert is_exact(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2, 3, 4)}
        assert cluster.rows("SELECT * FROM stages") == []
        assert list((cluster.place.state / "spool").iterdir()) == []
