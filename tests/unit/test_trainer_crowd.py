"""One trainer process for many clients: each gets what a process of its own would have given it."""

from pathlib import Path
from typing import Any

import pytest

from roughfed.client.trainer.crowd import KEPT, Crowd
from roughfed.client.trainer.operations import Operations
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
import numpy as np
from torch import nn
from roughfed import Client

def client_of(index, clients):
    x = np.full((20 + index, 3), index, np.float32)
    data = (x, np.arange(len(x)) % 2)
    return Client(lambda: nn.Linear(3, 2), data, data, name=f"{index} of {clients}")

one = client_of(0, 1)
number = 3
def wrong(index, clients):
    return index
"""


def test_an_own_app_is_a_function_of_the_client(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(APP)
    found = crowd(app=f"{tmp_path / 'my.py'}:client_of", builtin=None).run("describe", {"client": 4})
    assert (found["name"], found["num_train"]) == (f"4 of {CLIENTS}", 24)


@pytest.mark.parametrize(
    ("name", "words"),
    [("one", "many need a function"), ("number", "no function"), ("none", "no function"), ("wrong", "gave int")],
)
def test_an_app_that_gives_no_clients_is_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(APP)
    with pytest.raises(ConfigError, match=words) as caught:
        crowd(app=f"{tmp_path / 'my.py'}:{name}", builtin=None).run("describe", {"client": 0})
    assert caught.value.file.endswith("my.py")
