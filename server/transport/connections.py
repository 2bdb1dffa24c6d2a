"""Connections: how many there may be, and how many of one address that have not said anything yet.

gRPC takes what comes, and gives each 5 s for TLS; by itself it knows only a limit of all connections of a port
(`quotas`). So that one address does not use it up, this looks at the process's own sockets a few times a second, and
ends the oldest of an address that has too many from which no call has come. gRPC sees that its peer hung up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from roughfed.rate_limit import address_of

RESERVE = 256
"""Descriptors that no connection gets: the journal, models and updates on disk, the HTTP port, the worker."""

MOST_ENROLLING = 2048
SCAN_S = 0.25
YOUNG_S = 1.0
"""So long a connection may be silent in any case: TLS and a first call take a few round trips."""

QUIET_S = 60.0
"""An address is named in the log once in so long."""

SHARE = 4
"""One address gets at most this part of a port's connections without a call."""

log = logging.getLogger(__name__)

_OWN = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


def quotas(descriptors: int) -> tuple[int, int]:
    """Connections that the federation port and the enrolment port may have, out of what the process may open."""
    left = max(descriptors - RESERVE, descriptors // 2)
    enrolling = min(MOST_ENROLLING, left // 4)
    return left - enrolling, enrolling


class Connections:
    """The connections of some ports of this process."""

    def __init__(self) -> None:
        """No port yet."""
        self._most: dict[int, int] = {}
        self._callers: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._named: dict[str, float] = {}
        self._others = 0

    def limit(self, port: int, each: int, *, quota: int) -> None:
        """Let an address have so many connections to a port without a call, a quarter of them all at most; 0: any."""
        if each:
            self._most[port] = max(1, min(each, quota // SHARE))

    def called(self, peer: str, client: str = "") -> None:
        """A call came from there (as gRPC names a peer): it counts with its client's, or by itself."""
        peer = urllib.parse.unquote(peer)
        self._callers[peer] = client or peer

    async def keep(self) -> NoReturn:
        """Look, for ever."""
        while True:
            await asyncio.sleep(SCAN_S)
            if not self._most:
                self._callers.clear()  # nobody is counted
            elif self._crowded() or len(self._callers) > MOST_ENROLLING:
                for address, count in (await asyncio.to_thread(self.scan)).items():
                    self._name(address, count)

    def scan(self) -> dict[str, int]:
        """End what is too much; how many, by address (or client)."""
        callers, now = dict(self._callers), time.monotonic()
        here: dict[tuple[int, str], list[str]] = defaultdict(list)
        total = 0
        for number in _descriptors():
            total += 1
            with _peer(number, self._most) as found:
                if found is not None:
                    peer, port, _ = found
                    here[port, callers.get(peer) or address_of(peer)].append(peer)
        seen = {peer for peers in here.values() for peer in peers}
        self._since = {peer: self._since.get(peer, now) for peer in seen}
        for peer in callers.keys() - seen:
            self._callers.pop(peer, None)
        self._others = total - sum(peer not in callers for peer in seen)
        extra: dict[str, str] = {}
        for (port, whose), peers in here.items():
            peers.sort(key=self._since.__getitem__)  # who waits for longest says nothing; a newcomer is about to
            extra |= {peer: whose for peer in peers[: -self._most[port]] if self._since[peer] <= now - YOUNG_S}
        return self._end(extra) if extra else {}

    def _end(self, extra: dict[str, str]) -> dict[str, int]:
        ended: dict[str, int] = defaultdict(int)
        for number in _descriptors():
            with _peer(number, self._most) as found:
                if found is not None and found[0] in extra:
                    with suppress(OSError):
                        found[2].shutdown(socket.SHUT_RDWR)
                        ended[extra[found[0]]] += 1
        return ended

    def _crowded(self) -> bool:
        """Whether so many descriptors are open that it is worth a look."""
        return len(_descriptors()) - self._others >= min(self._most.values())

    def _name(self, address: str, count: int) -> None:
        now = time.monotonic()
        if now - self._named.get(address, -QUIET_S) < QUIET_S:
            return
        if len(self._named) > MOST_ENROLLING:
            self._named.clear()
        self._named[address] = now
        log.warning("ended %d connections of %s: too many at once, from which no call came", count, address)


def _descriptors() -> list[int]:
    try:
        return [int(path.name) for path in _OWN.iterdir()]
    except OSError:  # none left even for this
        return []


@contextmanager
def _peer(number: int, ports: dict[int, int]) -> Generator[tuple[str, int, socket.socket] | None]:
    """Peer (as gRPC names it), own port and socket, if this descriptor is a connection to one of the ports.

    It is looked at as it is and never duplicated: gRPC trusts that what it closes leaves its epoll set, and a duplicate
    would keep it there. So it may become another one between two looks, in some microseconds: who is ended by mistake
    connects again.
    """
    try:
        link = socket.socket(fileno=number)
    except OSError:  # gone, or no socket
        yield None
        return
    try:
        yield _named(link, ports)
    finally:
        link.detach()  # it is gRPC's, not ours to close


def _named(link: socket.socket, ports: dict[int, int]) -> tuple[str, int, socket.socket] | None:
    with suppress(OSError):
        if link.family not in (socket.AF_INET, socket.AF_INET6) or (port := link.getsockname()[1]) not in ports:
            return None
        host, remote = link.getpeername()[:2]
        host = host.removeprefix("::ffff:")
        return f"ipv6:[{host}]:{remote}" if ":" in host else f"ipv4:{host}:{remote}", port, link
    return None
