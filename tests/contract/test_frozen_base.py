"""Laws of the trainer's rooms on a frozen base: whatever trains, the base stays, and what travels moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from roughfed.adapters import LORA_B, adapted_spec, chosen, split
from roughfed.client.trainer.model.adapters import adaptable, stand_on
from roughfed.client.trainer.model.tensors import named_state, pieces, spec_of
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.config.federation import FederationConfig
from roughfed.config.frozen import frozen_conflicts
from roughfed.methods import read_method
from roughfed.params import unflatten, write_model
from roughfed.training import BaseFile, Turn

from .test_trainer_rooms import CLASSIFICATION, SKEWED, C, data_of, net_for

ADAPTED = {"model": {"adapters": 2}}
FITTING = [
    method
    for method in CLASSIFICATION
    if "private" not in read_method(method).needs
    and not list(frozen_conflicts(FederationConfig.model_validate({**ADAPTED, "trainer": {"method": method}})))
]

QUICK = ("ewc", "gem", "meta-weight-net", "fedprox")
"""Each goes through the parameters in a way of its own."""


def test_most_parts_fit_and_those_that_train_a_whole_model_do_not() -> None:
    refused = {m.partition("(")[0] for m in set(CLASSIFICATION) - set(FITTING)}
    assert refused - {"fedrep"} == {
        "co-teaching", "jocor", "divide-mix", "packnet", "crt", "tau-norm", "scaffold"
    }  # fmt: skip


@pytest.mark.parametrize("method", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in FITTING])
def test_the_base_stays_and_the_adapters_move(method: str, tmp_path: Path) -> None:
    net = net_for(method)
    whole = spec_of(net)
    ranks = chosen(whole, adaptable(net), 2, [])
    shared, frozen = split(adapted_spec(whole, ranks), lambda t: t.name in {w.name for w in whole.tensors})
    first = dict(zip((t.name for t in whole.tensors), pieces(net), strict=True))
    write_model(tmp_path / "base", frozen, [first[t.name] for t in frozen.tensors])
    stand_on(net, BaseFile(tmp_path / "base"), shared.tensors)
    write_model(tmp_path / "model", shared, [0.1 * np.ones(shared.size, dtype=np.float32)])
    settings = TrainerSettings.parse({"method": method, "epochs": 2, "batch_size": 8, "lr": 0.1, "weight_decay": 0.01})
    needs = read_method(method).needs
    facts = {"transition": tuple(np.eye(C).ravel())} if "transition" in needs else {}
    work = Work(
        tmp_path / "model",
        tmp_path / "delta",
        settings,
        0,
        Turn(1, facts=facts),
        C,
        task=0,
        clean=data_of([0, 1, 2, 3]),
    )
    fit(net, data_of(SKEWED), work, report=lambda _: None)
    for name, tensor in named_state(net):
        if name in first:
            assert torch.equal(tensor.reshape(-1), torch.from_numpy(first[name])), name
    delta = unflatten(np.fromfile(tmp_path / "delta", dtype="<f4"), shared)
    assert any(np.abs(part).max() > 0 for name, part in delta.items() if name.endswith(LORA_B))


def test_a_class_of_clients_may_train_some_of_the_adapters_alone(tmp_path: Path) -> None:
    net = net_for("plain")
    whole = spec_of(net)
    ranks = chosen(whole, adaptable(net), 2, [])
    shared, base = split(adapted_spec(whole, ranks), lambda t: t.name in {w.name for w in whole.tensors})
    first = dict(zip((t.name for t in whole.tensors), pieces(net), strict=True))
    write_model(tmp_path / "base", base, [first[t.name] for t in base.tensors])
    stand_on(net, BaseFile(tmp_path / "base"), shared.tensors)
    write_model(tmp_path / "model", shared, [0.1 * np.ones(shared.size, dtype=np.float32)])
    settings = TrainerSettings.parse({"epochs": 1, "batch_size": 8})
    work = Work(tmp_path / "model", tmp_path / "delta", settings, 0, Turn(1, tensors=("heads.0.*",)), C)
    fit(net, data_of(SKEWED), work, report=lambda _: None)
    moved = {name for name, t in named_state(net) if ".lora_" in name and not torch.all(t == torch.tensor(0.1))}
    assert moved == {"heads.0.lora_a", "heads.0.lora_b"}
    assert np.fromfile(tmp_path / "delta", dtype="<f4").size == 2 * 8 + 4 * 2
