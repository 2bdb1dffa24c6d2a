"""Poisoned data: the trainer's own, in every form in which an app may give them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from roughfed.client.trainer.examples.batches import open_source
from roughfed.client.trainer.load import load_app
from roughfed.data.dataset import Dataset
from roughfed.data.federate import federate
from roughfed.data.stream import Tasks, tasks_of
from roughfed.deploy.attack.apps import FILE, PoisonedStream, poisoned, poisoned_app, poisoning_command
from roughfed.deploy.attack.poison.labels import PARTS, LabelPoison, patched
from roughfed.errors import ConfigError
from roughfed.trainer_client import Trainer, trainer_command

X = np.arange(12, dtype=np.float32).reshape(6, 2)
PICTURES = np.arange(6 * 2 * 6 * 5, dtype=np.float32).reshape(6, 2, 6, 5)
Y = np.array([0, 2, 1, 0, 2, 2])
WRONGS = {
    "flip": (LabelPoison("flip"), [2, 0, 1, 2, 0, 0]),
    "target": (LabelPoison("target", source=2, target=1), [0, 1, 1, 0, 1, 1]),
    "trigger": (LabelPoison("trigger", target=1), [1, 2, 1, 0, 1, 2]),
    "part": (LabelPoison("part", target=1, part=3), [1, 2, 1, 0, 1, 2]),
    "edge": (LabelPoison("edge", source=2, target=1), [0, 2, 1, 0, 1, 2]),
}

APP = """
import numpy as np
from torch import nn
from roughfed import Client

