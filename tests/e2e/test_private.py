"""FedBN between real processes: normalisation stays with its client, through kills, and nothing of it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

from roughfed.client.trainer.model.tensors import spec_of
from roughfed.client.trainer.operations import Operations
from roughfed.deploy import agent
from roughfed.deploy.cli.processes import client_command
from roughfed.models import build
from roughfed.server.storage.store import Store
from roughfed.training import StatePlace, Turn

from .trained import BUSY_S, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

Status = dict[str, Any]
PRIVATE = ["*norm*", "*.shortcut.1.*"]
MODEL = build("resnet-8-bn", (1, 8, 8), 10, 0, 1)
WHOLE = spec_of(MODEL)
KEPT = {name for name in MODEL.state_dict() if any(fnmatchcase(name, pattern) for pattern in PRIVATE)}
ROUNDS = 3


def federation(folder: Path, sees: str, *, clients: int = 3, rounds: int = ROUNDS) -> Trained:
    settings: dict[str, dict[str, object]] = {
        "model": {"name": "resnet-8-bn", "private": PRIVATE},
        "trainer": {"epochs": 2},
        "privacy": {"server_sees": sees},
        "round": {"deadline": "400s", "evaluate_every": 1, "quorum": 1.0},
    }
    return Trained(folder, clients=clients, rounds=rounds, settings=settings)


def training(name: str, number: int) -> Callable[[Status], bool]:
    """A client is in the middle of the training of a round."""

    def holds(status: Status) -> bool:
        inside = any(c["name"] == name and c["state"] == "training" and c["progress"] > 0 for c in status["clients"])
        return status["round"] == number and inside

    return holds


def kept(cluster: Trained, name: str) -> dict[str, torch.Tensor]:
    return cluster.state(name, WHOLE)["private"]


def evaluated(cluster: Trained, name: str, digest: str, number: int) -> dict[str, Any]:
    """A version on a client's held-out data, with what it had kept before a round."""
    folder, place = cluster.client_folder(name), cluster.state_place(name)
    command = client_command(folder, agent.load(folder, {}))
    settings = json.loads(command[command.index("--builtin") + 1])
    operations = Operations.of(app=None, builtin=settings, device="cpu", report=lambda _: None)
    turn = Turn(number, run=cluster.known()[0], state=StatePlace(*place)).plain()
    path = cluster.place.state / "models" / f"{digest}.safetensors"
    return operations.run("evaluate", {"params": str(path), "turn": turn})


def test_norms_stay_through_kills_and_count_in_their_clients_own_figures(tmp_path: Path) -> None:
    with federation(tmp_path / "calm", "updates") as calm:
        calm.begin()
        wanted = calm.end()
        norms = {name: kept(calm, name) for name in calm.names}

    with federation(tmp_path / "rough", "updates") as rough:
        rough.begin()
        with rough.watch() as watch:
            watch.until(training("c0", 2), timeout_s=BUSY_S)
            rough.kill_agent("c0")
            watch.until(training("c1", 3), timeout_s=BUSY_S)
            rough.kill_trainer("c1")
        assert rough.end() == wanted
        assert len(set(wanted)) == ROUNDS + 1
        for name in rough.names:
            found = kept(rough, name)
            assert found.keys() == KEPT
            assert all(torch.equal(tensor, norms[name][key]) for key, tensor in found.items())
            assert int(found["norm.num_batches_tracked"]) == ROUNDS * 2 * -(-examples(rough, name) // 32)
        assert not torch.equal(kept(rough, "c0")["norm.running_mean"], kept(rough, "c1")["norm.running_mean"])

        shared = rough.shared()
        assert {t.name for t in shared.tensors} == {t.name for t in WHOLE.tensors} - KEPT
        assert {row["size_bytes"] for row in rough.rows("SELECT size_bytes FROM receipts")} == {4 * shared.size}
        assert rough.version(wanted[-1]).size == shared.size
        assert rough.process.find("the server does not evaluate")

        with closing(Store(rough.place.state)) as store:
            found = store.evaluations(ROUNDS)
        assert sorted(found) == rough.names  # nobody else, the server least of all
        for name in rough.names:
            own, fresh = (evaluated(rough, name, wanted[-1], number) for number in (ROUNDS + 1, 1))
            assert found[name].loss_sum == pytest.approx(own["loss_sum"], rel=1e-6)
            assert fresh["loss_sum"] > 2 * own["loss_sum"]  # with norms that have learnt nothing


def examples(cluster: Trained, name: str) -> int:
    """Training examples of a client, as its statements say."""
    from roughfed.wire.updates import decode_statement

    (row,) = cluster.rows(f"SELECT statement FROM receipts WHERE client = '{name}' AND round = 1")
    return decode_statement(row["statement"]).num_examples


def test_masked_as_well(tmp_path: Path) -> None:
    with federation(tmp_path, "sketches", clients=4, rounds=2) as cluster:
        cluster.begin()
        digests = cluster.end()
        assert cluster.version(digests[-1]).size == cluster.shared().size < WHOLE.size
        assert all(kept(cluster, name).keys() == KEPT for name in cluster.names)
        with closing(Store(cluster.place.state)) as store:
            assert list(store.evaluations(1)) == ["*"]
