"""Trying a port before a server opens it, and saying which setting is wrong when it cannot be had."""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple


class PortRefused(NamedTuple):
    """Why a port cannot be opened.

    Attributes:
        cause: in a sentence without a full stop.
        key: the setting that is wrong: the port's, or the address's.
        cure: what to do.
        taken: another process has it.
    """

    cause: str
    key: str
    cure: str
    taken: bool


def try_port(key: str, host: str, port: int) -> PortRefused | None:
    """Bind and listen, and let go again.

    Args:
        key: `server.port`, `server.enrol_port` or `server.http_port`.
        host: address to bind to.
        port: 0 = any free one.

    Returns:
        why not; None when it can be had.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return _refused(error, key, host, port)
    return None


def _refused(error: OSError, key: str, host: str, port: int) -> PortRefused:
    cause = f"cannot listen on {host}:{port}: {error.strerror or error}"
    if error.errno == errno.EACCES:
        cure = f"choose a port above 1023, or give the right to use it (CAP_NET_BIND_SERVICE): --set {key}=8443"
        return PortRefused(cause, key, cure, False)
    if error.errno == errno.EADDRINUSE:
        cure = f"end the other one, choose another port, or 0 for any free one: roughfed server --set {key}=0"
        return PortRefused(cause, key, cure, True)
    address_key = "server.http_host" if key == "server.http_port" else "server.host"
    cure = "an address of this machine, without scheme and port; 0.0.0.0 for all, 127.0.0.1 for this machine alone"
    return PortRefused(cause, address_key, cure, False)
