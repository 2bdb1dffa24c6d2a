"""Edges and masks: behind an edge's masks only its mean is known, and behind the masks of the top not even that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed.params import read_flat

from .edges import Given, Tree
from .federation import KILLED, Process
from .masked import verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PARAMS = 20_000
MASKED = {"privacy": {"server_sees": "sketches"}, "round": {"quorum": 4}}
TWO = {"east": ["a0", "a1", "a2", "a3"], "west": ["b0", "b1", "b2", "b3"]}
FOUR = {"e0": ["a0"], "e1": ["b0", "b1"], "e2": ["c0"], "e3": ["d0", "d1"]}

KILLS = ["order-adopted", "dealt-decided", "masked-decided", "judged-decided", "agreed-decided", "committed"]
"""Where an edge dies that masks."""

UPPER = ["secret-written", "message-written:2", "masked-written", "receipt-got", "answer-sent:3"]
"""Where an edge dies whose top masks, in its upper half."""


def all_end_well(tree: Tree, clients: dict[str, list[Process]]) -> None:
    below = [process for each in clients.values() for process in each]
    for process in (tree.top.server, *(edge.server for edge in tree.edges.values()), *below):
        assert process.wait(timeout_s=60) == 0, process.report("failed")


def behind_masks(tree: Tree) -> list[dict[str, Given]]:
    """What both edges gave in each round."""
    rounds = zip(*(edge.masked_means() for edge in tree.edges.values()), strict=True)
    return [dict(zip(tree.edges, means, strict=True)) for means in rounds]


def test_edges_that_mask_under_a_top_in_the_clear(tmp_path: Path) -> None:
    with Tree(tmp_path, TWO, rounds=2, params=PARAMS, below=MASKED) as tree:
        all_end_well(tree, tree.begin())
        assert tree.top.model_digests() == tree.expected(behind_masks(tree))
        for edge in tree.edges.values():
            assert verdicts(edge) == {number: dict.fromkeys(edge.names, "") for number in (1, 2)}
            assert edge.rows("SELECT * FROM stages") == []


@pytest.mark.slow
@pytest.mark.parametrize("point", KILLS)
def test_an_edge_that_masks_dies(point: str, tmp_path: Path) -> None:
    """What its group had agreed on holds, and the sum that goes up is that of those who are in it."""
    with Tree(tmp_path, TWO, rounds=2, params=PARAMS, below=MASKED) as tree:
        clients = tree.begin(east=point)
        east = tree.edges["east"]
        assert east.server.wait(timeout_s=60) == KILLED
        east.begin().ready()
        all_end_well(tree, clients)
        assert tree.top.model_digests() == tree.expected(behind_masks(tree))


@pytest.mark.slow
@pytest.mark.parametrize("point", ["", *UPPER])
def test_a_top_that_masks_over_edges_in_the_clear(point: str, tmp_path: Path) -> None:
    """It knows one sum of all edges. Without one of them the mean would be far from where it is.

    An edge that dies says the same again, or nothing: then the round is void, since four have no slack, and another
    one follows.
    """
    exact = {"codec": {"clip_norm": 0.2}, **MASKED}
    with Tree(tmp_path, FOUR, rounds=2, params=PARAMS, top=exact) as tree:
        clients = tree.begin(**({"e0": point} if point else {}))
        if point:
            assert tree.edges["e0"].server.wait(timeout_s=60) == KILLED
            tree.edges["e0"].begin().ready()
        all_end_well(tree, clients)
        assert tree.top.rows("SELECT * FROM stages") == []
        assert set(tree.top.accepted()) <= {1, 2, 3}
        wanted = far = np.zeros(PARAMS, np.float32)
        for number, names in tree.top.accepted().items():
            assert names == sorted(FOUR)
            means = {name: edge.mean_for(number) for name, edge in tree.edges.items()}
            wanted = wanted + sum(means.values()) / np.float32(4)
            far = far + sum(mean for name, mean in means.items() if name != "e0") / np.float32(3)
        newest = tree.top.model_digests()[-1]
        found = read_flat(tree.top.place.state / "models" / f"{newest}.safetensors")
        assert len(tree.top.model_digests()) == 3
        assert distance(found, wanted) < 0.1 * np.linalg.norm(wanted)  # what the codec costs
        assert distance(found, far) > 0.5 * np.linalg.norm(wanted)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))
