"""One trainer process for many clients: each gets what a process of its own would have given it."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.trainer import faults
from roughfed.client.trainer.load import MODULE, load_first
from roughfed.client.trainer.operations import Operations
from roughfed.client.trainer.virtual_clients import KEPT, Crowd
from roughfed.errors import ConfigError
from roughfed.training import Turn

CLIENTS = 12
DATA: dict[str, Any] = {"name": "digits", "seed": 3, "partition": "dirichlet", "alpha": 0.5, "scenario": "noisy"}
MODEL = {"name": "mlp"}
SETTINGS: dict[str, Any] = {"epochs": 1, "lr": 0.1}


def crowd(**given: Any) -> Crowd:
    whole: dict[str, Any] = {"app": None, "builtin": {"data": DATA, "model": MODEL}} | given
    return Crowd(clients=CLIENTS, device="cpu", report=lambda _: None, **whole)


def alone(index: int) -> Operations:
    builtin = {"data": {**DATA, "clients": CLIENTS, "index": index}, "model": MODEL}
    return Operations.of(app=None, builtin=builtin, device="cpu", report=lambda _: None)


def trained(operations: Crowd | Operations, folder: Path, index: int) -> bytes:
    """The delta of one training of one client."""
    folder.mkdir()
    params, delta = folder / "params.safetensors", folder / "delta"
    operations.run("initial", {"client": index, "path": str(params), "seed": 1})
    files = {"params": str(params), "delta": str(delta)}
    given = {"settings": SETTINGS, "seed": 5, "turn": Turn(1, 2).plain()}
    operations.run("fit", {"client": index, **files, **given})
    return delta.read_bytes()


def test_a_client_of_a_crowd_trains_as_it_would_alone(tmp_path: Path) -> None:
    together = crowd()
    for turn, index in enumerate((0, 7, 0, 11)):
        here = trained(together, tmp_path / f"{turn}-together", index)
        assert here == trained(alone(index), tmp_path / f"{turn}-alone", index)


def test_they_describe_themselves_and_only_a_few_are_kept() -> None:
    together = crowd()
    found = [together.run("describe", {"client": index}) for index in range(CLIENTS)]
    assert found == [alone(index).run("describe", {}) for index in range(CLIENTS)]
    assert len({each["num_train"] for each in found}) > 1
    assert len(together._known) == KEPT  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("index", [-1, CLIENTS, None, "0", 1.0])
def test_a_client_that_is_not_there_is_refused(index: object) -> None:
    with pytest.raises(ConfigError, match=f"of {CLIENTS} does not exist"):
        crowd().run("describe", {"client": index})


APP = """\
import random
import numpy as np
import torch
from torch import nn
from roughfed import Client

order = np.random.permutation(100)  # drawn when the file is loaded: every process has to draw the same

def client_of(index, clients):
    x = np.full((20 + index, 3), index, np.float32)
    data = (x, np.arange(len(x)) % 2)
    return Client(lambda: nn.Linear(3, 2), data, data, name=f"{index} of {clients}")

calls = 0
def drawing(index, clients):
    global calls
    calls += 1
    def load():
        x = np.random.normal(size=(20, 3)) + order[index] + random.random()
        return x.astype(np.float32), np.arange(20) % 2
    return Client(nn.Linear(3, 2), load, load)

shared = drawing(0, 1)
def sharing(index, clients):
    return shared

one = client_of(0, 1)
number = 3
def wrong(index, clients):
    return index

def alone(index):
    return one

def failing(index, clients):
    return {}[index]
"""


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, MODULE, sys)


def own(folder: Path, name: str, *, seed: int = 0) -> Crowd:
    (folder / "my.py").write_text(APP)
    return crowd(app=f"{folder / 'my.py'}:{name}", builtin=None, seed=seed)


def test_an_own_app_is_a_function_of_the_client(tmp_path: Path) -> None:
    together = own(tmp_path, "client_of")
    for index in (4, 0, 4):
        found = together.run("describe", {"client": index})
        assert (found["name"], found["num_train"]) == (f"{index} of {CLIENTS}", 20 + index)


@pytest.mark.parametrize("name", ["drawing", "sharing"])
def test_what_an_own_app_draws_follows_from_seed_and_index_alone(name: str, tmp_path: Path) -> None:
    one, other = own(tmp_path, name), own(tmp_path, name)
    first = trained(one, tmp_path / "first", 3)
    trained(other, tmp_path / "before", 5)  # another process, another client before
    assert trained(other, tmp_path / "after", 3) == trained(one, tmp_path / "again", 3) == first
    assert trained(own(tmp_path, name, seed=1), tmp_path / "seed", 3) != first


def test_a_client_of_an_own_app_is_made_anew_for_every_request(tmp_path: Path) -> None:
    together = own(tmp_path, "drawing")
    for _ in range(3):
        together.run("describe", {"client": 0})
    assert sys.modules[MODULE].calls == 1 + 3  # and once by the file itself
    assert not together._known  # pyright: ignore[reportPrivateUsage]


def test_the_worker_of_an_own_app_has_the_first_ones_model_and_no_data_to_evaluate_on(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(APP)
    app = f"{tmp_path / 'my.py'}:drawing"
    worker = Operations(client=partial(load_first, app, CLIENTS), device="cpu", report=lambda _: None)
    first = own(tmp_path, "drawing").run("describe", {"client": 0})
    found = worker.run("describe", {})
    assert (found["spec"], found["num_classes"], found["num_test"]) == (first["spec"], 2, 0)
    files = [tmp_path / "a", tmp_path / "b"]
    again = Operations(client=partial(load_first, app, CLIENTS), device="cpu", report=lambda _: None)
    for operations, file in zip((worker, again), files, strict=True):  # a module, whose weights the file has drawn
        operations.run("initial", {"path": str(file), "seed": 1})
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("one", "is one Client.*many need a function"),
        ("number", "number is no function"),
        ("none", "no function none"),
        ("drawin", "no function drawin.*did you mean 'drawing'"),
        ("wrong", r"my.py:29: app: wrong\(0, 12\) gave int"),
        ("alone", r"my.py:32: app: alone cannot be called as alone\(index, clients\): too many positional"),
        ("failing", r"my.py:36: KeyError: 0"),
    ],
)
def test_an_app_that_gives_no_clients_is_refused(name: str, words: str, tmp_path: Path) -> None:
    together = own(tmp_path, name)
    said = faults.answered(lambda: together.run("describe", {"client": 0}))["error"]
    assert re.search(words, said["message"])
    assert "my.py" in said["message"]
