"""What an agent finds out about its machine, and what of it leaves."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.client.local import machine
from roughfed.client.local.gpu import Gpu, GpuFigures, open_gpu
from roughfed.client.local.machine import Watcher, held_bytes, resident_bytes
from roughfed.client.metrics import ClientMetrics
from roughfed.messages import ClientMessage, Heartbeat, JobUpdate, Machine, Welcome
from roughfed.types import Spec, TensorSpec
from tests.unit.server.metrics.test_metrics import samples

NOW = 1_700_000_000.0


def welcome(sees: str, time: float | None = NOW) -> Welcome:
    return Welcome("1", 1, "run", Spec((TensorSpec("w", (2,)),)), b"", sees, "classification", 3, time=time)


def watcher(folder: Path, metrics: ClientMetrics | None = None, *, share: bool = True) -> Watcher:
    return Watcher(metrics or ClientMetrics(), folder, device="cpu", share=share, now=lambda: NOW)


def machine_of(message: ClientMessage) -> Machine:
    assert isinstance(message, Heartbeat)
    assert message.machine is not None
    return message.machine


async def seen_once(watching: Watcher, metrics: ClientMetrics) -> dict[str, float]:
    """Let it look once; what its page says then."""
    seen = asyncio.Event()
    record = metrics.machine

    def recorded(**figures: Any) -> None:
        record(**figures)
        seen.set()

    metrics.machine = recorded
    task = asyncio.create_task(watching.watch())
    await asyncio.wait_for(seen.wait(), 10)
    task.cancel()
    return samples(metrics.render())


@pytest.mark.parametrize("sees", ["updates", "sketches", "sums"])
def test_behind_masks_nobody_is_told_how_many_examples_there_are(tmp_path: Path, sees: str) -> None:
    watching = watcher(tmp_path)
    watching.trained(2.5, 640)
    first = watching.with_machine(Heartbeat("idle", 0.0))  # before the server has said which mode it is
    watching.welcomed(welcome(sees))
    told = watching.with_machine(Heartbeat("training", 0.5))

    assert first == Heartbeat("idle", 0.0, Machine(train_seconds=2.5, time=NOW))
    examples = 640 if sees == "updates" else None
    assert told == Heartbeat("training", 0.5, Machine(train_seconds=2.5, samples=examples, time=NOW))


def test_a_client_whose_owner_does_not_share_says_nothing_of_its_machine(tmp_path: Path) -> None:
    watching = watcher(tmp_path, share=False)
    watching.trained(2.5, 640)
    watching.welcomed(welcome("updates"))
    assert watching.with_machine(Heartbeat("training", 0.5)) == Heartbeat("training", 0.5)


def test_other_messages_leave_as_they_are(tmp_path: Path) -> None:
    message = JobUpdate(1, "failed", "user-code")
    assert watcher(tmp_path).with_machine(message) is message


@pytest.mark.parametrize(("server", "skew"), [(NOW - 90, 90), (NOW + 5, -5), (None, math.nan)])
def test_a_client_sees_how_far_its_clock_is_off(tmp_path: Path, server: float | None, skew: float) -> None:
    metrics = ClientMetrics()
    watcher(tmp_path, metrics).welcomed(welcome("sums", server))
    assert samples(metrics.render())["roughfed_client_clock_skew_seconds"] == pytest.approx(skew, nan_ok=True)


def test_what_is_seen_is_shown_here_and_told(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "model").write_bytes(bytes(1234))
    metrics = ClientMetrics()
    watching = watcher(tmp_path, metrics)
    page = asyncio.run(seen_once(watching, metrics))
    told = machine_of(watching.with_machine(Heartbeat()))

    assert page["roughfed_client_held_bytes"] == 1234
    assert told.rss_bytes is not None
    assert page["roughfed_client_resident_bytes"] == told.rss_bytes > 1 << 20
    assert math.isnan(page["roughfed_client_gpu_memory_bytes"])
    assert told.gpu_memory_bytes is None


def test_looks_that_fail_stop_neither_the_watch_nor_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    for name in ("resident_bytes", "held_bytes", "open_gpu"):
        monkeypatch.setattr(machine, name, broken)
    metrics = ClientMetrics()
    watching = watcher(tmp_path, metrics)
    page = asyncio.run(seen_once(watching, metrics))

    assert math.isnan(page["roughfed_client_held_bytes"])
    assert watching.with_machine(Heartbeat()) == Heartbeat(machine=Machine(time=NOW))


def test_the_memory_of_a_trainer_counts(tmp_path: Path) -> None:
    block = 64 << 20
    code = f"import sys; block = b'x' * {block}; print('ready', flush=True); sys.stdin.read()"
    before = resident_bytes()
    assert before is not None
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        during = resident_bytes(os.getpid())
        assert during is not None
        assert during - before > block / 2
    assert resident_bytes(proc=tmp_path) is None  # a system that does not tell
    assert held_bytes(tmp_path / "gone") == 0


# -- the GPU, by a library that is made up -----------------------------------------------------------------------------


class NVMLError(Exception):
    """As the library's."""


def library(*, supported: bool = True, devices: int = 2) -> SimpleNamespace:
    def rates(_: object) -> SimpleNamespace:
        if not supported:
            raise NVMLError("not supported")
        return SimpleNamespace(gpu=25)

    def by_index(number: int) -> str:
        if number >= devices:
            raise NVMLError("invalid argument")
        return f"index {number}"

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=by_index,
        nvmlDeviceGetHandleByUUID=lambda name: f"uuid {name}",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=1 << 30),
        nvmlDeviceGetUtilizationRates=rates,
    )


@pytest.mark.parametrize(
    ("device", "visible", "handle"),
    [
        ("cuda", "", "index 0"),
        ("cuda:1", "", "index 1"),
        ("cuda:0", "1,0", "index 1"),
        ("cuda:1", "GPU-aa, MIG-bb", "uuid MIG-bb"),
        ("cuda:2", "", None),
        ("cuda:1", "0", None),
        ("cuda:0", "what", None),
        ("cpu", "", None),
        ("mps", "", None),
    ],
)
def test_the_gpu_is_the_one_that_the_trainer_uses(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str, handle: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())
    found = open_gpu(device, {"CUDA_VISIBLE_DEVICES": visible})
    assert (None if found is None else found._handle) == handle


def test_a_gpu_says_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Gpu(library(), "a").look() == GpuFigures(1 << 30, 0.25)
    assert Gpu(library(supported=False), "a").look() == GpuFigures(1 << 30, None)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert open_gpu("cuda:0") is None
