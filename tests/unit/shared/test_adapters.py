"""A frozen base and adapters on it: nothing moves at the start, only adapters learn, and merging changes nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from roughfed.adapters import (
    adapted_spec,
    chosen,
    divided_like,
    factor_names,
    merged,
    rank_of,
    ranks_in,
    split,
)
from roughfed.client.trainer.model.adapters import adaptable, stand_on
from roughfed.client.trainer.model.private import private_tensors
from roughfed.client.trainer.model.tensors import load_flat, pieces, spec_of
from roughfed.config.federation import FederationConfig
from roughfed.errors import ConfigError
from roughfed.models import build
from roughfed.params import read_flat, unflatten, write_model
from roughfed.server.model.frozen import ModelDivision, divide, lay
from roughfed.trainer_client import Description
from roughfed.training import BaseFile
from roughfed.types import Spec, TensorSpec

SHAPE = (1, 8, 8)
X = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1))
HEADS = {"mlp": "fc3", "cnn-strided": "fc2", "resnet-8-bn": "fc", "transformer": "fc", "logistic": "fc"}


def describe(model: nn.Module) -> Description:
    return Description(spec_of(model), "classification", 1, 1, 10, "cpu", "app", {}, adaptable=tuple(adaptable(model)))


@dataclass
class Laid:
    """A model that was divided by the server's code, and put together again by the trainer's."""

    fresh: nn.Module
    model: nn.Module
    division: ModelDivision
    shared: dict[str, np.ndarray]
    base: dict[str, np.ndarray]


def laid(folder: Path, name: str = "mlp", **settings: object) -> Laid:
    fresh = build(name, SHAPE, 10, 0).eval()
    division = divide(describe(fresh), FederationConfig.model_validate({"model": settings}))
    weights = folder / "initial.safetensors"
    write_model(weights, division.whole, pieces(fresh))
    _, base = lay(division, weights, division.whole, folder=folder, seed=3)
    assert base is not None
    model = build(name, SHAPE, 10, 99)  # with other weights
    stand_on(model, BaseFile(folder / "base.safetensors", base.scale), division.shared.tensors)
    shared = Spec(tuple(t for t in spec_of(model).tensors if t.name in {s.name for s in division.shared.tensors}))
    flat = np.array(read_flat(weights))
    load_flat(model, shared, flat)
    frozen = unflatten(np.array(read_flat(folder / "base.safetensors")), base.spec)
    return Laid(fresh, model.eval(), division, unflatten(flat, shared), frozen)


@pytest.mark.parametrize("name", HEADS)
def test_before_the_first_round_it_is_the_base_to_the_bit_and_only_adapters_get_gradients(
    name: str, tmp_path: Path
) -> None:
    head = f"{HEADS[name]}.bias"
    scene = laid(tmp_path, name, adapters=4, adapt=["*"], train=[head])
    model = scene.model
    assert torch.equal(model(X), scene.fresh(X))
    model.train()
    assert torch.equal(copy.deepcopy(model).train()(X), scene.fresh(X))  # normalisation goes by what is frozen
    model(X).square().sum().backward()
    moved = {each for each, p in model.named_parameters() if p.grad is not None}
    assert moved == {each for each, _ in model.named_parameters() if ".lora_" in each or each == head}
    factors = {each for weight in adaptable(scene.fresh) for each in factor_names(weight)}
    assert {t.name for t in scene.division.shared.tensors} == factors | {head}


@pytest.mark.parametrize("train_a", [True, False])
def test_a_merged_model_is_the_adapted_one(train_a: bool, tmp_path: Path) -> None:
    scene = laid(tmp_path, "cnn-strided", adapters=8, adapt=["*"], adapter_alpha=16.0, train_a=train_a)
    generator = torch.Generator().manual_seed(5)
    shared = {name: torch.randn(v.shape, generator=generator).numpy() for name, v in scene.shared.items()}
    spec = Spec(tuple(t for t in spec_of(scene.model).tensors if t.name in shared))
    load_flat(scene.model, spec, np.concatenate([shared[t.name].reshape(-1) for t in spec.tensors]))
    whole = merged(scene.base, shared, scene.division.scale)
    assert {name: v.shape for name, v in whole.items()} == {t.name: t.shape for t in scene.division.whole.tensors}
    scene.fresh.load_state_dict({name: torch.from_numpy(v) for name, v in whole.items()})
    wanted = scene.model(X).detach()
    assert torch.allclose(scene.fresh(X), wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
    assert not torch.equal(wanted, build("cnn-strided", SHAPE, 10, 0).eval()(X))
    assert any(name.endswith("lora_a") for name in scene.base) is not train_a


def test_the_mean_of_updates_is_the_mean_of_the_adapted_weights_where_a_is_frozen(tmp_path: Path) -> None:
    scene = laid(tmp_path, adapters=4, train_a=False)
    rng = np.random.default_rng(0)
    updates = [{n: rng.normal(size=v.shape).astype(np.float32) for n, v in scene.shared.items()} for _ in range(3)]
    mean = {n: np.mean([u[n] for u in updates], axis=0) for n in scene.shared}
    each = [merged(scene.base, u, 1.0)["fc1.weight"] for u in updates]
    assert np.allclose(merged(scene.base, mean, 1.0)["fc1.weight"], np.mean(each, axis=0), atol=1e-5)


def test_frozen_tensors_are_in_no_update_and_private_ones_in_neither_file(tmp_path: Path) -> None:
    scene = laid(tmp_path, "resnet-8-bn", frozen=["conv*", "stage*"], private=["norm.*"])
    names = {t.name for t in scene.division.shared.tensors}
    assert names == {t.name for t in scene.division.whole.tensors} - scene.base.keys() - {
        "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"
    }  # fmt: skip
    shared = Spec(tuple(t for t in spec_of(scene.model).tensors if t.name in names))
    assert private_tensors(scene.model, shared).keys() >= {"norm.weight", "norm.running_var"}
    assert not private_tensors(scene.model, shared).keys() & scene.base.keys()


SHAPES = {"a.weight": (8, 4), "a.bias": (8,), "c.weight": (6, 2, 3, 3), "norm.weight": (6,), "weight": (3, 5)}
MODEL = Spec(tuple(TensorSpec(name, shape) for name, shape in SHAPES.items()))
ABLE = ("a.weight", "c.weight", "weight")


@given(rank=st.integers(1, 50), patterns=st.sets(st.sampled_from(["a.*", "c.*", "weight", "*"])))
def test_specs_with_adapters_say_which_there_are(rank: int, patterns: set[str]) -> None:
    ranks = chosen(MODEL, ABLE, rank, sorted(patterns))
    whole = adapted_spec(MODEL, ranks)
    assert ranks_in(whole.tensors) == ranks
    assert all(ranks[name] == rank_of(t, rank) for t in MODEL.tensors if (name := t.name) in ranks)
    assert {t.name for t in whole.tensors} == {t.name for t in MODEL.tensors} | {
        each for name in ranks for each in factor_names(name)
    }
    rest, frozen = split(whole, lambda t: t in MODEL.tensors)
    assert divided_like(MODEL, ABLE, rest, frozen) == (rest, frozen)


def test_a_layer_that_this_client_has_not_is_refused_by_name() -> None:
    rest, frozen = split(adapted_spec(MODEL, {"c.weight": 2}), lambda t: t in MODEL.tensors)
    with pytest.raises(ConfigError, match=r"an adapter on c\.weight"):
        divided_like(MODEL, ("a.weight",), rest, frozen)


WRONG = [
    ({"adapters": 2, "adapt": ["norm.*"]}, "model.adapt", "matches no weight of a linear layer"),
    ({"adapters": 2, "train": ["nothing.*"]}, "model.train", "matches no tensor"),
    ({"adapters": 2, "train": ["*"]}, "model.adapters", "no layer of this model gets an adapter"),
    ({"adapters": 2, "private": ["*lora*"]}, "model.private", "both factors"),
    ({"frozen": ["body"]}, "model.frozen", "matches no tensor"),
    ({"frozen": ["*"]}, "model.frozen", "leave nothing to train"),
]


@pytest.mark.parametrize(("settings", "key", "why"), WRONG)
def test_what_leaves_nothing_to_learn_is_refused(settings: dict[str, object], key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        divide(describe(build("mlp", SHAPE, 10, 0)), FederationConfig.model_validate({"model": settings}))
    assert caught.value.key == key


def test_another_models_base_and_tied_weights(tmp_path: Path) -> None:
    laid(tmp_path, adapters=4)
    with pytest.raises(ConfigError, match="is the base of another model"):
        stand_on(build("mlp", (1, 4, 4), 10, 0), BaseFile(tmp_path / "base.safetensors"))
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert adaptable(nn.Sequential(tied, nn.Linear(4, 2))) == ["1.weight"]
