"""The checks that ask a trainer: the device by what torch says, and app, model and data by trying them."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from roughfed.client.trainer import examine, faults
from roughfed.client.trainer.examples.batches import open_source
from roughfed.client.trainer.load import MODULE
from roughfed.client.trainer.operations import Operations
from roughfed.deploy.doctor.checks import device
from roughfed.deploy.doctor.checks.data import data
from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.deploy.doctor.trainer import Examined, command_of
from roughfed.errors import TrainerError
from roughfed.params import write_model
from roughfed.trainer_client import Description
from roughfed.types import Spec, TensorSpec
from tests.unit.deploy.doctor.doctor_sites import APP, one, site, states

CPU = torch.device("cpu")
MIB = 1 << 20
TOLD: Mapping[str, Any] = {
    "torch": "2.6", "cuda": None, "available": False, "why": "", "devices": [], "mps": False, "driver": False,
    "nvml": True,
}  # fmt: skip
GPU = {"name": "H100", "free_bytes": 4 * MIB, "total_bytes": 80 * MIB}
WITH_GPU = {**TOLD, "cuda": "12.4", "available": True, "driver": True, "devices": [GPU]}
OLD = {**TOLD, "cuda": "12.4", "driver": True, "why": "The NVIDIA driver on your system is too old (found 11040)"}
BLIND = {**TOLD, "driver": True}


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, MODULE, sys)


def client(folder: Path, text: str) -> Path:
    (folder / "client.toml").write_text(text)
    return folder


def looked(folder: Path, wanted: str, told: Mapping[str, Any]) -> list[Finding]:
    here = client(folder, f'[device]\nname = "{wanted}"\n')
    return list(device.device(site(here, examined=lambda: Examined(dict(told)))))


@pytest.mark.parametrize(
    ("wanted", "told", "state", "said", "cure"),
    [
        ("auto", TOLD, CheckState.OK, "no GPU here", ""),
        ("cpu", WITH_GPU, CheckState.OK, "as client.toml says", ""),
        ("auto", WITH_GPU, CheckState.OK, "sees H100", ""),
        ("cuda:0", WITH_GPU, CheckState.OK, "sees H100", ""),
        ("cuda:1", WITH_GPU, CheckState.FAILURE, "torch sees 1 GPUs", "CUDA_VISIBLE_DEVICES"),
        ("cuda:0", TOLD, CheckState.FAILURE, "built without CUDA", "install a torch with CUDA"),
        ("cuda", OLD, CheckState.FAILURE, "driver on your system is too old", "install a newer NVIDIA driver"),
        ("auto", OLD, CheckState.WARNING, "too old", "install a newer NVIDIA driver"),
        ("auto", BLIND, CheckState.WARNING, "has an NVIDIA driver, and torch does not use it", "torch with CUDA"),
        ("cuda:0", {**TOLD, "cuda": "12.4"}, CheckState.FAILURE, "sees no GPU or driver", "nvidia-smi"),
        ("mps", TOLD, CheckState.FAILURE, "no Metal", 'device.name = "cpu"'),
        ("mps", {**TOLD, "mps": True}, CheckState.OK, "sees Metal", ""),
    ],
)
def test_the_device_that_is_wanted(
    tmp_path: Path, wanted: str, told: Mapping[str, Any], state: CheckState, said: str, cure: str
) -> None:
    found = one(looked(tmp_path, wanted, told), "device")
    assert (found.state, said in found.sentence, cure in found.cure) == (state, True, True), found


def test_memory_and_nvml_of_a_gpu(tmp_path: Path) -> None:
    assert states(looked(tmp_path, "cuda:0", WITH_GPU))["memory"] is CheckState.OK
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)
    spec = Spec((TensorSpec("w", (MIB,), "float32", "weight"),))
    write_model(models / "a.safetensors", spec, [np.zeros(MIB, dtype=np.float32)])
    full = one(looked(tmp_path, "cuda:0", {**WITH_GPU, "nvml": False}), "memory")
    assert (full.state, "nvidia-smi" in full.cure) == (CheckState.FAILURE, True)
    assert states(looked(tmp_path, "auto", {**WITH_GPU, "nvml": False}))["nvml"] is CheckState.WARNING
    left_alone = {**WITH_GPU, "devices": [GPU | {"free_bytes": None}]}
    assert states(looked(tmp_path, "auto", left_alone))["memory"] is CheckState.SKIPPED


def test_a_torch_that_does_not_load(tmp_path: Path) -> None:
    gone = Examined(error=TrainerError("the trainer process (7) ended with status 1", reason="killed"))
    (found,) = device.device(site(tmp_path, examined=lambda: gone))
    assert (found.state, "reinstall torch" in found.cure) == (CheckState.FAILURE, True)


def test_what_torch_says_here() -> None:
    told = examine.devices("cpu")
    assert set(told) == set(TOLD)
    assert told["available"] == torch.cuda.is_available()


# -- data --------------------------------------------------------------------------------------------------------------


def ask(app: str) -> Examined:
    """What a trainer process would answer, in this one."""
    operations = Operations.of(app=app, builtin=None, device="cpu", report=lambda _: None)
    description, found, error = None, None, None
    try:
        description = _described(operations.run("describe", {}))
        found = operations.run("examine", {})
    except (Exception, SystemExit) as fault:  # noqa: BLE001  as the trainer's own loop
        told = faults.explain(fault)
        error = TrainerError(told["message"], reason=told["reason"], detail=told["trace"])
    return Examined(operations.run("devices", {}), description, found, error)


def _described(answer: Mapping[str, Any]) -> Description:
    from roughfed.trainer_client import _description

    return _description(answer)


def tried(folder: Path, text: str) -> list[Finding]:
    (folder / "my.py").write_text(APP + text)
    here = client(folder, '[app]\npath = "my.py:client"\n')
    return list(data(site(here, examined=lambda: ask(f"{folder / 'my.py'}:client"))))


GOOD = "client = Client(lambda: nn.Linear(4, 3), (x, y), (x[:9], y[:9]))\n"
FROM_SETS = """\
from torch.utils.data import DataLoader
examples = list(zip(x, y))
client = Client(lambda: nn.Linear(4, 3), DataLoader(examples), DataLoader(examples[:9]))
"""
ROOT = "super().forward(x) + (self.weight.sum() * 0).sqrt()"
BAD = """\
class Bad(nn.Linear):
    def forward(self, x):
        return {}
