"""The built-in app: a listed data set and a listed model, for the demo, `roughfed join --data` and the worker.

Imported by the trainer only: data and models need torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roughfed.client.api import Client
from roughfed.errors import ConfigError

DATA_KEYS = {"name", "data_dir", "clients", "index", "partition", "alpha", "scenario", "seed", "test_fraction"}
MODEL_KEYS = {"name", "seed"}


def builtin(settings: Mapping[str, Any]) -> Client:
    """Make the Client of a built-in app.

    Args:
        settings: `{"data": {...}, "model": {...}}`, as the tables [data] and [model] of a configuration.
            data: name, data_dir, seed; with `index` also clients, partition, alpha, scenario, test_fraction: the share
            of client number `index`. Without `index`: the worker beside the server, which holds the source's test set
            and nothing to train on.
            model: name; `seed` pins the initial weights, without it the seed of the request counts.

    Raises:
        ConfigError: an unknown key, or a data set or model that is not listed.
    """
    import torch

    from roughfed import models
    from roughfed.data import load
    from roughfed.data.federate import federate

    given, model = dict(settings.get("data", {})), dict(settings.get("model", {}))
    _known(settings, {"data", "model"}, "builtin")
    _known(given, DATA_KEYS, "data")
    _known(model, MODEL_KEYS, "model")
    _required(model, {"name"}, "model")
    given["data_dir"] = given.get("data_dir") or None  # empty in a configuration: where the files are usually found
    if "index" in given:
        _required(given, {"name", "clients", "seed"}, "data")
        train, test = federate(given.pop("name"), **given)
    else:
        _known(given, {"name", "data_dir", "seed"}, "data (without index)")
        _required(given, {"name"}, "data")
        train, (_, test) = None, load(given.pop("name"), **given)
    shape, num_classes = tuple(test.x.shape[1:]), test.num_classes

    def build() -> Any:
        seed = model.get("seed")
        return models.build(model["name"], shape, num_classes, torch.initial_seed() if seed is None else seed)

    return Client(build, train, test, name=model["name"])


def _known(given: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(given) - keys):
        raise ConfigError(f"unknown: {', '.join(unknown)}", key=where, cure=f"one of: {', '.join(sorted(keys))}")


def _required(given: Mapping[str, Any], keys: set[str], where: str) -> None:
    if missing := sorted(keys - set(given)):
        raise ConfigError(f"missing: {', '.join(missing)}", key=where)
