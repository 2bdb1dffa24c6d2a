"""The trainer's GPU, asked through NVIDIA's library (`pip install 'roughfed[gpu]'`); torch stays in the trainer."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple


class GpuFigures(NamedTuple):
    """Memory in use in bytes, and the share of the last moments in which it worked; None: it does not say."""

    memory_bytes: int | None
    utilization: float | None


NOTHING = GpuFigures(None, None)


class Gpu:
    """One device; every question is answered, and with `NOTHING` where there is no answer."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        """`nvml` is the module `pynvml`, and `handle` its device."""
        self._nvml, self._handle = nvml, handle

    def look(self) -> GpuFigures:
        """What it does now; may take some milliseconds."""
        try:
            memory: int | None = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except self._nvml.NVMLError:
            memory = None
        try:
            busy: float | None = self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100
        except self._nvml.NVMLError:  # a part of a divided device does not say
            busy = None
        return GpuFigures(memory, busy)


def open_gpu(device: str, environment: Mapping[str, str] = os.environ) -> Gpu | None:
    """The GPU of a trainer's device (`cuda`, `cuda:N`); None where there is none, or nobody who can be asked.

    CUDA counts the devices that `CUDA_VISIBLE_DEVICES` leaves it, NVIDIA's library all of them, in the order of the
    bus. A machine with unlike GPUs needs CUDA_DEVICE_ORDER=PCI_BUS_ID for both to mean the same one.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return Gpu(nvml, _handle(nvml, int(number or 0), environment.get("CUDA_VISIBLE_DEVICES", "")))
    except (nvml.NVMLError, ValueError, IndexError):
        return None


def _handle(nvml: Any, number: int, visible: str) -> Any:
    """The device that CUDA calls by this number.

    Raises:
        ValueError, IndexError: it does not follow from what is visible.
    """
    if not visible:
        return nvml.nvmlDeviceGetHandleByIndex(number)
    name = visible.split(",")[number].strip()
    if name.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    return nvml.nvmlDeviceGetHandleByIndex(int(name))
