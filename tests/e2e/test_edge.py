"""Edge aggregators: the top learns one sum of each, and its model is that of the flat federation."""

from __future__ import annotations

from pathlib import Path

import pytest

from roughfed.client.storage.store import MODELS_KEPT
from roughfed.config.federation import Model

from .edges import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PARAMS = 50_000
EDGES = {"east": ["a0", "a1"], "west": ["b0", "b1", "b2"]}


def test_two_edges_give_the_model_that_the_seeds_of_their_clients_say(tmp_path: Path) -> None:
    with Tree(tmp_path, EDGES, rounds=3, params=PARAMS) as tree:
        clients = tree.begin()

        assert tree.top.server.wait() == 0
        for name, edge in tree.edges.items():
            assert edge.server.wait() == 0
            assert [client.wait() for client in clients[name]] == [0] * len(edge.names)
        assert tree.top.model_digests() == tree.expected()
        for edge in tree.edges.values():  # of all models and sums that came and went
            state = edge.place.state
            assert len(list((state / "models").iterdir())) == Model().keep_last
            assert len(list((state / "sums").iterdir())) == 1
            assert len(list((edge.place.folder / "upstream" / "state" / "models").iterdir())) <= MODELS_KEPT
        assert tree.top.accepted() == dict.fromkeys((1, 2, 3), sorted(EDGES))