client = Client(lambda: Bad(4, 3), (x, y))
"""


def test_an_app_that_is_in_order(tmp_path: Path) -> None:
    found = tried(tmp_path, GOOD)
    wanted = ("model", "step", "training data", "test data", "amounts")
    assert states(found) == dict.fromkeys(wanted, CheckState.OK)
    assert "3 of 3 classes" in one(found, "amounts").sentence
    assert one(found, "amounts").measured == "40 to train on, 9 held out; of each class 14, 13, 13"
    assert one(found, "training data").measured == "40 of 40 examples looked at"


@pytest.mark.parametrize(
    ("text", "about", "said", "cure"),
    [
        ("x[3, 1] = np.nan\n" + GOOD, "app", "train: x[3][1] is nan, and 1 of 40 examples", "correct"),
        ("x[3, 1] = np.nan\n" + FROM_SETS, "training data", "1 examples hold NaN", "leave them out"),
        ("x[2] = np.inf\nx[5] = np.nan\n" + FROM_SETS, "test data", "2 examples hold NaN", "leave them out"),
        (GOOD.replace("(x, y)", "(x, (y / 0.7).clip(0, np.inf))"), "app", "", "correct"),
        (GOOD.replace("4, 3", "4, 2"), "app", "labels from 0 to 2, the model's output has 2 classes", "correct"),
        (GOOD.replace("4, 3", "5, 3"), "app", "mat1 and mat2", "whole trace"),
        ("import no_such_package\n" + GOOD, "app", "No module named 'no_such_package'", "correct the app"),
        (GOOD.replace("client =", "other ="), "app", "'client'", "correct"),
        ("1 / 0\n", "app", "my.py:5: ZeroDivisionError", "correct the app"),
        (GOOD.replace("(x, y), ", "(x[:0], y[:0]), "), "app", "no examples", "correct"),
        ("y[:] = 1\n" + GOOD, "amounts", "all training examples are of one class", "read rightly"),
        (GOOD.replace("(x, y), ", "None, "), "amounts", "no training", "train="),
        (GOOD + "client.settings['lr'] = 0.1\n", "settings", "the server's value would win", "remove lr there"),
        (BAD.format("super().forward(x) / 0.0"), "step", "loss of the first batch is not finite", "division by zero"),
        (BAD.format(ROOT), "step", "gradients of the first batch are not finite", "sqrt"),
    ],
)  # fmt: skip
def test_an_app_that_is_not(tmp_path: Path, text: str, about: str, said: str, cure: str) -> None:
    found = one([f for f in tried(tmp_path, text) if f.about == about], about)
    assert found.state in (CheckState.FAILURE, CheckState.WARNING), found
    assert said in found.sentence
    assert cure in found.cure


def test_the_model_against_the_federations(tmp_path: Path) -> None:
    models = tmp_path / "state" / "models"
    models.mkdir(parents=True)

    def known(*tensors: tuple[str, tuple[int, ...]]) -> Finding:
        spec = Spec(tuple(TensorSpec(name, shape, "float32", "weight") for name, shape in tensors))
        write_model(models / "a.safetensors", spec, [np.zeros(spec.size, dtype=np.float32)])
        return one(tried(tmp_path, GOOD), "shapes")

    assert known(("weight", (3, 4)), ("bias", (3,))).state is CheckState.OK
    other = known(("weight", (5, 4)), ("bias", (3,)))
    assert (other.state, "weight is [3, 4] here and [5, 4]" in other.sentence) == (CheckState.FAILURE, True)
    assert "same model file" in other.cure
    assert "no tensor in common" in known(("conv", (2,))).sentence


def test_a_missing_app_is_named_with_its_setting(tmp_path: Path) -> None:
    here = client(tmp_path, '[app]\npath = "gone.py:client"\n')
    (found,) = data(site(here, examined=pytest.fail))  # seen without a trainer
    assert (found.state, "gone.py" in found.sentence) == (CheckState.FAILURE, True)
    assert "app.path in client.toml" in found.cure
    (tmp_path / "fed.toml").write_text('[model]\napp = "gone.py:client"\n')
    (found,) = data(site(tmp_path, examined=pytest.fail))
    assert "model.app in fed.toml" in found.cure


def test_measured_values_that_are_none() -> None:
    x, y = np.zeros((8, 2), dtype=np.float32), np.array([1, np.nan] * 4)
    seen = examine.look(open_source((x, y), CPU, torch.float32))
    assert (seen.looked, seen.unfinished, seen.targets, seen.lowest) == (8, 0, 4, None)


def test_a_look_takes_no_longer_than_it_may() -> None:
    source = open_source((np.zeros((5000, 2), dtype=np.float32), np.zeros(5000, dtype=np.int64)), CPU, torch.float32)
    ticks = iter([0.0, 1.0, 9.0, 99.0])
    seen = examine.look(source, clock=lambda: next(ticks))
    assert (seen.examples, seen.looked) == (5000, 1024)


def test_a_model_of_which_nothing_is_trained() -> None:
    model = nn.Linear(4, 3)
    for parameter in model.parameters():
        parameter.requires_grad = False
    source = open_source((np.zeros((8, 4), dtype=np.float32), np.zeros(8, dtype=np.int64)), CPU, torch.float32)
    found = examine.step(model, source, "classification")
    assert found["trained"] == 0


def test_a_folder_of_arriving_files(tmp_path: Path) -> None:
    def with_folder(name: str) -> Finding:
        text = f'[data]\nname = "digits"\nclients = 2\nfolder = "{name}"\n[model]\nname = "mlp"\n'
        (tmp_path / "my.py").write_text(APP + GOOD)
        here = client(tmp_path, text)
        return one(data(site(here, examined=lambda: ask(f"{tmp_path / 'my.py'}:client"))), "folder")

    assert with_folder("nowhere").state is CheckState.FAILURE
    (tmp_path / "in").mkdir()
    assert (with_folder("in").state, "sits out" in with_folder("in").cure) == (CheckState.WARNING, True)
    (tmp_path / "in" / "a.npz").touch()
    assert with_folder("in").state is CheckState.OK


def test_beside_a_running_client_the_gpu_is_left_alone(tmp_path: Path) -> None:
    here = client(tmp_path, '[app]\npath = "my.py:client"\n[device]\nname = "cuda:0"\nthreads = 8\n')
    (tmp_path / "my.py").touch()
    alone, beside = command_of(site(here)), command_of(site(here, pid=7))
    assert alone[alone.index("--device") + 1] == "cuda:0"
    assert (beside[beside.index("--device") + 1], beside[beside.index("--threads") + 1]) == ("cpu", "1")


@pytest.mark.slow  # tests/e2e/test_doctor.py asks one, too
def test_a_real_trainer_process_is_asked(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(APP + 'print("a secret of the user")\n' + GOOD)
    here = client(tmp_path, '[app]\npath = "my.py:client"\n[device]\nname = "cpu"\n')
    examined = site(here).examined()
    assert examined is not None
    assert examined.error is None
    assert examined.description is not None
    assert (examined.description.num_train, examined.description.device) == (40, "cpu")
    assert states(data(site(here, examined=lambda: examined)))["step"] is CheckState.OK
