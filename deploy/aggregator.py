"""Starting the server: from a directory with fed.toml to a running aggregator."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from roughfed.client import enrolled
from roughfed.config.federation import FederationConfig
from roughfed.config.load import load_federation
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy.allocator import keep_pages
from roughfed.errors import ConfigError
from roughfed.files import write_durably
from roughfed.server.app import Origin, Ports, Setup, serve
from roughfed.server.authority import Authority
from roughfed.server.papers import Obtain, Papers, from_authority

SERVER_NAME = "server"


@dataclass(frozen=True, slots=True)
class Place:
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
    origin: Origin,
    *,
    ca: bool = True,
    on_ready: Callable[[Ports], None] = lambda _: None,
) -> str:
    """Run the server of a directory until it is over or drained.

    Args:
        folder: the directory.
        config: its settings.
        origin: who knows the model.
        ca: serve the enrolment port from the CA in this directory; False: the CA is elsewhere, and this directory was
            enrolled with `roughfed server --no-ca`.
        on_ready: told the ports.

    Returns:
        why it ended.
    """
    keep_pages()
    place = Place(folder)
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority.open(place.ca, life=timedelta(days=config.identity.certificate_days)) if ca else None
    obtain = from_authority(authority, place.papers, SERVER_NAME) if authority else from_enrolment(place.papers)

    def ready(ports: Ports) -> None:
        note_ports(place, ports)
        on_ready(ports)

    return asyncio.run(serve(Setup(config, place.state, origin, obtain, authority, ready)))


def from_enrolment(folder: Path) -> Obtain:
    """Papers from an enrolment at a CA elsewhere, renewed over its enrolment port."""
    from roughfed.client import enrol

    async def obtain() -> Papers:
        await enrol.renew(folder)
        own = await asyncio.to_thread(enrolled.load, folder)
        return Papers(own.name, own.tls_key, own.certificate, own.ca_certificate, own.member, own.identity)

    return obtain


def invite(folder: Path, name: str, *, host: str, port: int, replace: bool = False) -> JoinLine:
    """A join line for one client, made by the CA in this directory.

    Args:
        folder: the server's (or the CA's) directory.
        name: the client's name.
        host: where the enrolment port is reached.
        port: the enrolment port.
        replace: the name's earlier key dies when the new one enrols.
    """
    authority = Authority.open(Place(folder).ca)
    secret = authority.invite(name, now=datetime.now(UTC), replace=replace)
    return JoinLine(host, port, secret, authority.fingerprint)


def note_ports(place: Place, ports: Ports) -> None:
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
        return Ports(**json.loads(Place(folder).ports.read_text()))
    except FileNotFoundError:
        raise ConfigError(
            "no server has run here yet, so its ports are not known", file=str(folder), cure="roughfed server"
        ) from None
