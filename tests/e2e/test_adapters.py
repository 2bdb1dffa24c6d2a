"""Adapters between real processes, masked and not: small updates, one base for all, clients with limits, kills."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from roughfed.adapters import LORA_B, ranks_in
from roughfed.deploy.cli import app as cli
from roughfed.models import build
from roughfed.params import unflatten
from roughfed.wire.updates import decode_statement

from .federation import KILLED
from .trained import BUSY_S, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS, RANK = 3, 4
SIZE = 4 * (64 + 200) + 4 * (200 + 200) + 10 * (200 + 1)
"""Adapters on the two hidden layers of digits' perceptron, and its head."""

WHOLE = 64 * 200 + 200 + 200 * 200 + 200 + 10 * 200 + 10


def federation(folder: Path, sees: str, **limits: dict[str, object]) -> Trained:
    settings: dict[str, dict[str, object]] = {
        "model": {"name": "mlp", "adapters": RANK, "train": ["fc3.*"]},
        "trainer": {"epochs": 3},
        "privacy": {"server_sees": sees},
        "round": {"deadline": "400s", "evaluate_every": 1, "quorum": 1.0, "min_clients": 4},
    }
    return Trained(folder, clients=4, rounds=ROUNDS, settings=settings, partition="iid", limits=limits)


def base_of(cluster: Trained, name: str) -> bytes:
    (path,) = (cluster.client_folder(name) / "state" / "base").iterdir()
    return path.read_bytes()


def test_masked_adapters_are_all_that_travels_and_merge_into_a_whole_model(tmp_path: Path) -> None:
    with federation(tmp_path / "fed", "sketches", c1={"epochs": 1, "batch_size": 16}) as cluster:
        cluster.begin()
        with cluster.watch() as watch:
            watch.until(lambda status: status["round"] == 2, timeout_s=BUSY_S)
            cluster.kill_agent("c0")
        digests = cluster.end()
        shared = cluster.shared()
        assert shared.size == SIZE
        assert ranks_in(shared.tensors) == {"fc1.weight": RANK, "fc2.weight": RANK}
        assert {row["size_bytes"] for row in cluster.rows("SELECT size_bytes FROM receipts")}.pop() < 4 * WHOLE / 8
        first, last = (unflatten(cluster.version(digest), shared) for digest in (digests[0], digests[-1]))
        assert not any(first[name].any() for name in first if name.endswith(LORA_B))
        assert all(last[name].any() for name in last if name.endswith(LORA_B))

        bases = {base_of(cluster, name) for name in cluster.names}
        assert bases == {(cluster.place.state / "base.safetensors").read_bytes()}
        assert cluster.agents["c1"].find("epochs 1 instead of 3, batch_size 16 instead of 32")
        assert not cluster.agents["c2"].find("instead of")

        out = tmp_path / "whole.safetensors"
        assert cli.run(["export", "--dir", str(cluster.place.folder), "--merged", "--out", str(out)]) == 0
        shapes = {name: tuple(t.shape) for name, t in build("mlp", (1, 8, 8), 10, 0).state_dict().items()}
        assert {name: t.shape for name, t in load_file(out).items()} == shapes
        assert cluster.rows("SELECT * FROM evaluations WHERE source = ''")  # the server has a whole model to evaluate


def test_steps_of_a_client_with_limits_are_told_and_a_base_survives_a_kill_and_a_damage(tmp_path: Path) -> None:
    with federation(tmp_path, "updates", c1={"max_steps": 2}) as cluster:
        cluster.crash_at["c2"] = "base-fetched"
        cluster.begin()
        assert cluster.agents["c2"].wait(timeout_s=BUSY_S) == KILLED
        cluster.join("c2")
        with cluster.watch() as watch:
            watch.until(lambda status: status["round"] == 2, timeout_s=BUSY_S)
            cluster.agents["c3"].kill()
            (path,) = (cluster.client_folder("c3") / "state" / "base").iterdir()
            path.write_bytes(path.read_bytes()[:-8] + bytes(8))
            cluster.join("c3")
        cluster.end()
        assert cluster.agents["c3"].find("the stored frozen base")
        assert not cluster.agents["c2"].find("downloading the frozen base")
        statements = [
            decode_statement(row["statement"]) for row in cluster.rows("SELECT statement FROM receipts WHERE round = 3")
        ]
        steps = {s.client: s.num_steps for s in statements}
        assert steps["c1"] == 2
        assert all(steps[name] > 2 for name in ("c0", "c2", "c3"))
