"""Every part trains alike on a CPU and on a GPU, and twice alike on a GPU.

TOLERANCE holds for the difference of two updates over the norm of the one from the CPU, after two rounds of some steps
each: float32 sums are added up in another order, and each step starts from what the last one left. Draws come from a
generator on the CPU, so that both see the same batches, mixtures and memories.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.methods import PARTS, read_method
from roughfed.training import Turn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCE = 0.02
C = 4
METHODS = [name for name in PARTS if name != "mse"]
OPTIMIZERS = ["sgd", "adam", "adamw"]


class Net(nn.Module):
    """Images of 1 x 8 x 8, one or three experts on a trunk; nothing in it draws at random."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 16), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(16, C) for _ in range(experts))
        if experts > 1:
            self.each = self._each

    def forward(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        outputs = [head(features) for head in self.heads]
        return outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(dim=0)

    def _each(self, x: Tensor) -> Tensor:
        features = self.trunk(x)
        return torch.stack([head(features) for head in self.heads])


def data_on(device: torch.device, size: int, seed: int) -> Arrays:
    """Classes of different sizes that can be told apart, one label in ten wrong."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(size, generator=generator) ** 1.5 * C).long().clamp_max(C - 1)
    x = 0.5 * torch.randn(size, 1, 8, 8, generator=generator)
    x[torch.arange(size), 0, y] += 1.5
    wrong = torch.rand(size, generator=generator) < 0.1
    return Arrays(x, torch.where(wrong, (y + 1) % C, y), device, ids=torch.arange(size) + 1000)


def update(method: str, device_name: str, folder: Path, optimizer: str = "sgd") -> Tensor:
    """The update of the second of two rounds, float32 [D] on the CPU."""
    device = torch.device(device_name)
    torch.manual_seed(0)
    net = Net(3 if "experts" in read_method(method).needs else 1).to(device)
    given = {"method": method, "optimizer": optimizer, "batch_size": 16, "lr": 0.01, "momentum": 0.5, "epochs": 2}
    settings, remembered = TrainerSettings.parse(given), dict[str, Tensors]()
    for number in (1, 2):
        params.write_model(folder / "model", spec_of(net), pieces(net))
        work = Work(
            folder / "model",
            folder / "delta",
            settings,
            number,
            Turn(number, 2),
            C,
            task=number - 1,
            clean=data_on(device, 32, 9),
            remembered=remembered,
        )
        fit(net, data_on(device, 96, number), work, report=lambda _: None)
    return torch.frombuffer(bytearray((folder / "delta").read_bytes()), dtype=torch.float32)


@pytest.fixture(autouse=True)
def exact() -> None:
    """Float32 means float32; the trainer process asks cuBLAS for the same results each time, too."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("method", METHODS)
def test_a_part_trains_alike_on_both(method: str, tmp_path: Path) -> None:
    here, there = update(method, "cpu", tmp_path), update(method, "cuda", tmp_path)
    assert float(here.norm()) > 0
    assert float((here - there).norm() / here.norm()) <= TOLERANCE


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_steps_alike_on_both(optimizer: str, tmp_path: Path) -> None:
    here, there = (update("cross-entropy", device, tmp_path, optimizer) for device in ("cpu", "cuda"))
    assert float((here - there).norm() / here.norm()) <= TOLERANCE


@pytest.mark.parametrize("method", ["cross-entropy", "cutmix", "co-teaching", "der++"])
def test_a_gpu_repeats_itself(method: str, tmp_path: Path) -> None:
    one, other = (update(method, "cuda", tmp_path) for _ in range(2))
    assert float((one - other).norm() / one.norm()) <= 1e-4
