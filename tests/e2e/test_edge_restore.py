"""An edge is lost in a round, and goes on elsewhere out of its backup: the top's model has the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from .edges import Tree
from .federation import state_of
from .restored import backup, move, rounds_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

EDGES = {"east": ["a0", "a1"], "west": ["b0", "b1"]}


def test_a_restored_edge_finishes_the_round_that_was_open(tmp_path: Path) -> None:
    with Tree(tmp_path, EDGES, rounds=3, params=5_000) as tree:
        east = tree.edges["east"]
        tree.top.start_server().ready()
        for edge in tree.edges.values():
            edge.begin().ready()
        clients = [*tree.edges["west"].start_clients(), *east.start_clients("a0"), east.start_client("a1", pace_s=1.0)]
        with east.watch() as watch:
            watch.until(lambda status: status["round"] == 2 and state_of(status, "a0") == "received")
            file = backup(east)
            east.server.kill()
        move(east, file)
        assert [row["outcome"] for row in rounds_of(east)] == ["committed", None]
        assert (east.place.folder / "upstream" / "client.toml").exists()

        east.begin().ready()
        assert tree.top.server.wait(timeout_s=60) == 0, tree.top.server.report("failed")
        for edge in tree.edges.values():
            assert edge.server.wait(timeout_s=60) == 0, edge.server.report("failed")
        assert [client.wait(timeout_s=60) for client in clients] == [0] * 4
        assert tree.top.model_digests() == tree.expected()
        assert tree.top.accepted() == dict.fromkeys((1, 2, 3), sorted(EDGES))
