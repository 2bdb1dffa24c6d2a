"""Starting a client: from a join line or an enrolled directory to a running agent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from roughfed.allocator import keep_pages
from roughfed.client import enrol, enrolled
from roughfed.client.hours import Clock
from roughfed.client.life import run
from roughfed.client.local import LocalTrainer
from roughfed.client.setup import Setup
from roughfed.config.client import ClientConfig
from roughfed.config.load import load_client
from roughfed.crypto.join_line import JoinLine
from roughfed.types import Job


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


async def join(folder: Path, line: JoinLine) -> enrolled.Enrolled:
    """Enrol this directory."""
    Place(folder).state.mkdir(parents=True, exist_ok=True, mode=0o700)
    return await enrol.enroll(line, Place(folder).papers)


class How(TypedDict, total=False):
    """What else of `client.setup.Setup` a test or a bench decides."""

    secret: Callable[[bytes], bytes]
    training_seed: Callable[[Job], int] | None
    clock: Clock


async def run_agent(
    folder: Path,
    config: ClientConfig,
    trainer: LocalTrainer,
    **how: Unpack[How],
) -> str:
    """Run the enrolled client of a directory; returns why it ended."""
    place = Place(folder)
    return await run(Setup(config, place.state, place.papers, trainer, **how))


def run_blocking(
    folder: Path,
    config: ClientConfig,
    trainer: LocalTrainer,
    *,
    line: JoinLine | None,
    **how: Unpack[How],
) -> str:
    """Enrol if there is a line, then run."""
    keep_pages()

    async def both() -> str:
        if line is not None:
            await join(folder, line)
        return await run_agent(folder, config, trainer, **how)

    return asyncio.run(both())
