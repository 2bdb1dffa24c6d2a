"""Under which name or address newcomers are told to knock."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  compared, not listened on
OUTSIDE = ("192.0.2.1", 9)
"""An address that nobody has: nothing is sent to it, it only picks the interface that leads outside."""

SIOCGIFADDR = 0x8915


def reachable_host(config: FederationConfig) -> str:
    """The host that newcomers are told: that of server.address, the one bound to, or this machine's."""
    return chosen(config)[0]


def chosen(config: FederationConfig) -> tuple[str, str]:
    """The host that newcomers are told, and what it is: for a person who knows better."""
    if config.server.address:
        return config.server.address.rpartition(":")[0].strip("[]"), "the host of server.address"
    if config.server.host not in EVERYWHERE:
        return config.server.host.strip("[]"), "the address of server.host"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(OUTSIDE)
        return probe.getsockname()[0], "the address from which this machine reaches others"
    for interface, address in addresses():
        return address, f"the address of {interface}; this machine has no default route"
    return socket.gethostname(), "the name of this machine, which has no address but its own"


def addresses() -> list[tuple[str, str]]:
    """(interface, its first IPv4 address), in the system's order; without those that only this machine or link sees."""
    found: list[tuple[str, str]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, interface in socket.if_nameindex():
            with suppress(OSError):  # it has none, or this is no Linux
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
                found.append((interface, socket.inet_ntoa(answer[20:24])))
    return [(name, text) for name, text in found if not (at := ip_address(text)).is_loopback and not at.is_link_local]
