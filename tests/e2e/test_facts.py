"""Sums of class counts become facts that every client's training gets, and weight classes change the mean, as said.

Masked, with a client and the server killed on the way; and in the clear. The trainings are the bench's: they log what
came with the job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from roughfed.deploy.synthetic import pieces
from roughfed.digest import content_digest
from roughfed.rng import derive
from roughfed.wire.job_facts import encode_facts

from .federation import KILLED, Cluster, Process
from .masked import is_exact, masked_cluster, played, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

COUNTS = {f"c{at}": (3 + at, 40 - 5 * at) for at in range(5)}
WEIGHTS = {"c0": 0.25, "c3": 0.75}
SETTINGS = {"trainer": {"method": "balanced-softmax", "prior": "global", "self_weight": True}}
TOTAL = [sum(column) for column in zip(*COUNTS.values(), strict=True)]
PRIOR = [count / sum(TOTAL) for count in TOTAL]


def claims(name: str) -> list[str]:
    return ["--counts", ",".join(map(str, COUNTS[name])), "--weight", str(WEIGHTS.get(name, 1.0))]


def start(cluster: Cluster, name: str, **options: str) -> Process:
    return cluster.start_client(name, claims=claims(name), **options)


def facts_told(processes: Sequence[Process]) -> dict[int, list[str]]:
    """Round -> digests of the facts that trainings of it got."""
    told: dict[int, list[str]] = {}
    for process in processes:
        for line in process.find("facts of round "):
            number, digest = json.loads(line)["msg"].removeprefix("facts of round ").split()
            told.setdefault(int(number), []).append(digest)
    return told


def all_told_the_truth(processes: Sequence[Process], cluster: Cluster) -> None:
    told = facts_told(processes)
    assert set(told) == set(range(2, cluster.rounds + 1))
    for number, found in told.items():
        assert len(found) >= len(cluster.names)
        histogram = [float(TOTAL[at // 16]) if at % 16 == 0 else 0.0 for at in range(32)]
        facts = {"rounds": [float(cluster.rounds)], "class-prior": PRIOR, "class-loss-histogram": histogram}
        wanted = content_digest(encode_facts(facts).encode()).hex()
        assert found == [wanted] * len(found), number


def test_facts_of_masked_sums_and_weights_survive_kills(tmp_path: Path) -> None:
    # A clip norm near the updates' own: with 10 the codes are coarse in the first rounds, what they leave out is four
    # times as much for who counts a quarter, and c0 may be taken for too long by a hair.
    settings = SETTINGS | {"round": {"min_clients": 5, "quorum": 5}, "codec": {"clip_norm": 0.5}}
    with masked_cluster(tmp_path, clients=5, rounds=4, settings=settings) as cluster:
        cluster.start_server(crash_at="round-opened:3").ready()
        processes = [start(cluster, name) for name in cluster.names[1:]]
        victim = start(cluster, "c0", crash_at="masked-written:2")  # with a weight of 1/4, in round 2
        assert victim.wait(timeout_s=60) == KILLED
        processes += [victim, start(cluster, "c0")]
        assert cluster.server.wait(timeout_s=60) == KILLED  # the facts of round 3 are journaled, and nobody has them
        cluster.restart_server()
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        alive = [process for process in processes if process is not victim]
        assert [process.wait() for process in alive] == [0] * 5
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in range(1, 5)}
        assert [p.quarters for p in played(cluster)] == [{}] + [{"c0": 1, "c3": 3}] * 3
        assert is_exact(cluster)
        all_told_the_truth(processes, cluster)
        given = json.loads(cluster.rows("SELECT sums FROM rounds WHERE round = 1")[0]["sums"])
        assert (given["class-count"], given["class-owner"], given["trained"]) == (TOTAL, [5, 5], [5])


def test_facts_and_weights_in_the_clear(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=5, rounds=3, params=20_000, settings=SETTINGS) as cluster:
        cluster.start_server().ready()
        processes = [start(cluster, name) for name in cluster.names]
        assert cluster.server.wait(timeout_s=60) == 0, cluster.server.report("failed")
        assert [process.wait() for process in processes] == [0] * 5
        all_told_the_truth(processes, cluster)
        rows = cluster.rows("SELECT summary FROM rounds ORDER BY round")
        summaries = [json.loads(row["summary"]) for row in rows]
        assert [s.get("weights", {}) for s in summaries] == [{}] + [{"c0": 1, "c3": 3}] * 2
        assert summaries[0]["statistics"]["class-count"] == TOTAL
        assert cluster.model_digests() == weighted_digests(cluster)


def weighted_digests(cluster: Cluster) -> list[str]:
    """Digest of each version: weight 1 in the first round, then what each training found before."""
    params = np.zeros(cluster.params, dtype=np.float32)
    digests = [content_digest(memoryview(params).cast("B")).hex()]
    for number in range(1, cluster.rounds + 1):
        weights = {name: WEIGHTS.get(name, 1.0) if number > 1 else 1.0 for name in cluster.names}
        total = np.zeros_like(params)
        for name, weight in weights.items():
            seed = derive(cluster.seed, "client", name, number)
            total += np.concatenate(list(pieces(cluster.params, seed))) * np.float32(weight)
        params = params + total / np.float32(sum(weights.values()))
        digests.append(content_digest(memoryview(params).cast("B")).hex())
    return digests
