"""The top goes on without an edge: its round is given up, its clients hear of it, and the next order is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roughfed.server.context.extension import IN_TIME
from roughfed.wire.session import decode_header

from .edges import Edge, Tree
from .federation import KILLED, is_connected

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

PARAMS = 20_000
HALF = {"round": {"quorum": 0.5}}
MASKED = {"privacy": {"server_sees": "sketches"}, "round": {"quorum": 4}}
CLEAR = {"east": ["a0"], "west": ["b0"]}
BEHIND_MASKS = {"east": ["a0"], "west": ["b0", "b1", "b2", "b3"]}
SLOW_S = 60.0

STAGES = {"set up": 1, "sketching": 3, "agreeing": 4, "unmasking": 5}
"""Stage of a masked round -> the message of the server that one of the clients never answers."""


def rounds_of(edge: Edge) -> list[tuple[int, Any, Any]]:
    rows = edge.rows("SELECT round, outcome, reason FROM rounds ORDER BY round")
    return [(row["round"], row["outcome"], row["reason"]) for row in rows]


def goes_on_without(tree: Tree, name: str) -> None:
    """The top does not want an edge any more, in the middle of its round."""
    tree.top.control(op="quarantine", name=name, because="a test")


def ends_with_both(tree: Tree) -> None:
    """Round 1 had the east alone, round 2 both."""
    for cluster in (tree.top, *tree.edges.values()):
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
    assert tree.top.accepted() == {1: ["east"], 2: ["east", "west"]}


def test_withdrawn_while_clients_train(tmp_path: Path) -> None:
    with Tree(tmp_path, CLEAR, rounds=2, params=PARAMS, top=HALF) as tree:
        east, west = tree.edges["east"], tree.edges["west"]
        tree.top.start_server().ready()
        for edge in (east, west):
            edge.begin().ready()
        slow = west.start_client("b0", pace_s=SLOW_S)
        with west.watch() as watch:
            watch.until(lambda s: any(c["state"] == "training" for c in s["clients"]))
        east.start_clients()
        goes_on_without(tree, "west")
        west.server.wait_line("no sum for round 1")
        slow.wait_line("round 1 abandoned")
        assert rounds_of(west) == [(1, "abandoned", "withdrawn")]
        slow.kill()
        west.start_clients()
        tree.top.control(op="release", name="west")
        ends_with_both(tree)
        assert rounds_of(west)[1:] == [(2, "committed", "")]
        given = [{"east": east.mean(1)}, {"east": east.mean(2), "west": west.mean(2)}]
        assert tree.top.model_digests() == tree.expected(given)


@pytest.mark.parametrize("stage", STAGES)
def test_withdrawn_at_a_stage_of_a_masked_round(stage: str, tmp_path: Path) -> None:
    with Tree(tmp_path, BEHIND_MASKS, rounds=2, params=PARAMS, top=HALF) as tree:
        east, west = tree.edges["east"], tree.edges["west"]
        west.configure(MASKED)
        tree.top.start_server().ready()
        for edge in (east, west):
            edge.begin().ready()
        west.start_clients("b1", "b2", "b3")
        silent = west.start_client("b0", crash_at=f"message-written:{STAGES[stage]}")
        assert silent.wait(timeout_s=60) == KILLED
        goes_on_without(tree, "west")
        west.server.wait_line("no sum for round 1")
        assert rounds_of(west) == [(1, "abandoned", "withdrawn")]
        assert west.rows("SELECT * FROM stages") == []
        west.start_client("b0")
        with west.watch() as watch:
            watch.until(lambda s: all(is_connected(s, name) for name in west.names))
        east.start_clients()
        tree.top.control(op="release", name="west")
        ends_with_both(tree)
        (mean,) = west.masked_means()
        given = [{"east": east.mean(1)}, {"east": east.mean(2), "west": mean}]
        assert tree.top.model_digests() == tree.expected(given)


DEADLINE_S = 4.0


@pytest.mark.parametrize("lacks", ["a client", "time"])
def test_an_edge_that_gives_no_sum_says_so_before_the_top_has_waited(lacks: str, tmp_path: Path) -> None:
    """Too few clients; or enough, and their updates come too late for the edge, which ends before the top does."""
    top = {"round": {"quorum": 0.5, "deadline": f"{DEADLINE_S:.0f}s"}}
    with Tree(tmp_path, {"east": ["a0"], "west": ["b0", "b1"]}, rounds=2, params=PARAMS, top=top) as tree:
        east, west = tree.edges["east"], tree.edges["west"]
        tree.top.start_server().ready()
        tree.top.control(op="pause")
        for edge in (east, west):
            edge.begin().ready()
        east.start_clients()
        late = [west.start_client("b0"), *([west.start_client("b1", pace_s=SLOW_S)] if lacks == "time" else [])]
        with west.watch() as watch:
            watch.until(lambda s: sum(c["connected"] for c in s["clients"]) == len(late))
        tree.top.control(op="resume")
        with tree.top.watch() as watch:
            watch.until(lambda s: s["phase"] == "report")
            tree.top.control(op="pause")  # before the next round
            watch.until(lambda s: s["model_version"] == 1)
        (sets,) = tree.top.rows("SELECT sets FROM rounds WHERE round = 1")
        assert '"west": "client-failed: edge-round"' in sets["sets"]
        if lacks == "time":
            ((number, outcome, reason),) = rounds_of(west)
            assert (number, outcome, reason != "withdrawn") == (1, "abandoned", True)
            (row,) = west.rows("SELECT header FROM rounds")
            assert 0.5 * DEADLINE_S < decode_header(row["header"]).deadline_s <= IN_TIME * DEADLINE_S
            late[1].wait_line("round 1 abandoned")
            late[1].kill()
        else:
            assert rounds_of(west) == []
        west.start_client("b1")
        with west.watch() as watch:
            watch.until(lambda s: sum(c["connected"] for c in s["clients"]) == 2)
        tree.top.control(op="resume")
        ends_with_both(tree)
