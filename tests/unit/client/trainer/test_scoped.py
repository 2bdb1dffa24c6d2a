"""A client that trains a part of the model: the delta has that part alone, and nothing else has changed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roughfed.client.trainer.examples.batches import open_source
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit, no_op_update
from roughfed.errors import ConfigError
from roughfed.params import write_model
from roughfed.training import Turn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def work(folder: Path, model: nn.Module, *tensors: str, method: str = "plain") -> Work:
    path = folder / "model.safetensors"
    write_model(path, spec_of(model), pieces(model))
    settings = TrainerSettings(method=method, lr=0.1, weight_decay=0.1)
    return Work(path, folder / "delta.f32", settings, 3, Turn(1, tensors=tensors), 3)


def data() -> object:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(96, 4)).astype(np.float32)
    return open_source((x, rng.integers(0, 3, 96)), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("method", ["plain", "co-teaching", "balanced-softmax+ewc"])
def test_only_the_tensors_of_the_class_are_trained_and_sent(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Net()
    job = work(tmp_path, model, "head.*", method=method)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, data(), job, report=lambda _: None)
    delta = np.fromfile(job.delta, dtype="<f4")
    assert len(delta) == 6 * 3 + 3
    assert np.count_nonzero(delta) == len(delta)
    for name, tensor in model.state_dict().items():
        same = torch.equal(tensor, before[name])
        assert same == (not name.startswith("head")), name  # the statistics of the frozen normalisation, too
    assert all(p.requires_grad for p in model.parameters())  # the next round may be one of all tensors


def test_no_gradient_is_worked_out_for_what_is_frozen(tmp_path: Path) -> None:
    model = Net()
    seen: list[bool] = []

    def own(net: nn.Module, loader: object, _: object) -> None:
        for x, y in loader:
            nn.functional.cross_entropy(net(x), y).backward()
            seen.extend(p.grad is None for p in net.body.parameters())

    fit(model, data(), work(tmp_path, model, "head.*"), report=lambda _: None, own=own)
    assert seen
    assert all(seen)


def test_statistics_of_a_class_of_its_own_are_learned_and_sent(tmp_path: Path) -> None:
    model = Net()
    job = work(tmp_path, model, "body.*")
    fit(model, data(), job, report=lambda _: None)
    names = [t.name for t in spec_of(model).tensors if t.name.startswith("body.")]
    sizes = {t.name: t.size for t in spec_of(model).tensors}
    assert "body.1.running_mean" in names
    assert len(np.fromfile(job.delta, dtype="<f4")) == sum(sizes[name] for name in names)


def test_a_client_without_data_in_a_round_sends_zeros_of_its_class(tmp_path: Path) -> None:
    model = Net()
    job = work(tmp_path, model, "head.*")
    no_op_update(model, job)
    np.testing.assert_array_equal(np.fromfile(job.delta, dtype="<f4"), np.zeros(21, np.float32))


def test_tensors_that_are_none_of_the_model_are_refused(tmp_path: Path) -> None:
    model = Net()
    with pytest.raises(ConfigError, match="no tensors that a client can train"):
        fit(model, data(), work(tmp_path, model, "tail.*"), report=lambda _: None)
