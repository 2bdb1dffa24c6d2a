"""When clients were last here, and when their certificates end: small, bounded, and of no importance to a round."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress

from cryptography import x509

from roughfed.crypto.certificates import load_certificate
from roughfed.errors import IdentityError

MOST = 4096
"""Clients that are remembered; the ones heard of longest ago go first."""


def life_s(certificate: x509.Certificate) -> float:
    """How long a certificate is valid in all, seconds: its owner renews it by that, whatever is set here by now."""
    return (certificate.not_valid_after_utc - certificate.not_valid_before_utc).total_seconds()


class LastSeen:
    """What is known of clients beyond their sessions."""

    def __init__(self) -> None:
        """Nobody was here."""
        self._ends: OrderedDict[str, tuple[bytes, float, float]] = OrderedDict()
        self._left: OrderedDict[str, float] = OrderedDict()

    def certificate(self, client: str, certificate: bytes) -> None:
        """It came with this certificate (PEM); one that is known is not read again."""
        if (known := self._ends.get(client)) is not None and known[0] == certificate:
            return
        with suppress(IdentityError):  # whether it may come in is not decided here
            found = load_certificate(certificate)
            self._ends[client] = (certificate, found.not_valid_after_utc.timestamp(), life_s(found))
            self._ends.move_to_end(client)
        if len(self._ends) > MOST:
            self._ends.popitem(last=False)

    def left(self, client: str, now: float | None = None) -> None:
        """Its session ended (Unix seconds)."""
        self._left[client] = time.time() if now is None else now
        self._left.move_to_end(client)
        if len(self._left) > MOST:
            self._left.popitem(last=False)

    def ends(self, client: str) -> float | None:
        """When its certificate ends, Unix seconds; None where it never came."""
        return known[1] if (known := self._ends.get(client)) is not None else None

    def span(self, client: str) -> tuple[float, float] | None:
        """When its certificate ends, Unix seconds, and how long it is valid in all; None where it never came."""
        return known[1:] if (known := self._ends.get(client)) is not None else None

    def left_at(self, client: str) -> float | None:
        """When its last session ended, Unix seconds; None where none did since this process started."""
        return self._left.get(client)

    def forget(self, client: str) -> None:
        """It was revoked."""
        self._ends.pop(client, None)
        self._left.pop(client, None)
