"""Local training, top to bottom: global parameters in, delta out.

delta = local minus global: what the later steps of a round clip, encode, mask and send.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from roughfed.child import FitResult
from roughfed.client.api import Round, UserLoop
from roughfed.client.trainer.data import Source, TrainLoader
from roughfed.client.trainer.loss import Loss
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.sgd import SGD
from roughfed.client.trainer.tensors import load_flat, map_flat, spec_of, write_delta
from roughfed.errors import ConfigError
from roughfed.rng import derive


@dataclass(frozen=True, slots=True)
class Work:
    """One local training.

    Attributes:
        params: model file with the global parameters.
        delta: where the delta goes, bare float32 [D].
        settings: the learning settings.
        seed: of shuffles, dropout and whatever the user's loop draws.
        round: number of the round.
    """

    params: Path
    delta: Path
    settings: TrainerSettings
    seed: int
    round: int


def fit(
    model: nn.Module, source: Source, work: Work, *, learn: Loss | UserLoop, report: Callable[[float], None]
) -> FitResult:
    """Train and write the delta. The same seed, threads and device give the same bytes.

    Args:
        model: on its device; its float tensors are overwritten.
        source: training examples.
        work: what is asked for.
        learn: the loss of the loop below, or the user's own loop instead of it.
        report: gets the share done before each batch, and may raise to abandon the training.

    Raises:
        TrainerError: reason `diverged`.
        ConfigError: there was no batch.
        ConfigError, StorageError: files that do not fit or cannot be used.
    """
    started = time.monotonic()
    settings = work.settings
    spec = spec_of(model)
    flat = map_flat(work.params, spec)  # [D]
    load_flat(model, spec, flat)
    model.zero_grad(set_to_none=True)  # an abandoned training may have left some
    seed_everything(work.seed)
    loader = TrainLoader(
        source,
        batch_size=settings.batch_size,
        seed=work.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        report=report,
    )
    if isinstance(learn, Loss):
        metrics = train(model, loader, settings, learn)
    else:
        metrics = learn(model, loader, _round(model, work)) or {}
    if not loader.num_steps:
        raise ConfigError(
            "not one batch was trained on", key="train", cure="iterate over the loader that the loop gets, or give data"
        )
    write_delta(model, spec, flat, work.delta)
    return FitResult(loader.num_examples, loader.num_steps, _finite(metrics), time.monotonic() - started)


def train(model: nn.Module, loader: TrainLoader, settings: TrainerSettings, loss: Loss) -> dict[str, float]:
    """The SGD loop.

    Returns:
        loss: mean over all steps.
    """
    model.train()
    optimizer = SGD(
        [p for p in model.parameters() if p.requires_grad],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    device = next(model.parameters()).device
    loss_sum = torch.zeros((), device=device)  # stays there: no waiting for the device in the loop
    for _ in range(settings.epochs):
        for x, y in loader:  # [B, ...], [B]
            optimizer.zero_grad()
            value = loss.function(model(x), y).mean()
            value.backward()
            optimizer.step()
            loss_sum += value.detach()
        if loader.finished:
            break
    return {"loss": float(loss_sum) / max(1, loader.num_steps)}


def seed_everything(seed: int) -> None:
    """Seed torch (every device), numpy's global generator and the standard library's."""
    torch.manual_seed(derive(seed, "torch"))
    np.random.seed(derive(seed, "numpy") % 2**32)  # noqa: NPY002 what user code draws from
    random.seed(derive(seed, "random"))


def _round(model: nn.Module, work: Work) -> Round:
    s = work.settings
    device = str(next(model.parameters()).device)
    return Round(
        number=work.round,
        lr=s.lr,
        epochs=s.epochs,
        batch_size=s.batch_size,
        momentum=s.momentum,
        weight_decay=s.weight_decay,
        device=device,
        seed=work.seed,
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as plain floats, for JSON."""
    out = {str(name): float(value) for name, value in metrics.items()}
    for name, value in out.items():
        if not math.isfinite(value):
            raise ConfigError(f"the loop returned {name} = {value}", key="metrics", cure="return finite numbers")
    return out
