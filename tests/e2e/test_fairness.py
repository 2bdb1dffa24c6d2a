"""Weight classes by loss between real processes: those that facts and secrets give, the same after kills, and exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roughfed.client.fairness import DRAW
from roughfed.crypto.agreement import derive
from roughfed.secagg.weight_class import FACT, drawn, expected, loss_point, read_table
from roughfed.types import Signed
from roughfed.wire.facts import decode_facts

from .federation import KILLED, Cluster, Process
from .masked import is_exact, masked_cluster, played, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LOSSES = {"c0": 4.0, "c1": 1.0, "c2": 1.1, "c3": 0.3}
ROUNDS = 3
SETTINGS = {
    "fairness": {"rule": "q-fedavg", "q": 1.0},
    "round": {"evaluate_every": 1},
}


def start(cluster: Cluster, name: str, **options: str) -> Process:
    return cluster.start_client(name, claims=["--loss", str(LOSSES[name])], **options)


def classes(cluster: Cluster) -> dict[int, dict[str, int]]:
    """Round -> client -> its class, worked out again from the journaled facts, the losses and the clients' keys."""
    found: dict[int, dict[str, int]] = {}
    for row in cluster.rows("SELECT round, header, facts FROM rounds ORDER BY round"):
        number, facts = row["round"], decode_facts(row["facts"])
        if FACT not in facts:
            found[number] = dict.fromkeys(cluster.names, 4)
            continue
        table, digest = read_table(facts[FACT]), Signed(row["header"], b"", "").digest
        found[number] = {
            name: drawn(
                expected(table, dict.fromkeys(range(1, number), LOSSES[name])),
                derive(cluster.papers(name).identity.private_bytes(), DRAW, digest),
            )
            for name in cluster.names
        }
    return found


def test_classes_follow_the_losses_and_survive_kills(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=4, rounds=ROUNDS, settings=SETTINGS) as cluster:
        cluster.start_server(crash_at="round-opened:3").ready()
        processes = [start(cluster, name) for name in cluster.names[1:]]
        victim = start(cluster, "c0", crash_at="secret-written:2")  # its class of round 2 is written ahead
        assert victim.wait(timeout_s=60) == KILLED
        processes.append(start(cluster, "c0"))
        assert cluster.server.wait(timeout_s=60) == KILLED  # the table of round 3 is journaled, and nobody has it
        cluster.restart_server()
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        assert [process.wait() for process in processes] == [0] * 4
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in range(1, ROUNDS + 1)}
        wanted = classes(cluster)
        assert {p.number: {n: p.quarters.get(n, 4) for n in cluster.names} for p in played(cluster)} == wanted
        assert is_exact(cluster)
        check_summaries(cluster, wanted)


def check_summaries(cluster: Cluster, wanted: dict[int, dict[str, int]]) -> None:
    rows = cluster.rows("SELECT round, summary, sums FROM rounds ORDER BY round")
    for row in rows:
        sums = json.loads(row["sums"])["eval-loss-histogram"]
        assert [sums[loss_point(loss)] > 0 for loss in LOSSES.values()] == [True] * 4
        assert sum(sums) == 4
        summary = json.loads(row["summary"])
        one = 4 / 3 if row["round"] > 1 else 4.0
        found = summary["fairness"]["weights"]
        assert found == {name: pytest.approx(q / one, rel=1e-4) for name, q in wanted[row["round"]].items()}
        assert summary["spread"]["global"]["mean"] == pytest.approx(0.5, abs=0.025 + 1e-9)
        assert summary["spread"]["global"]["clients"] == 4
    assert wanted[2]["c0"] == 4  # its loss is four times the typical one: the largest class, whatever is drawn
    assert wanted[2]["c3"] == 1
