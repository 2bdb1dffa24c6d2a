"""Models of one's own between real processes: compared behind masks, written by their client, and never sent."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from roughfed.client.trainer.model.tensors import spec_of
from roughfed.models import build
from roughfed.secagg.statistics import ACCURACY_BUCKETS
from roughfed.server.masked.journal import Stages
from roughfed.server.storage.store import Store

from .federation import environment
from .trained import BUSY_S, ROUGHFED, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS, ROUNDS = 4, 2
HEAD = "fc3"
WHOLE = spec_of(build("mlp", (1, 8, 8), 10, 0, 1))


def federation(folder: Path, sees: str, method: str) -> Trained:
    settings: dict[str, dict[str, object]] = {
        "model": {"name": "mlp", "private": [f"{HEAD}.*"]},
        "trainer": {"epochs": 2, "method": method, "compare_alone": True},
        "privacy": {"server_sees": sees},
        "defence": {"rule": "none"},
        "round": {"deadline": "400s", "evaluate_every": 1, "quorum": 1.0},
    }
    return Trained(folder, clients=CLIENTS, rounds=ROUNDS, settings=settings)


def own_model(cluster: Trained, name: str, out: Path) -> dict[str, torch.Tensor]:
    """What `roughfed personal` writes."""
    command = [*ROUGHFED, "personal", "--dir", str(cluster.client_folder(name)), "--out", str(out)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=BUSY_S, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(out)


def traces(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Bytes by which a tensor's values would be found: some of its weights that are not all zero."""
    rows = {name: tensor.reshape(-1)[:4].numpy().tobytes() for name, tensor in tensors.items() if tensor.numel() >= 4}
    return {name: trace for name, trace in rows.items() if any(trace)}


def test_behind_masks_only_sums_tell_of_them_and_nothing_of_them_is_sent(tmp_path: Path) -> None:
    with federation(tmp_path, "sketches", "ditto(lambda=0.5)") as cluster:
        cluster.begin()
        digests = cluster.end()
        with closing(Store(cluster.place.state)) as store:
            sums = Stages(store.journal).statistics(ROUNDS)
            for name in ("accuracy-histogram", "personal-histogram", "alone-histogram"):
                assert len(sums[name]) == ACCURACY_BUCKETS
                assert sum(sums[name]) == CLIENTS
            worse, compared = sums["worse-than-alone"]
            assert 0 <= worse <= compared == CLIENTS
            assert not any(store.evaluations(v, kind=k) for v, _ in store.versions() for k in ("personal", "alone"))

        arrived = {p: p.read_bytes() for p in cluster.place.folder.rglob("*") if p.is_file()}
        for name in cluster.names:
            made = own_model(cluster, name, tmp_path / f"{name}.safetensors")
            assert list(made)
            assert set(made) == {t.name for t in WHOLE.tensors}
            kept = cluster.state(name, WHOLE)
            assert all(torch.equal(made[key], tensor) for key, tensor in kept["ditto"].items())
            for part in ("ditto", "alone", "private"):
                found = {
                    key: trace for key, trace in traces(kept[part]).items() if any(trace in b for b in arrived.values())
                }
                assert not found, (name, part)
        assert any(trace in data for data in arrived.values() for trace in traces(shared(cluster, digests)).values())
        statements = [row["statement"] for row in cluster.rows("SELECT statement FROM receipts")]
        assert statements
        assert not any(HEAD.encode() in statement for statement in statements)


def shared(cluster: Trained, digests: list[str]) -> dict[str, torch.Tensor]:
    """The newest global model: its bytes are found where they are looked for."""
    found = load_file(cluster.place.state / "models" / f"{digests[-1]}.safetensors")
    assert not any(name.startswith(HEAD) for name in found)
    return found


def test_in_the_clear_every_client_says_how_its_models_do(tmp_path: Path) -> None:
    with federation(tmp_path, "updates", "fine-tune(epochs=2)") as cluster:
        cluster.begin()
        cluster.end()
        with closing(Store(cluster.place.state)) as store:
            for version in range(ROUNDS + 1):
                base, own, alone = (store.evaluations(version, kind=k) for k in ("global", "personal", "alone"))
                assert sorted(base) == sorted(own) == sorted(alone) == cluster.names
                examples = {name: e.num_examples for name, e in base.items()}
                assert {name: e.num_examples for name, e in own.items()} == examples
                assert {name: e.num_examples for name, e in alone.items()} == examples
            newest = [store.evaluations(ROUNDS, kind=kind) for kind in ("global", "personal")]
        losses = [sum(e.loss or 0.0 for e in found.values()) for found in newest]
        assert losses[1] < losses[0]  # two more epochs on data like those that it is evaluated on
        made = own_model(cluster, "c0", tmp_path / "c0.safetensors")
        assert set(made) == {t.name for t in WHOLE.tensors}
        assert any(not torch.equal(made[k], t) for k, t in shared(cluster, cluster.model_digests()).items())
