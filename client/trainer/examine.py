"""What `roughfed doctor` asks of a trainer: which devices torch sees, and whether model and data go through one step.

Nothing is trained: the model is a copy, and the data are looked at for a bounded time.
"""

from __future__ import annotations

import ctypes
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.batches import Source
from roughfed.client.trainer.loss.cross_entropy import cross_entropy
from roughfed.client.trainer.loss.mse import mse
from roughfed.types import Task

BATCH, FIRST = 512, 8
LOOK_S = 4.0  # at one source of data; what is not seen by then is not said to be right
NVML = "libnvidia-ml.so.1"


def devices(wanted: str = "auto") -> dict[str, Any]:
    """What torch can compute on, and why it cannot where a GPU seems to be there.

    Args:
        wanted: the trainer's device; of this GPU alone the free memory is told, since asking takes some of it.
    """
    found, why = list[dict[str, Any]](), ""
    with warnings.catch_warnings(record=True) as said:  # a driver that is too old is a warning to torch
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        chosen = wanted.partition(":")[2] or ("0" if wanted in ("auto", "cuda") else "")
        for index in range(torch.cuda.device_count()):
            free = torch.cuda.mem_get_info(index)[0] if str(index) == chosen else None
            found.append(
                {
                    "name": torch.cuda.get_device_name(index),
                    "free_bytes": free,
                    "total_bytes": torch.cuda.get_device_properties(index).total_memory,
                }
            )
    elif torch.version.cuda:
        why = said[0].message.args[0] if said and isinstance(said[0].message, Warning) else _why_not()
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "available": available,
        "why": " ".join(str(why).split())[:300],
        "devices": found,
        "mps": torch.backends.mps.is_available(),
        "driver": Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists(),
        "nvml": _has_nvml(),
    }


def _why_not() -> str:
    """In torch's own words, why CUDA cannot be used."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _has_nvml() -> bool:
    try:
        ctypes.CDLL(NVML)
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class DataExamination:
    """What was found in a source of data.

    Attributes:
        examples: how many there are.
        looked: how many of them were looked at.
        unfinished: inputs among them that hold NaN or an infinity.
        targets: measured values among them that are not finite.
        lowest: the smallest label, where they are labels.
        highest: the largest.
    """

    examples: int
    looked: int
    unfinished: int
    targets: int
    lowest: int | None = None
    highest: int | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def look(source: Source, *, clock: Callable[[], float] = time.monotonic) -> DataExamination:
    """Look at every example, or at as many as there is time for."""
    until, looked, bad_x, bad_y = clock() + LOOK_S, 0, 0, 0
    lows, highs = list[int](), list[int]()
    for x, y in source.epoch(BATCH, None):
        looked += len(y)
        bad_x += _not_finite(x)
        if y.is_floating_point():
            bad_y += _not_finite(y)
        else:
            lows.append(int(y.min()))
            highs.append(int(y.max()))
        if clock() > until:
            break
    low, high = min(lows, default=None), max(highs, default=None)
    return DataExamination(source.num_examples, looked, bad_x, bad_y, low, high)


def _not_finite(values: Tensor) -> int:
    if not values.is_floating_point():
        return 0
    return int((~torch.isfinite(values)).reshape(len(values), -1).any(dim=1).sum())


def step(model: nn.Module, source: Source, task: Task) -> dict[str, Any]:
    """The loss of one batch and whether its gradients are finite; the model is the caller's to throw away."""
    x, y = next(iter(source.epoch(FIRST, None)))
    model.train()
    output = model(x)
    loss = (cross_entropy if task == "classification" else mse)(output, y).mean()
    if loss.requires_grad:
        loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    value = float(loss.detach())
    return {
        "loss": value if math.isfinite(value) else None,
        "trained": len(gradients),
        "finite": all(bool(torch.isfinite(g).all()) for g in gradients),
    }
