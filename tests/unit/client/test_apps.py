"""The built-in app: which part of a listed data set it trains and evaluates on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roughfed.client.apps import builtin
from roughfed.config.client import ClientData
from roughfed.data import Dataset, load
from roughfed.data.federate import federate, planted_wrong
from roughfed.data.stream import Tasks
from roughfed.data.watched import WatchedFolder
from roughfed.errors import ConfigError
from roughfed.models.experts import Experts

MODEL = {"name": "mlp"}
ROUGH: dict[str, Any] = {"scenario": "rough", "noise": 0.5, "tasks": 3, "rounds_per_task": 2, "stagger": 1}


def app(data: dict[str, Any], model: dict[str, Any] | None = None) -> Any:
    return builtin({"data": data, "model": model or MODEL})


def test_a_share_is_as_rough_as_client_toml_says() -> None:
    toml = ClientData(name="digits", clients=4, index=1, seed=7, **ROUGH).model_dump()
    client = app(toml)
    want, held = federate("digits", clients=4, index=1, seed=7, **ROUGH)
    assert isinstance(client.train, Tasks)
    assert isinstance(want, Tasks)
    for round in (1, 2, 3, 4, 9):
        np.testing.assert_array_equal(client.train.at(round).ids, want.at(round).ids)
        np.testing.assert_array_equal(client.train.at(round).y, want.at(round).y)
    np.testing.assert_array_equal(client.test.ids, held.ids)


def test_the_planted_wrong_labels_can_be_evaluated_on() -> None:
    client = app({"name": "digits", "clients": 4, "seed": 7, "part": "wrong", **ROUGH})
    want = planted_wrong("digits", clients=4, seed=7, **ROUGH)
    assert client.train is None
    np.testing.assert_array_equal(client.test.y, want.y)
    assert len(want)


def test_without_an_index_it_is_the_common_test_set() -> None:
    client = app({"name": "digits", "seed": 7})
    assert client.train is None
    np.testing.assert_array_equal(client.test.ids, load("digits", seed=7)[1].ids)


def test_a_folder_takes_the_place_of_the_part_and_the_held_out_examples_stay(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 1, 8, 8)), y=np.arange(5))
    toml = ClientData(name="digits", clients=4, index=1, seed=7, folder=str(tmp_path)).model_dump()
    client = app(toml)
    assert isinstance(client.train, WatchedFolder)
    found = client.train.at(1)
    assert isinstance(found, Dataset)
    assert (len(found), found.num_classes, found.input_shape) == (5, 10, (1, 8, 8))
    held = federate("digits", clients=4, index=1, seed=7)[1]
    np.testing.assert_array_equal(client.test.ids, held.ids)


def test_the_model_has_as_many_experts_as_asked() -> None:
    model = app({"name": "digits", "seed": 7}, {"name": "resnet-8", "experts": 3, "seed": 1}).model()
    assert isinstance(model, Experts)
    assert model.each(torch.zeros(2, 1, 8, 8)).shape == (3, 2, 10)


@pytest.mark.parametrize(
    ("data", "model", "cause"),
    [
        ({"name": "digits", "seed": 0, "part": "all"}, MODEL, "'all' is no part"),
        ({"name": "digits", "seed": 0, "part": "wrong"}, MODEL, "missing: clients"),
        ({"name": "digits", "seed": 0, "clients": 4, "part": "wrong"}, MODEL, "no wrong label"),
        ({"name": "digits", "seed": 0, "clients": 4, "index": 1, "part": "wrong"}, MODEL, "unknown: index"),
        ({"name": "digits", "seed": 0, "clients": 4, "part": "share"}, MODEL, "missing: index"),
        ({"name": "digits", "seed": 0, "noise": 0.4}, MODEL, "unknown: noise"),
        ({"name": "digits", "seed": 0, "colour": 1}, MODEL, "unknown: colour"),
        ({"name": "digits", "seed": 0}, {"name": "mlp", "heads": 2}, "unknown: heads"),
    ],
)
def test_settings_that_cannot_be_are_refused(data: dict[str, Any], model: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        app(data, model)
