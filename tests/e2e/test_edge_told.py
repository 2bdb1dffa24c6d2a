"""What an edge tells of its clients beside their sum: class counts and what they found about the model, together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .edges import Tree

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

ROUNDS = 2
EVERY = {"round": {"evaluate_every": 1}}


@pytest.mark.parametrize("sees", ["updates", "sketches"])
def test_a_top_in_the_clear_hears_sums_of_at_least_four(sees: str, tmp_path: Path) -> None:
    edges = {
        "east": ["a0", "a1", "a2", "a3"],
        "west": ["b0", "b1", "b2"] if sees == "updates" else ["b0", "b1", "b2", "b3"],
    }
    below = {**EVERY, "privacy": {"server_sees": sees}}
    with Tree(tmp_path, edges, rounds=ROUNDS, params=20_000, top=EVERY, below=below) as tree:
        tree.top.start_server().ready()
        for edge in tree.edges.values():
            edge.begin().ready()
            edge.start_clients(claims=["--counts", "3,5", "--loss", "0.5"])

        assert tree.top.server.wait(timeout_s=120) == 0

        told = {
            row["source"]: json.loads(row["statistics"])["class-count"]
            for row in tree.top.rows("SELECT * FROM statics")
        }
        found = {
            (r["version"], r["source"]): json.loads(r["evaluation"]) for r in tree.top.rows("SELECT * FROM evaluations")
        }
        few = {name for name, clients in edges.items() if len(clients) < 4}
        assert {name for name, counts in told.items() if any(counts)} == edges.keys() - few
        assert all(told[name] == [12, 20] for name in edges.keys() - few)
        assert {source for version, source in found if version == 0 and source} == edges.keys() - few
        examples, loss = found[(0, "east")][1:3]
        assert examples == 80
        assert loss == pytest.approx(40, rel=0.01)
