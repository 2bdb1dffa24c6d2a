"""Does torch see the device that the trainer is told to use, and has it memory for the model?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.requirements import needs
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.deploy.doctor.trainer import AGAIN, SLOW
from roughfed.extras import MissingExtra

MIB = 1 << 20
CPU = 'or choose another: device.name = "cpu" in client.toml'


def device(site: DoctorSite) -> Iterable[Finding]:
    """By the word of a trainer process."""
    examined = site.examined()
    if examined is not None and isinstance(examined.error, MissingExtra):
        yield without_torch(site, examined.error)
        return
    if examined is None or examined.devices is None:
        if examined is not None and examined.error is not None and examined.error.reason == SLOW:
            yield warning(f"torch did not load in time: {examined.error}", cure=AGAIN, about="torch")
            return
        why = f": {examined.error}" if examined is not None and examined.error is not None else ""
        cure = "python -c 'import torch' in roughfed's environment says more; reinstall torch if it fails"
        yield failure(f"the trainer process does not start{why}", cure=cure, about="torch")
        return
    told = examined.devices
    measured = f"torch {told['torch']}, CUDA {told['cuda'] or 'none'}, {len(told['devices'])} GPUs"
    yield ok("torch loads in the trainer process", measured=measured, about="torch")
    wanted = site.client.device.name if site.client else "auto"
    yield from chosen(wanted, told)
    yield from memory(wanted, told, needs(site).trainer_bytes)
    if told["devices"] and not told["nvml"]:
        cure = "install the driver's library libnvidia-ml.so.1 (in a container: --gpus with the utility capability)"
        yield warning("NVML is not here: the use of the GPU will not be measured", cure=cure, about="nvml")


def without_torch(site: DoctorSite, error: MissingExtra) -> Finding:
    """Where nothing trains, torch need not be; a client, or a server with the program of its model, needs it."""
    trains = site.client is not None or (site.federation is not None and not site.federation.model.file_alone)
    if trains:
        return failure("torch is not installed, and what this directory runs needs it", cure=error.cure, about="torch")
    return ok("torch is not installed, and nothing trains here", measured="no torch", about="torch")


def chosen(wanted: str, told: dict[str, Any]) -> Iterable[Finding]:
    """The device by its name."""
    kind, _, index = wanted.partition(":")
    if wanted == "cpu":
        yield ok("the trainer uses the CPU, as client.toml says", measured=wanted, about="device")
    elif kind == "mps":
        yield from _mps(told)
    elif told["available"]:
        yield _cuda(int(index or 0), told["devices"])
    elif kind == "cuda":
        yield failure(f"no device {wanted}: {reason(told)}", measured=wanted, cure=_cure(told), about="device")
    elif told["driver"]:
        sentence = f"this machine has an NVIDIA driver, and torch does not use it: {reason(told)}"
        yield warning(sentence, measured="cpu", cure=_cure(told), about="device")
    else:
        yield ok("there is no GPU here; the trainer uses the CPU", measured="cpu", about="device")


def _mps(told: dict[str, Any]) -> Iterable[Finding]:
    if told["mps"]:
        yield ok("torch sees Metal", measured="mps", about="device")
    else:
        yield failure(
            "no device mps: this torch or this machine has no Metal",
            cure=f"install torch for it, {CPU}",
            about="device",
        )


def _cuda(index: int, devices: list[dict[str, Any]]) -> Finding:
    if index >= len(devices):
        cure = f"choose one of cuda:0 to cuda:{len(devices) - 1}, {CPU}; CUDA_VISIBLE_DEVICES hides GPUs"
        return failure(f"no device cuda:{index}: torch sees {len(devices)} GPUs", cure=cure, about="device")
    return ok(f"torch sees {devices[index]['name']}", measured=f"cuda:{index}", about="device")


def reason(told: dict[str, Any]) -> str:
    """Why there is no CUDA."""
    if not told["cuda"]:
        return "this torch was built without CUDA"
    return str(told["why"]) or "torch sees no GPU or driver"


def _cure(told: dict[str, Any]) -> str:
    if not told["cuda"]:
        return f"install a torch with CUDA (pytorch.org/get-started), {CPU}"
    if "old" in str(told["why"]):
        return f"install a newer NVIDIA driver, or a torch for the CUDA of this one, {CPU}"
    return f"see whether nvidia-smi works (in a container: --gpus all), {CPU}"


def memory(wanted: str, told: dict[str, Any], need_bytes: int) -> Iterable[Finding]:
    """Room for weights, gradients and the optimizer on the chosen GPU."""
    index = int(wanted.partition(":")[2] or 0)
    if wanted in ("cpu", "mps") or index >= len(told["devices"]):
        return
    facts = told["devices"][index]
    free = facts["free_bytes"]
    if free is None:
        yield skipped("a client runs; the memory of its GPU is left alone", about="memory")
        return
    measured = f"{free / MIB:.0f} of {facts['total_bytes'] / MIB:.0f} MiB free"
    if need_bytes and free < need_bytes:
        sentence = f"the GPU has too little free memory: the model wants {need_bytes / MIB:.0f} MiB to be trained"
        cure = f"end other programs on it (nvidia-smi shows them), {CPU}"
        yield failure(sentence, measured=measured, cure=cure, about="memory")
        return
    yield ok("the GPU has free memory", measured=measured, about="memory")
