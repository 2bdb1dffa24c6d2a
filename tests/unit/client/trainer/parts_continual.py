"""What the tests of these parts share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from roughfed import params
from roughfed.client.trainer.examples.batches import Arrays
from roughfed.client.trainer.model.tensors import pieces, spec_of
from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.loop import Work, fit
from roughfed.training import Turn

CPU = torch.device("cpu")
C = 4


def net(seed: int = 0, *, batch_norm: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    norm = [nn.BatchNorm1d(8)] if batch_norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), *norm, nn.ReLU(), nn.Linear(8, C))


def arrays(labels: list[int], *, first_id: int = 0, seed: int = 1) -> Arrays:
    y = torch.tensor(labels)
    x = torch.randn(len(y), 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    for c in range(C):
        x[y == c, 0, c] += 2.0
    return Arrays(x, y, CPU, ids=torch.arange(len(y)) + first_id)


def context(source: Arrays, *, seed: int = 0, state: dict[str, Tensors] | None = None, task: int = 0) -> Context:
    generator = torch.Generator().manual_seed(seed)
    return Context(net(), source, TrainerSettings(), C, generator, task=task, remembered={} if state is None else state)


def train(model: nn.Module, source: Arrays, method: str, folder: Path, state: dict[str, Tensors], **how: int) -> None:
    """One round from the model's own weights."""
    path = folder / "model.safetensors"
    params.write_model(path, spec_of(model), pieces(model))
    given = {"method": method, "batch_size": 8, "lr": 0.1, "epochs": how.get("epochs", 3), "momentum": 0.9}
    turn = Turn(how.get("round", 1), 4)
    work = Work(path, folder / "d", TrainerSettings.parse(given), 3, turn, C, task=how.get("task", 0), remembered=state)
    fit(model, source, work, report=lambda _: None)
