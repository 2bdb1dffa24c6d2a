"""`kill -9` in a tree of two levels: whoever dies, and wherever, the model at the top is that of the calm run.

An edge dies at the points of both its halves; `Tree.expected` computes the versions again from the clients' seeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from roughfed.crash import CLIENT_POINTS, SERVER_POINTS

from .edges import Tree
from .federation import KILLED, PARAMS, Process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

EDGES = {"east": ["a0", "a1"], "west": ["b0"]}

ELSEWHERE = ("masked:", "clusters:", "ledger:", "base:")
SERVER = [point for point, what in SERVER_POINTS.items() if not what.startswith(ELSEWHERE)]
CLIENT = [point for point, what in CLIENT_POINTS.items() if not what.startswith(ELSEWHERE)]
FIRST = "run-created"
LATER = ("order-adopted:2", "jobs-sent:2", "committed:2", "announced:2", "trained:2", "update-saved:2", "receipt-got:2")
IN_TURN = [
    ("order-adopted", "round-opened", "jobs-sent"),
    ("receipt-journaled", "upload-complete", "sets-journaled"),
    ("model-written", "committed", "announced", "trained"),
    ("committed", "job-accepted", "update-saved", "upload-cut", "receipt-got"),
    ("upload-partial", "model-fetched", "order-adopted"),
]
"""Where an edge dies, is started again, and dies again."""

TOP = ["round-opened", "jobs-sent", "upload-partial", "receipt-journaled", "sets-journaled", "committed", "announced:2"]
BELOW = ["job-accepted", "trained", "upload-cut", "receipt-got"]


def tree_of(folder: Path) -> Tree:
    return Tree(folder, EDGES, rounds=2, params=PARAMS)


def ends_as_if_calm(tree: Tree, clients: dict[str, list[Process]]) -> None:
    """Everybody ends well; each edge is in each round, with one sum of all of its clients."""
    everybody = [(tree.top.server, 0), *((edge.server, 0) for edge in tree.edges.values())]
    for process, status in (*everybody, *((client, 0) for each in clients.values() for client in each)):
        assert process.wait(timeout_s=60) == status, process.report("failed")
    assert tree.top.model_digests() == tree.expected()
    assert tree.top.accepted() == dict.fromkeys((1, 2), sorted(EDGES))
    for edge in tree.edges.values():
        assert edge.accepted() == dict.fromkeys((1, 2), sorted(edge.names))
        assert edge.rows("SELECT * FROM rounds WHERE outcome IS NOT 'committed'") == []
        assert edge.rows("SELECT count(*) AS taken FROM orders") == [{"taken": 2}]
        assert len(list((edge.place.state / "sums").iterdir())) == 1


def dies_at(tree: Tree, points: tuple[str, ...]) -> None:
    """The edge in the east dies at one point after another, and is started again at once; the rest is as ever."""
    clients, east = tree.begin(east=points[0]), tree.edges["east"]
    for point in (*points[1:], ""):
        assert east.server.wait(timeout_s=60) == KILLED, east.server.report("did not die")
        east.begin(crash_at=point).ready()
    ends_as_if_calm(tree, clients)


def clients_of(tree: Tree) -> dict[str, list[Process]]:
    return {name: edge.start_clients() for name, edge in tree.edges.items()}


def test_an_edge_dies_between_its_commit_and_the_answer_and_with_a_bare_order(tmp_path: Path) -> None:
    with tree_of(tmp_path) as tree:
        dies_at(tree, ("committed", "order-adopted"))


@pytest.mark.slow
def test_an_edge_dies_before_it_ever_listened(tmp_path: Path) -> None:
    """It is enrolled above, and goes on with that."""
    with tree_of(tmp_path) as tree:
        tree.top.start_server().ready()
        assert tree.edges["east"].begin(crash_at=FIRST).wait(timeout_s=60) == KILLED
        for edge in tree.edges.values():
            edge.begin().ready()
        ends_as_if_calm(tree, clients_of(tree))


@pytest.mark.slow
@pytest.mark.parametrize("point", [*(point for point in SERVER if point != FIRST), *CLIENT, *LATER])
def test_an_edge_dies(point: str, tmp_path: Path) -> None:
    with tree_of(tmp_path) as tree:
        dies_at(tree, (point,))


@pytest.mark.slow
@pytest.mark.parametrize("points", IN_TURN, ids="-".join)
def test_an_edge_dies_again_and_again(points: tuple[str, ...], tmp_path: Path) -> None:
    with tree_of(tmp_path) as tree:
        dies_at(tree, points)


@pytest.mark.slow
@pytest.mark.parametrize("point", TOP)
def test_the_top_dies(point: str, tmp_path: Path) -> None:
    with tree_of(tmp_path) as tree:
        tree.top.start_server(crash_at=point).ready()
        for edge in tree.edges.values():
            edge.begin().ready()
        clients = clients_of(tree)
        assert tree.top.server.wait(timeout_s=60) == KILLED
        tree.top.restart_server()
        ends_as_if_calm(tree, clients)


@pytest.mark.slow
@pytest.mark.parametrize("point", BELOW)
def test_a_client_of_an_edge_dies(point: str, tmp_path: Path) -> None:
    with tree_of(tmp_path) as tree:
        tree.top.start_server().ready()
        for edge in tree.edges.values():
            edge.begin().ready()
        east, west = tree.edges["east"], tree.edges["west"]
        clients = {"east": [east.start_client("a0")], "west": west.start_clients()}
        assert east.start_client("a1", crash_at=point).wait(timeout_s=60) == KILLED
        clients["east"].append(east.start_client("a1"))
        ends_as_if_calm(tree, clients)
