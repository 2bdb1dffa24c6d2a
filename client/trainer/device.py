"""Where to compute."""

from __future__ import annotations

import re
from typing import Any

import torch

from roughfed.errors import ConfigError


def choose(name: str) -> torch.device:
    """The device called `name`, checked to be there.

    Args:
        name: auto (the first CUDA device if there is one, else the CPU), cpu, cuda, cuda:N or mps.

    Raises:
        ConfigError: no such device here, with the reason.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise _absent(name, "this torch or this machine has no Metal")
        return torch.device("mps")
    wanted = re.fullmatch(r"(?:auto|cuda)(?::(\d+))?", name)
    if wanted is None:
        raise ConfigError(f"unknown device {name!r}", key="device", cure="auto, cpu, cuda, cuda:1 or mps")
    if not torch.cuda.is_available():
        built = "torch sees no GPU or driver" if torch.version.cuda else "this torch was built without CUDA"
        raise _absent(name, built)
    index = int(wanted[1] or 0)
    if index >= (count := torch.cuda.device_count()):
        raise _absent(name, f"there are {count} CUDA devices, numbered from 0")
    return _deterministic_cuda(index)


def _deterministic_cuda(index: int) -> torch.device:
    """The same seed must give the same bytes; where CUDA has no such kernel, torch says so in the log and goes on."""
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a fill per allocation
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def _absent(name: str, why: str) -> ConfigError:
    return ConfigError(f"no device {name!r}: {why}", key="device", cure="give --device cpu or auto")
