"""Token buckets: how often one address, and everybody together, may knock."""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket that holds `burst` requests and refills at `per_second`."""

    burst: float
    per_second: float


@dataclass(slots=True)
class _Bucket:
    level: float
    at_s: float

    def take(self, rate: Rate, *, now_s: float) -> bool:
        self.level = min(rate.burst, self.level + (now_s - self.at_s) * rate.per_second)
        self.at_s = now_s
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


class RateLimit:
    """A bucket for each address and one for all; memory is bounded however many addresses come."""

    def __init__(self, *, each: Rate, total: Rate, clock: Callable[[], float], max_addresses: int = 4096) -> None:
        """`clock` gives seconds that never go back."""
        self._each, self._total, self._clock, self._max = each, total, clock, max_addresses
        self._all = _Bucket(total.burst, clock())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()  # least recently seen first

    def allow(self, address: str) -> bool:
        """Count one request; False when it must be refused."""
        now_s = self._clock()
        bucket = self._by_address.pop(address, None) or _Bucket(self._each.burst, now_s)
        self._by_address[address] = bucket
        if len(self._by_address) > self._max:
            self._by_address.popitem(last=False)  # it starts afresh; the bucket for all still holds
        # One flooding address must not use up the requests of the others.
        return bucket.take(self._each, now_s=now_s) and self._all.take(self._total, now_s=now_s)


def address_of(peer: str) -> str:
    """The address of a gRPC peer such as `ipv4:10.0.0.7:5123`; of IPv6 the /64, which one host can hold whole."""
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]")
    if kind != "ipv6":
        return host or peer
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
