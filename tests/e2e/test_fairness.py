"""Weight classes by loss between real processes: those that facts and secrets give, the same after kills, and exact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from roughfed.client.round.statistics import DRAW
from roughfed.crypto.agreement import derive
from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive as derive_seed
from roughfed.secagg.weight_class import FACT, drawn, expected, loss_point, read_table
from roughfed.server.fairness import RULES
from roughfed.server.fairness.weights import factors
from roughfed.types import Signed
from roughfed.wire.job_facts import decode_facts

from .federation import KILLED, Cluster, Process
from .masked import is_exact, masked_cluster, played

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
        wanted, committed = classes(cluster), [p for p in played(cluster) if p.accepted]
        assert len(committed) == ROUNDS  # a slow machine may lose a round to the kill, and play it again
        assert [p.accepted for p in committed] == [cluster.names] * ROUNDS
        for p in committed:
            assert {name: p.quarters.get(name, 4) for name in cluster.names} == wanted[p.number]
        assert is_exact(cluster)
        check_summaries(cluster, wanted)


def check_summaries(cluster: Cluster, wanted: dict[int, dict[str, int]]) -> None:
    rows = cluster.rows("SELECT round, summary, sums FROM rounds WHERE outcome = 'committed' ORDER BY round")
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


@pytest.mark.slow
def test_weights_in_the_clear_are_those_of_the_statements_also_after_a_kill(tmp_path: Path) -> None:
    settings = SETTINGS | {"fairness": {"rule": "term", "t": 0.5, "cap": 2.0}}
    with Cluster(tmp_path, clients=4, rounds=ROUNDS, params=20_000, settings=settings) as cluster:
        cluster.start_server(crash_at="sets-journaled:2").ready()
        processes = [start(cluster, name) for name in cluster.names]
        assert cluster.server.wait(timeout_s=60) == KILLED
        cluster.restart_server()
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        assert [process.wait() for process in processes] == [0] * 4
        weights = factors(RULES["term"], LOSSES, strength=0.5, cap=2.0)
        assert weights["c0"] == 2.0
        assert cluster.model_digests() == weighted_digests(cluster, weights)
        summaries = [json.loads(row["summary"]) for row in cluster.rows("SELECT summary FROM rounds")]
        assert [s["fairness"]["weights"] for s in summaries] == [weights] * ROUNDS


def weighted_digests(cluster: Cluster, weights: Mapping[str, float]) -> list[str]:
    """Digest of each version: means in float32, in order of the names."""
    params = np.zeros(cluster.params, dtype=np.float32)
    digests = [content_digest(memoryview(params).cast("B")).hex()]
    for number in range(1, cluster.rounds + 1):
        total = np.zeros_like(params)
        for name in cluster.names:
            seed = derive_seed(cluster.seed, "client", name, number)
            total += np.concatenate(list(pieces(cluster.params, seed))) * np.float32(weights[name])
        params = params + total / np.float32(sum(weights.values()))
        digests.append(content_digest(memoryview(params).cast("B")).hex())
    return digests
