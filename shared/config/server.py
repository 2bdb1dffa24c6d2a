"""[server] of fed.toml: where the server listens, and how it ends."""

from __future__ import annotations

from pydantic import BaseModel, Field

from roughfed.config.values import STRICT, Address
from roughfed.httpd import is_loopback


class Server(BaseModel):
    """Where the server listens."""

    model_config = STRICT

    host: str = Field(
        default="0.0.0.0",  # noqa: S104 (a server is there to be reached)
        min_length=1,
        description="Address that the federation and enrolment ports bind to.",
    )
    port: int = Field(default=8443, ge=0, le=65535, description="Federation port (mutual TLS); 0 = any free port.")
    enrol_port: int = Field(default=8444, ge=0, le=65535, description="Enrolment port (server TLS); 0 = any free port.")
    http: bool = Field(default=True, description="Serve the status page, /metrics and /healthz.")
    http_host: str = Field(default="127.0.0.1", min_length=1, description="Address that the HTTP port binds to.")
    http_port: int = Field(default=9464, ge=0, le=65535, description="HTTP port; 0 = any free port.")
    http_token: bool = Field(
        default=False,
        description="Ask for the token in state/http.token on loopback, too, where other users of this machine are "
        "not to look; elsewhere it is always asked for.",
    )
    address: Address = Field(
        default="", description="host:port that clients are told; empty = this host's name and port."
    )
    drain_s: float = Field(
        default=30.0, ge=0, description="Seconds that running transfers get when the server is told to stop."
    )
    stay: bool = Field(
        default=False,
        description="Go on serving the page, metrics and late clients when the run is over, until told to stop; for a "
        "server that somebody else would start again, or watches.",
    )
    transfers: int = Field(
        default=8,
        ge=1,
        le=1024,
        description="Transfers that run at full speed at once, in each direction; slower ones count for less, the rest "
        "waits for its turn. Each takes about 8 MB of memory.",
    )

    strikes: int = Field(
        default=100,
        ge=0,
        le=100_000,
        description="Calls of one client that may be refused within a minute, for what no honest client sends, until "
        "its session ends and its calls are turned away for a minute; 0 = no limit.",
    )

    connections: int = Field(
        default=512,
        ge=0,
        le=1_000_000,
        description="Connections of one address (IPv6: of one /64) from which no call has come yet; of more, the "
        "oldest are ended. 0 = no limit.",
    )

    @property
    def asks_for_token(self) -> bool:
        """Whether the HTTP port answers only to who has the token."""
        return self.http_token or not is_loopback(self.http_host)
