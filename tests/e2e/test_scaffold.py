"""SCAFFOLD between real processes: c is the mean of what the clients keep, whoever is killed, clipped or excluded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.client.trainer.model.tensors import spec_of
from roughfed.client.trainer.parts import Controls
from roughfed.client.trainer.regularize.scaffold import settle
from roughfed.models import build
from roughfed.shared_tensors import has_controls, model_part

from .trained import BUSY_S, Trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

Status = dict[str, Any]
WHOLE = spec_of(build("mlp", (1, 8, 8), 10, 0, 1))
METHOD = {"method": "scaffold(steps=20)", "lr": 0.05, "momentum": 0.0}
LONG = {"epochs": 60}
"""A second or more of training: time to meet it in the middle."""


def tables(sees: str, **more: Mapping[str, object]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {
        "trainer": {**METHOD, "epochs": 3},
        "privacy": {"server_sees": sees},
        "round": {"deadline": "400s", "quorum": 1.0},
    }
    for table, values in more.items():
        found.setdefault(table, {}).update(values)
    return found


def own_variate(cluster: Trained, name: str) -> np.ndarray:
    """c_i of a client, after the server's word on its last training."""
    state = cluster.state(name, WHOLE)["scaffold"]
    settle(state, Controls({}, 1.0, cluster.said(name)))
    return state["own"].double().numpy() if "own" in state else np.zeros(WHOLE.size)


def training(name: str, number: int) -> Callable[[Status], bool]:
    """A client is in the middle of the training of a round."""

    def holds(status: Status) -> bool:
        inside = any(c["name"] == name and c["state"] == "training" and c["progress"] > 0 for c in status["clients"])
        return status["round"] == number and inside

    return holds


def done(name: str, number: int) -> Callable[[Status], bool]:
    """A client has delivered in a round, and others still train."""

    def holds(status: Status) -> bool:
        states = {c["name"]: c["state"] for c in status["clients"]}
        return status["round"] == number and states.get(name) == "received"

    return holds


def gap(cluster: Trained, digests: list[str], names: list[str]) -> float:
    """How far c is from the mean of the c_i of some clients, as a part of it."""
    spec = cluster.shared()
    assert has_controls(spec)
    assert model_part(spec) == WHOLE
    c = cluster.version(digests[-1])[WHOLE.size :].astype(np.float64)
    mean = np.mean([own_variate(cluster, name) for name in names], axis=0)
    assert np.linalg.norm(c) > 1e-3
    return float(np.linalg.norm(c - mean) / np.linalg.norm(mean))


def test_kills_change_no_bit_of_either_half(tmp_path: Path) -> None:
    settings = tables("updates", trainer=LONG)
    with Trained(tmp_path / "calm", clients=3, rounds=4, settings=settings) as calm:
        calm.begin()
        wanted = calm.end()
        assert gap(calm, wanted, calm.names) < 1e-4
    assert len(set(wanted)) == 5

    with Trained(tmp_path / "rough", clients=3, rounds=4, settings=settings) as rough:
        rough.begin()
        with rough.watch() as watch:
            watch.until(training("c0", 2), timeout_s=BUSY_S)
            rough.kill_trainer("c0")
            watch.until(training("c1", 3), timeout_s=BUSY_S)
            rough.kill_agent("c1")
            watch.until(done("c2", 3), timeout_s=BUSY_S)  # it hears the server's word after it is back
            rough.kill_agent("c2")
        assert rough.end() == wanted
        assert gap(rough, wanted, rough.names) < 1e-4


def test_masked_and_clipped_the_sum_and_the_clients_agree(tmp_path: Path) -> None:
    settings = tables("sketches", codec={"clip_norm": 0.5})  # far below the first updates: all are clipped
    with Trained(tmp_path, clients=4, rounds=4, settings=settings) as cluster:
        cluster.begin()
        digests = cluster.end()
        shares = [cluster.said(name) for name in cluster.names]
        assert all(0 < said[1] < 1 for said in shares)
        found = gap(cluster, digests, cluster.names)
        assert found < 0.05  # what the quantisers of both ways still owe
        (uploads,) = {row["size_bytes"] for row in cluster.rows("SELECT size_bytes FROM receipts")}
        assert uploads > cluster.shared().size > 2 * 0.99 * WHOLE.size


def test_an_excluded_update_enters_neither_half(tmp_path: Path) -> None:
    settings = tables("updates", defence={"rule": "multi-krum", "f": 1})
    hostile = {"c4": "sign-flip-10"}
    with Trained(tmp_path, clients=5, rounds=3, settings=settings, partition="iid", hostile=hostile) as cluster:
        cluster.begin()
        digests = cluster.end()
        assert all("c4" not in names for names in cluster.accepted().values())
        assert not cluster.said("c4")
        assert not own_variate(cluster, "c4").any()
        accepted = sorted({name for names in cluster.accepted().values() for name in names})
        assert gap(cluster, digests, accepted) < 1e-4
