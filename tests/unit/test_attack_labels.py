"""Label flipping: the trainer's own data, y -> C - 1 - y, in every form in which an app may give them."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from roughfed.child import Trainer, trainer_command
from roughfed.client.trainer.data import open_source
from roughfed.client.trainer.load import load_app
from roughfed.data.dataset import Dataset
from roughfed.data.federate import federate
from roughfed.data.stream import Tasks, tasks_of
from roughfed.deploy.attack.apps import FILE, FlippedStream, flipped, flipping_command, label_flipped
from roughfed.errors import ConfigError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 2, 1, 0, 2, 2])
FLIPPED = [2, 0, 1, 2, 0, 0]

APP = """
import numpy as np
from torch import nn
from roughfed import Client

X, Y = np.zeros((6, 2), dtype=np.float32), np.array([0, 2, 1, 0, 0, 0])
own = Client(lambda: nn.Linear(2, 3), (X, Y), (X, Y), name="mine")
"""


class Map(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.as_tensor(X[index]), torch.as_tensor(Y[index])


TENSORS = TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
GIVEN = {
    "arrays": (X, Y),
    "tensors": (torch.as_tensor(X), torch.as_tensor(Y)),
    "a function": lambda: (X, Y),
    "a tensor data set": TENSORS,
    "a data set": Map(),
    "a loader": DataLoader(Map(), batch_size=4),
    "a listed data set": Dataset(X, Y, np.arange(6), 3, "toy"),
}


@pytest.mark.parametrize("form", GIVEN)
def test_labels_are_flipped_and_inputs_stay(form: str) -> None:
    before = Y.copy()
    source = open_source(flipped(GIVEN[form]), torch.device("cpu"), torch.float32)
    batches = list(source.epoch(4, None))
    assert torch.cat([y for _, y in batches]).tolist() == FLIPPED
    np.testing.assert_array_equal(torch.cat([x for x, _ in batches]).numpy(), X)
    np.testing.assert_array_equal(Y, before)  # the owner's own arrays


def test_classes_are_those_of_the_task_where_the_data_know_them() -> None:
    _, y = flipped(Dataset(X, Y, np.arange(6), 10, "toy"))
    assert y.tolist() == [9, 7, 8, 9, 7, 7]


def test_measured_values_cannot_be_flipped() -> None:
    with pytest.raises(ConfigError) as caught:
        flipped((X, Y.astype(np.float32)))
    assert caught.value.key == "label-flip"


def test_an_own_app_is_wrapped_in_a_file_that_the_trainer_loads(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP)
    command = flipping_command(trainer_command(app=f"{tmp_path / 'mine.py'}:own", threads=1), tmp_path / "state")
    assert command[-2:] == ["--app", f"{tmp_path / 'state' / FILE}:client"]
    client = load_app(command[-1])
    assert client.name == "mine"
    assert client.train()[1].tolist() == [2, 0, 1, 2, 2, 2]
    assert client.test[1].tolist() == [0, 2, 1, 0, 0, 0]  # it evaluates honestly


def test_a_listed_app_is_wrapped_too() -> None:
    data = {"name": "digits", "clients": 4, "index": 1, "seed": 0}
    client = label_flipped("builtin", json.dumps({"data": data, "model": {"name": "mlp"}}))
    honest = client.train.args[0]
    np.testing.assert_array_equal(client.train()[1], 9 - honest.y)


def test_the_labels_of_a_stream_are_flipped_in_every_round() -> None:
    data = {"name": "digits", "clients": 4, "index": 1, "seed": 0, "tasks": 2, "rounds_per_task": 3}
    client = label_flipped("builtin", json.dumps({"data": data, "model": {"name": "mlp"}}))
    honest, _ = federate("digits", clients=4, index=1, seed=0, tasks=2, rounds_per_task=3)
    assert isinstance(honest, Tasks)
    for round in (1, 4):
        np.testing.assert_array_equal(client.train.at(round)[1], 9 - honest.at(round).y)
        assert client.train.task(round) == honest.task(round)
    nothing = tasks_of(Dataset(X, Y, np.arange(6), 4, "toy"), [(0, 1, 2), (3,)], rounds_per_task=1)
    assert len(FlippedStream(nothing).at(2)) == 0


def test_the_trainer_process_has_the_flipped_labels(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP)
    command = flipping_command(trainer_command(app=f"{tmp_path / 'mine.py'}:own"), tmp_path / "state")

    async def counts() -> tuple[int, ...]:
        trainer = await Trainer.start(command)
        try:
            return tuple((await trainer.describe()).class_counts)
        finally:
            await trainer.stop()

    assert asyncio.run(counts()) == (1, 1, 4)
