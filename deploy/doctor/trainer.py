"""Asking a trainer process: only it may import torch and the user's code, and only it dies of them."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roughfed.errors import RoughfedError, TrainerError
from roughfed.extras import MissingExtra, is_installed
from roughfed.trainer_client import Description, Trainer, trainer_command

if TYPE_CHECKING:
    from roughfed.deploy.doctor.site import DoctorSite

SLOW = "slow"
AGAIN = "it may load much, or hang: roughfed doctor --only data --within 600 takes the time for it"
MARGIN_S = 1.0  # for stopping the process before the examination is over


@dataclass(frozen=True, slots=True)
class Examined:
    """What the trainer answered.

    Attributes:
        devices: of `roughfed.client.trainer.examine.devices`; None when torch did not even load.
        description: the app; None when it does not load.
        found: of `examine.look` and `examine.step`; None when that failed.
        error: what ended it, if something did.
    """

    devices: dict[str, Any] | None = None
    description: Description | None = None
    found: dict[str, Any] | None = None
    error: RoughfedError | None = None


def examine(site: DoctorSite) -> Examined:
    """Start the trainer of a directory, ask it, and end it; without torch there is none to start."""
    if not is_installed("torch"):
        return Examined(error=MissingExtra("torch is not installed", key="train", cure="pip install 'roughfed[train]'"))
    try:
        command, error = command_of(site), None
    except RoughfedError as refused:  # of the settings: the devices can be told all the same
        command, error = bare(), refused
    with tempfile.TemporaryDirectory(prefix="rf-doctor-") as folder:
        examined = asyncio.run(_ask(command, Path(folder) / "trainer.log", site.left() - MARGIN_S))
    return examined if error is None else replace(examined, error=error)


def command_of(site: DoctorSite) -> list[str]:
    """The trainer that this directory would start; beside a running one, on the CPU and with one thread."""
    from roughfed.deploy.cli import processes

    if site.federation is not None:
        return _modestly(site, processes.worker_command(site.folder, site.federation))
    if site.client is not None and (site.client.app.path or site.client.data.name):
        return _modestly(site, processes.client_command(site.folder, site.client))
    return bare()


def bare() -> list[str]:
    """A trainer without an app, that knows of devices alone."""
    return trainer_command(builtin={}, device="auto")


def _modestly(site: DoctorSite, command: list[str]) -> list[str]:
    if site.running:
        for flag, value in (("--device", "cpu"), ("--threads", "1")):
            command[command.index(flag) + 1] = value
    return command


async def _ask(command: list[str], log: Path, within_s: float) -> Examined:
    devices, description, found, error = None, None, None, None
    try:
        trainer = await Trainer.start(command, log=log)
    except TrainerError as refused:
        return Examined(error=refused)
    try:
        async with asyncio.timeout(max(0.1, within_s)):
            devices = await trainer.call("devices")
            description = await trainer.describe()
            found = await trainer.call("examine")
    except TimeoutError:
        error = TrainerError(f"it did not answer within {within_s:.0f} s", reason=SLOW)
        with suppress(ProcessLookupError):  # to be asked to end takes time that is not there
            os.kill(trainer.pid, signal.SIGKILL)
    except TrainerError as refused:
        error = refused
    finally:
        await trainer.stop()
    return Examined(devices, description, found, error)
