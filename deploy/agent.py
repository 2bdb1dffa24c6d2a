"""Starting a client: from a join line or an enrolled directory to a running agent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from roughfed.allocator import keep_pages
from roughfed.client import enrol, enrolled
from roughfed.client.hours import Clock, SystemClock
from roughfed.client.life import run
from roughfed.client.local import LocalTrainer
from roughfed.client.session import fresh_secret
from roughfed.client.setup import Setup
from roughfed.config.client import ClientConfig
from roughfed.config.load import load_client
from roughfed.config.organisations import read_organisations
from roughfed.crypto.join_line import JoinLine
from roughfed.crypto.member_list import Organisations


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one client directory."""

    folder: Path

    @property
    def state(self) -> Path:
        """The client's store."""
        return self.folder / "state"

    @property
    def papers(self) -> Path:
        """Keys, certificate and roster entry."""
        return self.state / "papers"


def load(folder: Path, overrides: Mapping[str, str]) -> ClientConfig:
    """client.toml, the environment, then `overrides` (dotted names)."""
    return load_client(folder, os.environ, overrides=overrides)


def organisations(folder: Path, config: ClientConfig) -> Organisations | None:
    """Those of `policy.organisations`; None where the CA signs the list of members.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    path = config.policy.organisations
    return read_organisations(folder / path) if path else None


async def join(folder: Path, line: JoinLine) -> enrolled.Enrolled:
    """Enrol this directory."""
    Place(folder).state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return await enrol.enroll(line, Place(folder).papers)


async def run_agent(
    folder: Path,
    config: ClientConfig,
    trainer: LocalTrainer,
    *,
    secret: Callable[[bytes], bytes] = fresh_secret,
    clock: Clock | None = None,
) -> str:
    """Run the enrolled client of a directory; returns why it ended. `secret`, `clock`: as of `client.setup.Setup`."""
    place = Place(folder)
    signers = organisations(folder, config)
    clock = clock or SystemClock()
    return await run(Setup(config, place.state, place.papers, trainer, secret, clock=clock, organisations=signers))


def run_blocking(
    folder: Path,
    config: ClientConfig,
    trainer: LocalTrainer,
    *,
    line: JoinLine | None,
    secret: Callable[[bytes], bytes] = fresh_secret,
    clock: Clock | None = None,
) -> str:
    """Enrol if there is a line, then run."""
    keep_pages()

    async def both() -> str:
        if line is not None:
            await join(folder, line)
        return await run_agent(folder, config, trainer, secret=secret, clock=clock)

    return asyncio.run(both())
