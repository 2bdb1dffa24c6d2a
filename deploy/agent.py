"""Starting a client: from a join line or an enrolled directory to a running agent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from roughfed.allocator import keep_pages
from roughfed.client.disclosure.mode import LINE, OWNER, allowed, record_bound
from roughfed.client.local.availability import Clock
from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.client.members import credential_files, enrol
from roughfed.client.runner import run
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.config.load import build, load_client
from roughfed.config.organisations import read_organisations
from roughfed.config.schema import keys_of
from roughfed.config.sources import from_env
from roughfed.crypto.certificates import fingerprint
from roughfed.crypto.join_line import JoinLine
from roughfed.crypto.member_list import Organisations
from roughfed.descriptors import raise_limit
from roughfed.errors import ConfigError
from roughfed.lock import only_one
from roughfed.mode import MODES, UPDATES_SHOWN, shows_more, strictest
from roughfed.types import Job


@dataclass(frozen=True, slots=True)
class ClientFiles:
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


class ShowsMore(ConfigError):
    """A federation shows its server more of a client than the owner of this one agreed to."""

    reason = "mode"

    def with_cure(self, cure: str) -> ShowsMore:
        """The same with what to type."""
        return ShowsMore(self.cause, file=self.file, key=self.key, cure=cure)


def load(folder: Path, overrides: Mapping[str, str]) -> ClientConfig:
    """client.toml, the environment, then `overrides` (dotted names)."""
    return load_client(folder, os.environ, overrides=overrides)


async def join(folder: Path, line: JoinLine, *, policy: str, typed: bool = False) -> credential_files.Credentials:
    """Enrol this directory, and note how much the federation's server may see of it.

    Args:
        folder: the directory.
        line: of the federation; its mode is agreed to with it.
        policy: the most that its owner lets a server see, by client.toml.
        typed: the owner says so now, whatever the directory has held to.

    Raises:
        ShowsMore: the line's mode shows the server more than that; the line is not used.
    """
    place = ClientFiles(folder)
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(ClientStore(place.state)) as store:
        most = policy if typed else allowed(store, line.ca_fingerprint, policy)
        check_line(line, most)
        papers = await enrol.enroll(line, place.papers)
        agreed = most if typed or not line.server_sees else strictest(most, line.server_sees)
        await record_bound(store, line.ca_fingerprint, agreed, OWNER if typed else LINE)
    return papers


async def accept(folder: Path, papers: credential_files.Credentials, mode: str) -> None:
    """Note the owner's word: the most that the server of this directory's federation may see from now on.

    Raises:
        ConfigError: a client runs here, and would go on as it is.
    """
    state = ClientFiles(folder).state
    cure = "stop that client first; it shows what it showed until it starts again"
    with only_one(state, "client", cure=cure), closing(ClientStore(state)) as store:
        await record_bound(store, fingerprint(papers.ca_certificate), mode, OWNER)


def agreed(folder: Path, papers: credential_files.Credentials, policy: str) -> str:
    """The most that the server may see: what is noted here, and `policy`, whichever is less."""
    with closing(ClientStore(ClientFiles(folder).state)) as store:
        return allowed(store, fingerprint(papers.ca_certificate), policy)


def policy_of(folder: Path) -> str:
    """`policy.server_sees` of client.toml and the environment; without a client.toml of the environment alone."""
    if (folder / ClientConfig.FILE).exists():
        return load(folder, {}).policy.server_sees
    given = from_env(os.environ, keys_of(ClientConfig), keys_of(FederationConfig))
    return build(ClientConfig, {k: v for k, v in given.items() if k == "policy.server_sees"}).policy.server_sees


def check_line(line: JoinLine, most: str) -> None:
    """Refuse a federation whose server sees more than its newest member shows, before the line is used.

    Raises:
        ShowsMore: says what the mode shows, and what to do.
    """
    if not line.server_sees or not shows_more(line.server_sees, most):
        return
    shown = f". {UPDATES_SHOWN}" if line.server_sees == MODES[-1] else ""
    raise ShowsMore(
        f'this federation has server_sees = "{line.server_sees}", and the most that this client shows is '
        f'"{most}"{shown}',
        key="policy.server_sees",
        cure=f'if you agree to it, write server_sees = "{line.server_sees}" in [policy] of client.toml',
    )


class How(TypedDict, total=False):
    """What else of `client.setup.Setup` a test or a bench decides."""

    secret: Callable[[bytes], bytes]
    training_seed: Callable[[Job], int] | None
    clock: Clock


def organisations(folder: Path, config: ClientConfig) -> Organisations | None:
    """Those of `policy.organisations`; None where the CA signs the list of members.

    Raises:
        ConfigError: the file is missing or wrong, or nobody would sign a list that this client goes by.
    """
    if path := config.policy.organisations:
        return read_organisations(folder / path)
    papers = ClientFiles(folder).papers
    if (
        config.policy.server_sees != MODES[-1]
        and credential_files.is_enrolled(papers)
        and credential_files.load(papers).external
    ):
        raise ConfigError(
            "the CA is not roughfed's, so organisations sign the member list, and this client knows none",
            file=str(folder / ClientConfig.FILE),
            key="policy.organisations",
            cure="ask an organisation for the file with their keys; roughfed join --organisations FILE",
        )
    return None


async def run_agent(
    folder: Path,
    config: ClientConfig,
    trainer: LocalTrainer,
    **how: Unpack[How],
) -> str:
    """Run the enrolled client of a directory; returns why it ended."""
    place = ClientFiles(folder)
    signers = organisations(folder, config)
    return await run(Setup(config, place.state, place.papers, trainer, organisations=signers, **how))


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
    raise_limit()

    async def both() -> str:
        if line is not None:
            await join(folder, line, policy=config.policy.server_sees)
        return await run_agent(folder, config, trainer, **how)

    return asyncio.run(both())
