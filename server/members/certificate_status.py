"""Which certificates may call: those of members that belong here, and of each member the latest.

A certificate that was renewed is good until its successor is seen: a renewal whose answer was lost locks nobody out,
and a key that was replaced because it may have leaked is worth nothing from the first call with the new one on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from roughfed.crypto.certificates import CLOCK_SKEW, load_certificate
from roughfed.errors import IdentityError

VOUCHED_S = 60.0
"""How long the CA's word on a certificate is taken."""

REVOKED, OUTDATED = "revoked", "outdated"

Judge = Callable[[str, int], str]
"""(client, serial number) -> "", or why its certificate is refused: "revoked" or "outdated"."""


class Callers:
    """What is known of the certificates that came."""

    def __init__(self) -> None:
        """Nobody has called yet; `judge` is the CA's word where the CA is beside the server, else dates decide."""
        self.judge: Judge | None = None
        self._vouched: dict[str, tuple[int, float]] = {}
        self._enrolments = 0
        self._latest: dict[str, datetime] = {}
        self._read: dict[str, tuple[bytes, int, datetime]] = {}
        """client -> the certificate (PEM) of its last call, with its number and beginning: it comes with each call."""

    async def check(self, client: str, certificate: bytes) -> None:
        """Turn away the revoked, a machine that was replaced, and a certificate that was.

        The CA is asked once for each certificate, and again after somebody enrolled or a minute passed (the enrolment
        may be served by another process).

        Raises:
            IdentityError: reason "revoked" or "outdated".
        """
        known = self._read.get(client)
        if known is None or known[0] != certificate:
            loaded = load_certificate(certificate)
            known = self._read[client] = (certificate, loaded.serial_number, loaded.not_valid_before_utc)
        _, serial, began = known
        if self.judge is not None:
            await self._ask(self.judge, client, serial)
            return
        latest = max(began, self._latest.get(client, began))
        if latest - began > CLOCK_SKEW:  # the CA's clock may have been set back between two certificates
            raise refusal(client, OUTDATED)
        self._latest[client] = latest

    async def _ask(self, judge: Judge, client: str, serial: int) -> None:
        now, generation = time.monotonic(), self._enrolments
        if (known := self._vouched.get(client)) is not None and known[0] == serial and now < known[1]:
            return
        if word := await asyncio.to_thread(judge, client, serial):
            self._vouched.pop(client, None)
            raise refusal(client, word)
        if generation == self._enrolments:
            self._vouched[client] = (serial, now + VOUCHED_S)

    def somebody_enrolled(self) -> None:
        """A name may belong to another machine now: ask the CA again."""
        self._enrolments += 1
        self._vouched.clear()

    def forget(self, client: str) -> None:
        """Ask the CA again about this client."""
        self._vouched.pop(client, None)


def refusal(client: str, word: str) -> IdentityError:
    """What a caller hears."""
    if word == OUTDATED:
        return IdentityError(f"{client} has a later certificate than this one; renew it: roughfed rotate", reason=word)
    return IdentityError(f"{client} is revoked, or another machine has taken its name", reason=word)
