"""Starting the server: from a directory with fed.toml to a running aggregator."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from roughfed.allocator import keep_pages
from roughfed.client.members import credential_files
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.config.load import load_federation
from roughfed.crypto.certificates import load_certificate
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy.roster import lists_of
from roughfed.errors import ConfigError, RoughfedError, Unreachable
from roughfed.files import write_durably
from roughfed.lock import only_one
from roughfed.server.app import Ports, ServerSetup, serve
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_list import Lists
from roughfed.server.members.member_list import from_authority as from_ca
from roughfed.server.members.server_credentials import Obtain, Papers, from_authority
from roughfed.server.model.run_setup import ModelSource

log = logging.getLogger(__name__)

SERVER_NAME = "server"


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The files of one server directory."""

    folder: Path

    @property
    def state(self) -> Path:
        """Journal, models, spool, control socket."""
        return self.folder / "state"

    @property
    def ca(self) -> Path:
        """The CA's key, certificate and member file."""
        return self.state / "ca"

    @property
    def papers(self) -> Path:
        """The server's own keys and certificate."""
        return self.state / "papers"

    @property
    def ports(self) -> Path:
        """Where a running server notes its ports (they may have been picked by the system)."""
        return self.state / "ports.json"


def load(folder: Path, overrides: Mapping[str, str]) -> FederationConfig:
    """fed.toml, the environment, then `overrides` (dotted names)."""
    return load_federation(folder, os.environ, overrides=overrides)


def run_server(
    folder: Path,
    config: FederationConfig,
    origin: ModelSource,
    *,
    ca: bool = True,
    on_ready: Callable[[Ports], None] = lambda _: None,
    above: ClientConfig | None = None,
) -> str:
    """Run the server of a directory until it is over or drained.

    Args:
        folder: the directory.
        config: its settings.
        origin: who knows the model.
        ca: serve the enrolment port from the CA in this directory; False: the CA is elsewhere, and this directory was
            enrolled with `roughfed server --no-ca`.
        on_ready: told the ports.
        above: at an edge, the settings of its membership in the federation above (`roughfed.deploy.edge`).

    Returns:
        why it ended.

    Raises:
        ConfigError: another process runs on the directory; nothing in it was touched.
    """
    keep_pages()
    place = ServerFiles(folder)
    with only_one(place.state, "server", cure="roughfed stop"):
        setup = _setup(place, config, origin, ca=ca, on_ready=on_ready)
        if above is None:
            return asyncio.run(serve(setup))
        from roughfed.deploy.edge.run import place_above, serve_edge

        return asyncio.run(serve_edge(setup, place_above(folder), above))


def _setup(
    place: ServerFiles, config: FederationConfig, origin: ModelSource, *, ca: bool, on_ready: Callable[[Ports], None]
) -> ServerSetup:
    authority = Authority.open(place.ca, life=timedelta(days=config.identity.certificate_days)) if ca else None
    obtain = from_authority(authority, place.papers, SERVER_NAME) if authority else from_enrolment(place.papers)

    def ready(ports: Ports) -> None:
        note_ports(place, ports)
        on_ready(ports)

    lists = lists_of(place.folder, from_ca(authority) if authority is not None else lists_from_ca(place.papers))
    return ServerSetup(config, place.state, origin, obtain, authority, ready, lists=lists)


def from_enrolment(folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Obtain:
    """Papers from an enrolment at a CA elsewhere, renewed over its enrolment port.

    A start goes on with a certificate that is due but still valid when the CA does not answer; later tries say so.
    """
    from roughfed.client.members import enrol

    first = True

    async def obtain(*, new_key: bool = False) -> Papers:
        nonlocal first
        try:
            await enrol.renew(folder, new_key=new_key)
        except Unreachable as error:
            expires = load_certificate(credential_files.load(folder).certificate).not_valid_after_utc
            if new_key or not first or expires <= now():
                raise
            log.warning("the server's certificate, valid until %s, was not renewed yet: %s", expires, error)
        first = False
        own = await asyncio.to_thread(credential_files.load, folder)
        papers = (own.name, own.tls_key, own.certificate, own.ca_certificate, own.member, own.identity)
        return Papers(*papers, own.external)

    return obtain


LIST_EVERY_S = 30.0
"""How often a server whose CA is elsewhere asks it who belongs: a revocation there is known here within so long."""


def lists_from_ca(folder: Path, *, clock: Callable[[], float] = time.monotonic) -> Lists:
    """The list of members from the CA elsewhere, asked for at most every `LIST_EVERY_S`."""
    from roughfed.client.members import enrol

    known, until = b"", 0.0

    async def lists() -> bytes:
        nonlocal known, until
        if not known or clock() >= until:
            until = clock() + LIST_EVERY_S  # no round waits for one that is away more often, either
            try:
                known = await enrol.fetch_members(folder)
            except RoughfedError as error:
                if not known:
                    raise
                log.warning("no newer member list from the CA: %s", error)
        return known

    return lists


def invite(folder: Path, name: str, *, host: str, port: int, replace: bool = False) -> JoinLine:
    """A join line for one client, made by the CA in this directory; its mode is that of fed.toml.

    Args:
        folder: the server's (or the CA's) directory.
        name: the client's name.
        host: where the enrolment port is reached.
        port: the enrolment port.
        replace: the name's earlier key dies when the new one enrols.
    """
    authority = Authority.open(ServerFiles(folder).ca)
    secret = authority.invite(name, now=datetime.now(UTC), replace=replace)
    return JoinLine(host, port, secret, authority.fingerprint, load(folder, {}).privacy.server_sees)


def note_ports(place: ServerFiles, ports: Ports) -> None:
    """Say where this directory's server listens, for `invite` and `status`.

    Raises:
        StorageError: the disk refused.
    """
    write_durably(place.ports, json.dumps(asdict(ports)).encode(), sync=False)


def known_ports(folder: Path) -> Ports:
    """The ports of the server that runs (or last ran) in a directory.

    Raises:
        ConfigError: it never ran.
    """
    try:
        return Ports(**json.loads(ServerFiles(folder).ports.read_text()))
    except FileNotFoundError:
        raise ConfigError(
            "no server has run here yet, so its ports are not known", file=str(folder), cure="roughfed server"
        ) from None
