"""Who may ask: names of this machine on loopback, and whoever has the token elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from roughfed.httpd.values import Request, Response
from roughfed.rate_limit import Rate, RateLimit

EACH = Rate(burst=5, per_second=0.1)
ALL = Rate(burst=50, per_second=1.0)
"""Wrong tokens that are answered as such and logged: of one address, and of all."""

SCHEME = "bearer"

log = logging.getLogger(__name__)


class Access:
    """Asks for `Authorization: Bearer TOKEN` on every path that is not open.

    A right token is always let in: behind a proxy everybody has one address, and nobody's wrong tries may lock out
    the others. A guess is hopeless (256 bits); the limit keeps the log small and says that somebody tries.
    """

    def __init__(
        self, token: str, *, open_paths: Collection[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`open_paths` are answered without a token; `clock` gives seconds that never go back."""
        self._digest = _digest(token)
        self._open = frozenset(open_paths)
        self._tries = RateLimit(each=EACH, total=ALL, clock=clock)
        self.refused = 0
        """Wrong tokens so far."""

    def refusal(self, request: Request) -> Response | None:
        """What a request gets that may not be answered; None: it may."""
        if request.path in self._open:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == SCHEME else ""
        if not given:
            return _unauthorized(b"a token is needed: Authorization: Bearer TOKEN\n", "")
        if hmac.compare_digest(_digest(given), self._digest):
            return None
        self.refused += 1
        if not self._tries.allow(network_of(request.peer)):
            return Response(b"too many wrong tokens\n", status=429, headers={"Retry-After": "10"})
        log.warning("a wrong token came from %s", request.peer)
        return _unauthorized(b"this is not the token\n", ', error="invalid_token"')


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses; other names are never looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names_loopback(hosts: list[str]) -> bool:
    """Exactly one Host header, and it names this machine (a web page cannot reach it under a name of its own)."""
    if len(hosts) != 1:
        return False
    try:
        return is_loopback(urlsplit(f"//{hosts[0]}").hostname or "")
    except ValueError:
        return False


def is_foreign(request: Request) -> bool:
    """Whether a browser asks on behalf of another site, which could not read the answer but would hold a place.

    A link from there to a page is none: the person follows it.
    """
    site, mode = (request.headers.get(f"sec-fetch-{name}", "") for name in ("site", "mode"))
    return site in ("cross-site", "same-site") and mode != "navigate"


def network_of(address: str) -> str:
    """The address; of IPv6 the /64, which one host can hold whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def _digest(token: str) -> bytes:
    """Of equal length for every token: a comparison tells nothing of its length either."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _unauthorized(body: bytes, more: str) -> Response:
    return Response(body, status=401, headers={"WWW-Authenticate": f'Bearer realm="roughfed"{more}'})
