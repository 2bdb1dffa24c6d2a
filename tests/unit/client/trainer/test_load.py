"""client/trainer/load.py, operations.py and faults.py: a user's file, and what is said when it does not work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from roughfed.client.trainer import faults
from roughfed.client.trainer.link import Abandoned
from roughfed.client.trainer.load import MODULE, load_app
from roughfed.client.trainer.operations import Operations
from roughfed.config.client import ClientData
from roughfed.config.federation import Data
from roughfed.errors import ConfigError, StorageError, TrainerError
from roughfed.training import Turn

HEAD = """\
import numpy as np
from torch import nn
from roughfed import Client
x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
"""


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, MODULE, sys)


def app(folder: Path, text: str) -> str:
    (folder / "my.py").write_text(HEAD + text)
    return f"{folder / 'my.py'}:client"


def operations(app: str) -> Operations:
    return Operations.of(app=app, builtin=None, device="cpu", report=lambda _: None)


def test_a_file_is_loaded_with_its_neighbours_and_run_returns(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("WIDTH = 4\n")
    text = "from neighbour_of_mine import WIDTH\nclient = Client(lambda: nn.Linear(WIDTH, 3), (x, y))\nclient.run()\n"
    assert load_app(app(tmp_path, text)).train[0].shape == (20, 4)


@pytest.mark.parametrize(
    ("text", "name", "say"),
    [
        ("", "client", "no roughfed.Client in this file"),
        ("cleint = Client(nn.ReLU(), (x, y))", "client", "did you mean 'cleint'"),
        ("client = Client(nn.ReLU(), (x, y))", "x", "one of: client"),
        ("client = Client(nn.ReLU(), (x, y))", "a b", "not FILE:NAME"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, text: str, name: str, say: str) -> None:
    place = app(tmp_path, text).removesuffix("client") + name
    with pytest.raises(ConfigError) as caught:
        load_app(place)
    assert say in f"{caught.value} ({caught.value.cure})"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_app(f"{tmp_path / 'absent.py'}:client")


def test_an_error_in_the_file_names_file_line_and_cause(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        load_app(app(tmp_path, "client = 1 / 0\n"))
    said = faults.explain(caught.value)
    assert said["reason"] == "user-code"
    assert said["message"] == f"{tmp_path / 'my.py'}:5: ZeroDivisionError: division by zero"
    assert "client = 1 / 0" in said["trace"]


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("client = Client(lambda: 3, (x, y))", "model gave int"),
        ("client = Client(lambda: nn.Linear(4, 2), (x, y))", "labels from 0 to 2"),
        ("client = Client(lambda: nn.Linear(4, 3), (x, y[:, None]))", r"targets torch.int64 \(2, 1\)"),
        ("client = Client(lambda: nn.Linear(4, 3), (x, y * 1.0), task='classification')", "targets torch.float32"),
        ("client = Client(lambda: nn.Linear(4, 3), (x, y * 1.0))", "the model gives"),
        ("client = Client(lambda: nn.Linear(4, 3), (x, y), epoch=2)", "unknown name 'epoch'"),
        ("client = Client(lambda: nn.Linear(4, 3), (x, y), trainer='balanced-softmx')", "no part"),
    ],
)
def test_what_does_not_fit_together_shows_at_describe(tmp_path: Path, text: str, say: str) -> None:
    with pytest.raises(ConfigError, match=say):
        operations(app(tmp_path, text)).run("describe", {})


def test_describe_of_a_regression_and_its_local_settings(tmp_path: Path) -> None:
    text = "client = Client(lambda: nn.Linear(4, 1), (x, x[:, 0]), (x, x[:, 0]), trainer='mse', lr=0.5, name='mine')"
    said = operations(app(tmp_path, text)).run("describe", {})
    assert (said["task"], said["num_classes"], said["num_train"], said["num_test"]) == ("regression", 0, 20, 20)
    assert (said["name"], said["settings"]) == ("mine", {"lr": 0.5, "method": "mse"})


def test_no_data_to_train_or_test_on_is_refused(tmp_path: Path) -> None:
    worker = operations(app(tmp_path, "client = Client(lambda: nn.Linear(4, 3), None, (x, y))"))
    with pytest.raises(ConfigError, match="no training data"):
        worker.run("fit", {})
    client = operations(app(tmp_path, "client = Client(lambda: nn.Linear(4, 3), (x, y))"))
    with pytest.raises(ConfigError, match="no held-out data"):
        client.run("evaluate", {})
    with pytest.raises(ConfigError, match="unknown name 'train'"):
        client.run("train", {})


def test_initial_weights_follow_the_seed_and_a_given_model_keeps_its_own(tmp_path: Path) -> None:
    fresh = operations(app(tmp_path, "client = Client(lambda: nn.Linear(4, 3), (x, y))"))
    digests = [fresh.run("initial", {"path": str(tmp_path / "m"), "seed": seed})["digest"] for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    given = operations(app(tmp_path, "client = Client(nn.Linear(4, 3), (x, y))"))
    digests = [given.run("initial", {"path": str(tmp_path / "m"), "seed": seed})["digest"] for seed in (1, 2)]
    assert digests[0] == digests[1]


def test_the_built_in_app_and_its_worker(tmp_path: Path) -> None:
    client = ClientData(name="digits", clients=4, index=1, seed=7).model_dump()
    server = Data(name="digits").model_dump() | {"seed": 7}
    for given, trains in ((client, True), (server, False)):
        settings = {"data": given, "model": {"name": "mlp"}}
        mine = Operations.of(app=None, builtin=settings, device="cpu", report=lambda _: None)
        said = mine.run("describe", {})
        assert said["num_classes"] == 10
        assert (said["num_train"] > 0) == trains
        assert said["num_test"] > 0
        first, second = (mine.run("initial", {"path": str(tmp_path / "m"), "seed": s})["digest"] for s in (1, 2))
        assert first != second
    wrong = {"data": {"colour": 1}}
    with pytest.raises(ConfigError, match="unknown: colour"):
        Operations.of(app=None, builtin=wrong, device="cpu", report=lambda _: None).run("describe", {})


@pytest.mark.parametrize(
    ("error", "reason", "fatal"),
    [
        (ConfigError("no"), "refused", False),
        (StorageError("full"), "storage", False),
        (TrainerError("nan", reason="diverged"), "diverged", False),
        (Abandoned(), "abandoned", False),
        (MemoryError(), "out-of-memory", False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out-of-memory", False),
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda", True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "user-code", False),
        (SystemExit(3), "user-code", False),
    ],
)
def test_reasons(error: BaseException, reason: str, fatal: bool) -> None:
    said = faults.explain(error)
    assert (said["reason"], said["fatal"]) == (reason, fatal)


def test_the_counts_of_a_stream_are_not_told_as_if_they_stayed(tmp_path: Path) -> None:
    stream = "class S:\n    def at(self, round):\n        return x, y\n"
    said = operations(app(tmp_path, stream + "client = Client(lambda: nn.Linear(4, 3), S())")).run("describe", {})
    assert said["class_counts"] == []
    said = operations(app(tmp_path, "client = Client(lambda: nn.Linear(4, 3), (x, y))")).run("describe", {})
    assert sum(said["class_counts"]) == said["num_train"]


def test_a_round_in_which_nothing_has_arrived_changes_nothing(tmp_path: Path) -> None:
    stream = "class S:\n    def at(self, round):\n        return (x, y) if round > 1 else (x[:0], y[:0])\n"
    work = operations(app(tmp_path, stream + "client = Client(lambda: nn.Linear(4, 3), S(), (x, y))"))
    work.run("initial", {"path": str(tmp_path / "m.safetensors"), "seed": 1})
    files = {"params": str(tmp_path / "m.safetensors"), "delta": str(tmp_path / "delta")}
    for number, moved in ((1, False), (2, True)):
        work.run("fit", {**files, "settings": {}, "seed": 1, "turn": Turn(number).plain()})
        assert np.fromfile(tmp_path / "delta", dtype="<f4").any() == moved


def test_a_label_that_arrives_outside_the_models_classes_is_refused_before_anything_is_counted(tmp_path: Path) -> None:
    stream = "class S:\n    def at(self, round):\n        return x, y if round == 1 else y + 2**40\n"
    work = operations(app(tmp_path, stream + "client = Client(lambda: nn.Linear(4, 3), S(), (x, y))"))
    work.run("initial", {"path": str(tmp_path / "m.safetensors"), "seed": 1})
    files = {"params": str(tmp_path / "m.safetensors"), "delta": str(tmp_path / "delta")}
    with pytest.raises(ConfigError, match="the model's output has 3 classes"):
        work.run("fit", {**files, "settings": {}, "seed": 1, "turn": Turn(2).plain()})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("x[7, 2] = np.nan; x[9, 0] = np.inf", "train: x[7][2] is nan, and 2 of 20 examples have such values"),
        ("x[3] = -np.inf", "train: x[3][0] is -inf, and 1 of 20 examples have such values"),
    ],
)
def test_an_input_that_is_no_number_is_told_with_its_place_when_the_client_joins(
    tmp_path: Path, values: str, said: str
) -> None:
    head = "x = x.astype('float32'); test = x[:2].copy(), y[:2]"
    text = f"{head}; {values}\nclient = Client(nn.Linear(4, 3), (x, y), test)\n"
    with pytest.raises(ConfigError) as refused:
        operations(app(tmp_path, text)).run("describe", {})
    assert (refused.value.cause, refused.value.key) == (said, "data")
    assert refused.value.cure == "fill them in or leave these examples out"