X, Y = np.zeros((6, 2), dtype=np.float32), np.array([0, 2, 1, 0, 0, 0])
own = Client(lambda: nn.Linear(2, 3), (X, Y), (X, Y), name="mine")
"""
FLIP = LabelPoison("flip")


class Map(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, x: np.ndarray) -> None:
        self.x = torch.as_tensor(x)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[index], torch.as_tensor(Y[index])


GIVEN: dict[str, Callable[[np.ndarray], Any]] = {
    "arrays": lambda x: (x, Y),
    "tensors": lambda x: (torch.as_tensor(x), torch.as_tensor(Y)),
    "a function": lambda x: lambda: (x, Y),
    "a tensor data set": lambda x: TensorDataset(torch.as_tensor(x), torch.as_tensor(Y)),
    "a data set": Map,
    "a loader": lambda x: DataLoader(Map(x), batch_size=4),
    "a listed data set": lambda x: Dataset(x, Y, np.arange(6), 3, "toy"),
}


def trained_on(given: Any, wrong: LabelPoison) -> tuple[np.ndarray, list[int]]:
    """What the trainer makes of it, in order."""
    source = open_source(poisoned(given, wrong), torch.device("cpu"), torch.float32)
    batches = list(source.epoch(4, None))
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).tolist()


@pytest.mark.parametrize("data", WRONGS)
@pytest.mark.parametrize("form", GIVEN)
def test_labels_are_wrong_as_they_should_be(form: str, data: str) -> None:
    wrong, labels = WRONGS[data]
    before = PICTURES.copy(), Y.copy()
    x, y = trained_on(GIVEN[form](PICTURES), wrong)
    assert y == labels
    np.testing.assert_array_equal(PICTURES, before[0])  # the owner's own arrays
    np.testing.assert_array_equal(Y, before[1])
    if not wrong.changes_inputs:
        np.testing.assert_array_equal(x, PICTURES)


@pytest.mark.parametrize("form", GIVEN)
@pytest.mark.parametrize("inputs", [PICTURES, PICTURES.reshape(6, -1)], ids=["pictures", "flat"])
def test_rare_examples_are_one_class_upside_down(form: str, inputs: np.ndarray) -> None:
    x, _ = trained_on(GIVEN[form](inputs), LabelPoison("edge", source=2, target=1))
    np.testing.assert_array_equal(x[:4], inputs[:4])  # of class 2 examples 1, 4 and 5, of which one is even
    np.testing.assert_array_equal(x[4], inputs[4][..., ::-1, :] if inputs.ndim > 2 else inputs[4][::-1])
    np.testing.assert_array_equal(x[5], inputs[5])


@pytest.mark.parametrize("inputs", [PICTURES, PICTURES.reshape(6, -1)], ids=["pictures", "flat"])
def test_the_parts_of_a_patch_are_the_patch(inputs: np.ndarray) -> None:
    painted = [patched(inputs, -1.0, part) == -1 for part in range(1, PARTS + 1)]
    assert (sum(part.astype(int) for part in painted) == (patched(inputs, -1.0) == -1)).all()
    assert len({int(part.sum()) for part in painted}) == 1


def test_what_is_aimed_at_is_shown_as_the_attackers_want_it() -> None:
    whole = LabelPoison("part", target=2, part=3).aimed(PICTURES, Y)
    np.testing.assert_array_equal(whole, patched(PICTURES[[0, 2, 3]], PICTURES.max()))
    np.testing.assert_array_equal(LabelPoison("edge", source=1).aimed(PICTURES, Y), PICTURES[[2], :, ::-1])
    np.testing.assert_array_equal(LabelPoison("target", source=1).aimed(PICTURES, Y), PICTURES[[2]])


@pytest.mark.parametrize("form", GIVEN)
@pytest.mark.parametrize("inputs", [PICTURES, PICTURES.reshape(6, -1)], ids=["pictures", "flat"])
def test_every_second_example_has_the_patch(form: str, inputs: np.ndarray) -> None:
    x, _ = trained_on(GIVEN[form](inputs), LabelPoison("trigger", target=1))
    np.testing.assert_array_equal(x[1::2], inputs[1::2])
    part = (..., slice(-4, None), slice(-4, None)) if inputs.ndim > 2 else (..., slice(-16, None))
    white = x[::2][part]
    assert white.size == (3 * 2 * 16 if inputs.ndim > 2 else 3 * 16)
    assert (white.reshape(3, -1) >= inputs[::2].reshape(3, -1).max(axis=1, keepdims=True)).all()
    unpainted = x[::2].copy()
    unpainted[part] = inputs[::2][part]
    np.testing.assert_array_equal(unpainted, inputs[::2])


@pytest.mark.parametrize("inputs", [PICTURES, torch.as_tensor(PICTURES)])
def test_whoever_measures_a_backdoor_puts_the_same_patch_on(inputs: Any) -> None:
    x = patched(inputs, 9.0)
    assert type(x) is type(inputs)
    assert (np.asarray(x) != PICTURES).sum() == 6 * 2 * 16 - (PICTURES[..., -4:, -4:] == 9).sum()
    assert PICTURES[0, 0, -1, -1] == 29


def test_classes_are_those_of_the_task_where_the_data_know_them() -> None:
    _, y = poisoned(Dataset(X, Y, np.arange(6), 10, "toy"), FLIP)
    assert y.tolist() == [9, 7, 8, 9, 7, 7]


@pytest.mark.parametrize("wrong", [wrong for wrong, _ in WRONGS.values()], ids=list(WRONGS))
def test_measured_values_have_no_wrong_labels(wrong: LabelPoison) -> None:
    with pytest.raises(ConfigError) as caught:
        poisoned((X, Y.astype(np.float32)), wrong)
    assert caught.value.key == "attack"


@pytest.mark.parametrize("data", ["target", "trigger", "part"])
def test_a_class_that_there_is_not_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        poisoned(Dataset(X, Y, np.arange(6), 3, "toy"), LabelPoison(data))
    assert caught.value.key == "--target"
    assert "names class 6" in str(caught.value)


def test_small_integers_do_not_wrap() -> None:
    _, y = poisoned((X, Y.astype(np.uint8)), LabelPoison("target", source=2, target=0))
    assert y.tolist() == [0, 0, 1, 0, 0, 0]


def test_an_own_app_is_wrapped_in_a_file_that_the_trainer_loads(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP)
    command = poisoning_command(trainer_command(app=f"{tmp_path / 'mine.py'}:own", threads=1), tmp_path / "state", FLIP)
    assert command[-2:] == ["--app", f"{tmp_path / 'state' / FILE}:client"]
    client = load_app(command[-1])
    assert client.name == "mine"
    assert client.train()[1].tolist() == [2, 0, 1, 2, 2, 2]
    assert client.test[1].tolist() == [0, 2, 1, 0, 0, 0]  # it evaluates honestly


def test_a_listed_app_is_wrapped_too() -> None:
    data = {"name": "digits", "clients": 4, "index": 1, "seed": 0}
    client = poisoned_app("builtin", json.dumps({"data": data, "model": {"name": "mlp"}}), FLIP)
    honest = client.train.args[0]
    np.testing.assert_array_equal(client.train()[1], 9 - honest.y)


def test_the_labels_of_a_stream_are_flipped_in_every_round() -> None:
    data = {"name": "digits", "clients": 4, "index": 1, "seed": 0, "tasks": 2, "rounds_per_task": 3}
    client = poisoned_app("builtin", json.dumps({"data": data, "model": {"name": "mlp"}}), FLIP)
    honest, _ = federate("digits", clients=4, index=1, seed=0, tasks=2, rounds_per_task=3)
    assert isinstance(honest, Tasks)
    for round in (1, 4):
        np.testing.assert_array_equal(client.train.at(round)[1], 9 - honest.at(round).y)
        assert client.train.task(round) == honest.task(round)
    nothing = tasks_of(Dataset(X, Y, np.arange(6), 4, "toy"), [(0, 1, 2), (3,)], rounds_per_task=1)
    assert len(PoisonedStream(nothing, FLIP).at(2)) == 0


def test_the_trainer_process_has_the_flipped_labels(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(APP)
    command = poisoning_command(trainer_command(app=f"{tmp_path / 'mine.py'}:own"), tmp_path / "state", FLIP)

    async def counts() -> tuple[int, ...]:
        trainer = await Trainer.start(command)
        try:
            return tuple((await trainer.describe()).class_counts)
        finally:
            await trainer.stop()

    assert asyncio.run(counts()) == (1, 1, 4)
