"""What the doctor is called to: a directory, what it is, its settings and papers, and what of it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from roughfed.client.connection.diagnose import Reason, diagnose
from roughfed.client.connection.server_info import ServerInfo, fetch_server_info
from roughfed.client.members import credential_files
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.deploy import agent, aggregator
from roughfed.deploy.doctor.lock_holders import holder_of
from roughfed.deploy.doctor.once import Once
from roughfed.errors import ConfigError, RoughfedError, Unreachable
from roughfed.server.members.authority import CA_KEY

if TYPE_CHECKING:
    from roughfed.client.members.credential_files import Credentials
    from roughfed.deploy.doctor.trainer import Examined

Role = Literal["server", "client", "none"]
CALL_S = 5.0


@dataclass(frozen=True, slots=True)
class Contact:
    """How far a client got with its server.

    Attributes:
        address: host:port of the federation port; empty when it is not known.
        reason: of TCP and TLS; None when that was not tried.
        greeting: what the server said of itself.
        refused: why it did not.
    """

    address: str = ""
    reason: Reason | None = None
    greeting: ServerInfo | None = None
    refused: RoughfedError | None = None


@dataclass(frozen=True, slots=True)
class DoctorSite:
    """A directory and all that is known of it before the first check.

    Attributes:
        folder: `--dir`.
        role: what lives here.
        config: its settings; None when they cannot be read, or there are none.
        refused: why they cannot.
        papers: keys and certificate of the enrolment; None when there are none.
        unenrolled: why there are none.
        status: what the running server says; None when none runs.
        pid: the process that holds the directory.
        offline: nothing may be asked over the network.
        until: `time.monotonic()` at which the whole examination ends.
        contact: a client's way to its server, tried once.
        examined: what a trainer process says of devices, model and data, asked once.
    """

    folder: Path
    role: Role
    config: FederationConfig | ClientConfig | None = None
    refused: ConfigError | None = None
    papers: Credentials | None = None
    unenrolled: RoughfedError | None = None
    status: dict[str, Any] | None = None
    pid: int | None = None
    offline: bool = False
    until: float = field(default_factory=lambda: time.monotonic() + 25.0)
    contact: Callable[[], Contact] = Contact
    examined: Callable[[], Examined | None] = lambda: None

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    @property
    def federation(self) -> FederationConfig | None:
        """fed.toml, in a server's directory."""
        return self.config if isinstance(self.config, FederationConfig) else None

    @property
    def client(self) -> ClientConfig | None:
        """client.toml, in a client's directory."""
        return self.config if isinstance(self.config, ClientConfig) else None

    @property
    def running(self) -> bool:
        """Whether a server or a client runs on the directory."""
        return self.status is not None or self.pid is not None

    def left(self) -> float:
        """Seconds until the examination must be over, at least a moment."""
        return max(0.1, self.until - time.monotonic())


def role_of(folder: Path) -> Role:
    """What lives in a directory."""
    if (folder / FederationConfig.FILE).exists() or (aggregator.ServerFiles(folder).ca / CA_KEY).exists():
        return "server"
    if (folder / ClientConfig.FILE).exists() or (agent.ClientFiles(folder).papers / credential_files.RECORD).exists():
        return "client"
    return "none"


def visit(folder: Path, *, status: dict[str, Any] | None, offline: bool, within_s: float) -> DoctorSite:
    """Gather what is known without asking anybody.

    Args:
        folder: the directory.
        status: what the running server says of itself.
        offline: ask nothing over the network.
        within_s: seconds for the whole examination.
    """
    from roughfed.deploy.doctor.trainer import examine

    role, until = role_of(folder), time.monotonic() + within_s
    config, refused = _settings(folder, role)
    papers, unenrolled = _papers(agent.ClientFiles(folder).papers)
    pid = holder_of(folder / "state")
    bare = DoctorSite(folder, role, config, refused, papers, unenrolled, status, pid, offline, until)
    contact, examined = Once(lambda: reach(bare)), Once(lambda: examine(bare))
    return DoctorSite(folder, role, config, refused, papers, unenrolled, status, pid, offline, until, contact, examined)


def address_of(site: DoctorSite) -> str:
    """host:port of the federation port that a client calls; empty when it is not known."""
    told = site.client.client.server if site.client else ""
    return told or (site.papers.record.federation_address if site.papers else "")


def enrolment_of(site: DoctorSite) -> str:
    """host:port of the enrolment port at which a client renews; empty when it is not known."""
    told = site.client.client.enrol if site.client else ""
    return told or (site.papers.record.enrolment_address if site.papers else "")


def reach(site: DoctorSite) -> Contact:
    """A client's way to its server: TCP, TLS, and one call that leaves a running session alone."""
    address = address_of(site)
    if site.offline or site.papers is None or site.role != "client" or not address:
        return Contact(address)
    reason = diagnose(address, site.papers)
    if not reason.works:
        return Contact(address, reason)
    try:
        greeting = asyncio.run(fetch_server_info(address, site.papers, timeout_s=min(CALL_S, site.left())))
    except RoughfedError as error:
        return Contact(address, reason, refused=error)
    return Contact(address, reason, greeting)


def _settings(folder: Path, role: Role) -> tuple[FederationConfig | ClientConfig | None, ConfigError | None]:
    try:
        if role == "server":
            return aggregator.load(folder, {}), None
        if role == "client" and (folder / ClientConfig.FILE).exists():
            return agent.load(folder, {}), None
    except ConfigError as error:
        return None, error
    return None, None


def _papers(folder: Path) -> tuple[Credentials | None, RoughfedError | None]:
    try:
        return credential_files.load(folder), None
    except RoughfedError as error:
        return None, error
    except OSError as error:
        return None, Unreachable(f"{error.filename}: {error.strerror}")
