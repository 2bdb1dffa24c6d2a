"""The built-in app: a listed data set and a listed model, for the demo, `roughfed join --data` and the worker.

Called by the trainer only: models need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roughfed.client.api import Client
from roughfed.data import Dataset, load
from roughfed.data.federate import Division, federate, planted_wrong
from roughfed.data.roughness import KEYS as ROUGHNESS
from roughfed.data.stream import Stream
from roughfed.data.watched import WatchedFolder
from roughfed.errors import ConfigError

SOURCE_KEYS = {"name", "data_dir", "seed"}
DIVISION_KEYS = {"clients", "partition", "alpha", "test_fraction", "scenario", *ROUGHNESS}
DATA_KEYS = SOURCE_KEYS | DIVISION_KEYS | {"index", "folder", "part"}
MODEL_KEYS = {"name", "seed", "experts"}


def builtin(settings: Mapping[str, Any], *, division: Division | None = None) -> Client:
    """Make the Client of a built-in app.

    Args:
        settings: `{"data": {...}, "model": {...}}`, as the tables [data] and [model] of a configuration.
            data: name, data_dir, seed, and what `part` needs:
            "share" (the default with `index`): the share of client number `index` of `clients`, divided and made rough
            by the keys of `roughfed.data.federate.Options`; `folder`: its training data come from that folder instead;
            "test" (the default without `index`): the source's test set and nothing to train on, for the worker beside
            the server;
            "wrong": every wrong label that was planted in the federation and nothing to train on: accuracy is then the
            share of wrong labels that a model reproduces. It takes the clients' keys without `index`.
            model: name, experts; `seed` pins the initial weights, without it the seed of the request counts.
        division: the data of the whole federation, where one process plays many clients and has divided them already.

    Raises:
        ConfigError: an unknown key, a data set or model that is not listed, or no wrong label to evaluate on.
    """
    import torch

    from roughfed import models

    given, model = dict(settings.get("data", {})), dict(settings.get("model", {}))
    _known(settings, {"data", "model"}, "builtin")
    _known(given, DATA_KEYS, "data")
    _known(model, MODEL_KEYS, "model")
    _required(model, {"name"}, "model")
    given["data_dir"] = given.get("data_dir") or None  # empty in a configuration: where the files are usually found
    train, test = _data(given) if division is None else division.client(given["index"])
    shape, num_classes = tuple(test.x.shape[1:]), test.num_classes

    def build() -> Any:
        seed = model.get("seed")
        seed = torch.initial_seed() if seed is None else seed
        return models.build(model["name"], shape, num_classes, seed, model.get("experts", 1))

    return Client(build, train, test, name=model["name"])


def _data(given: dict[str, Any]) -> tuple[Dataset | Stream | None, Dataset]:
    """(train, test) of the part that is asked for."""
    part = given.pop("part", "share" if "index" in given else "test")
    choose = {"share": _share, "test": _test, "wrong": _wrong}
    if part not in choose:
        raise ConfigError(f"{part!r} is no part of the data", key="data.part", cure=f"one of: {', '.join(choose)}")
    return choose[part](given)


def _share(given: dict[str, Any]) -> tuple[Dataset | Stream, Dataset]:
    _required(given, {"name", "clients", "index", "seed"}, "data")
    folder = given.pop("folder", "")
    train, test = federate(given.pop("name"), **given)
    if folder:
        train = WatchedFolder(folder, num_classes=test.num_classes, shape=test.input_shape)
    return train, test


def _test(given: dict[str, Any]) -> tuple[None, Dataset]:
    _known(given, SOURCE_KEYS, "data (without index)")
    _required(given, {"name"}, "data")
    _, test = load(given.pop("name"), **given)
    return None, test


def _wrong(given: dict[str, Any]) -> tuple[None, Dataset]:
    _known(given, SOURCE_KEYS | DIVISION_KEYS, "data (part = wrong)")
    _required(given, {"name", "clients", "seed"}, "data")
    wrong = planted_wrong(given.pop("name"), **given)
    if not len(wrong):
        raise ConfigError("no wrong label was planted", key="data.noise", cure='scenario = "noisy", or noise above 0')
    return None, wrong


def _known(given: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(given) - keys):
        raise ConfigError(f"unknown: {', '.join(unknown)}", key=where, cure=f"one of: {', '.join(sorted(keys))}")


def _required(given: Mapping[str, Any], keys: set[str], where: str) -> None:
    if missing := sorted(keys - set(given)):
        raise ConfigError(f"missing: {', '.join(missing)}", key=where)
