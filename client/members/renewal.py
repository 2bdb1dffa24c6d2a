"""Keeps a client's certificate fresh while the client goes on: at two thirds of its life, and when somebody asks.

The next certificate is fetched while the session under the present one stays open, and only then the client connects
anew: a CA that is slow, or away, costs no round.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from roughfed.client.members import credential_files, enrol
from roughfed.client.members.credential_files import Credentials
from roughfed.crypto import certificates
from roughfed.errors import ConfigError, IdentityError, RoughfedError, Unreachable
from roughfed.messages import RENEW, Reconnect

log = logging.getLogger(__name__)

ASKED_EVERY_S = 600.0
"""A server's wish for a new key is granted once in so long: each is a request to the CA, and a new session."""

RETRY_S = (10.0, 600.0)
"""The CA did not answer: least and longest wait before the next try; between them, a tenth of what is left."""

FINAL = frozenset({"revoked", "replaced"})
"""Words of the CA that end a client; whatever else goes wrong may be mended while the certificate is good."""

OUTDATED = "outdated"
"""The server knows a later certificate of this client: these credentials were put back from a backup, or copied."""


class Renewal:
    """The credentials of one running client."""

    def __init__(
        self, folder: Path, *, address: str = "", server: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is read yet.

        Args:
            folder: of the credentials.
            address: the enrolment port's, if it has moved since the enrolment.
            server: the federation port's, if it has moved since then.
            clock: seconds.
        """
        self._folder, self._address, self._server, self._clock = folder, address, server, clock
        self._current: Credentials | None = None
        self._news, self._requested = asyncio.Event(), asyncio.Event()
        self._last_request: float | None = None
        self._one_at_a_time = asyncio.Lock()

    async def credentials(self) -> Credentials:
        """For a session that begins; renewed first only where they have expired.

        Raises:
            Unreachable: they have expired, and nobody renews them; or a wrong clock says so, and the CA, by its own,
                refuses, or seems to be expired itself.
            IdentityError: the CA says that this client is no member any more.
            ConfigError: see `enrol.renew`.
        """
        credentials = self._current or await asyncio.to_thread(credential_files.load, self._folder)
        if credential_files.until_end(credentials) > 0:
            self._current = credentials
            return credentials
        try:
            return await self._renew()
        except Unreachable as error:
            raise Unreachable(f"the certificate has expired, and {error}", cure=error.cure) from None
        except IdentityError as error:
            if error.reason in FINAL:
                raise
            said = f"by the clock of this machine the certificate has expired, and {error}"
            raise Unreachable(said, cure="roughfed doctor --only clock") from None

    async def changed(self, credentials: Credentials) -> None:
        """Return as soon as there is another certificate than the one of these credentials."""
        while self._current is None or self._current.certificate == credentials.certificate:
            await self._news.wait()

    def accept(self, message: Reconnect) -> Reconnect | None:
        """A server's word: its wish for a new key, for which the session stays open; any other one ends it."""
        if message.reason != RENEW:
            return message
        self.request_key(message.after_s)
        return None

    def request_key(self, after_s: float = 0.0) -> bool:
        """Somebody wants a new key, within so many seconds; whether there will be one."""
        if self._current is not None and self._current.external:
            log.warning("a new key is wanted, and the CA is not roughfed's: %s", enrol.BY_FILES)
            return False
        now = self._clock()
        if self._last_request is not None and now - self._last_request < ASKED_EVERY_S:
            log.info("a new key is wanted again; this client makes one in %.0f s at most", ASKED_EVERY_S)
            return False
        self._last_request = now
        spread = float(np.random.default_rng().uniform(0.0, max(0.0, min(after_s, ASKED_EVERY_S))))
        asyncio.get_running_loop().call_later(spread, self._requested.set)
        return True

    async def recover(self, error: IdentityError) -> float:
        """Get a new certificate where the server refuses nothing but the old one; seconds to wait before the next try.

        Raises:
            IdentityError: it refuses something else, or did so a moment ago.
        """
        credentials = self._current
        if error.reason != OUTDATED or credentials is None or not self.request_key():
            raise error
        log.warning("%s; this client gets another one", error)
        await self.changed(credentials)
        return 0.0

    async def rotate(self) -> dict[str, Any]:
        """A new key and certificate at once, since the operator of this client asks; what the certificate says.

        Raises:
            Unreachable: the CA does not answer; the present ones stay.
            IdentityError, ConfigError, StorageError: see `enrol.renew`.
        """
        credentials = await self._renew(new_key=True)
        return certificates.described(credentials.name, credentials.certificate)

    async def run(self) -> NoReturn:
        """Renew what is due or wished for, for as long as the client runs.

        Raises:
            IdentityError: the CA says that this client is no member any more.
            ConfigError: the credentials are gone or damaged.
        """
        while True:
            credentials = self._current or await asyncio.to_thread(credential_files.load, self._folder)
            self._current = credentials
            if not self._requested.is_set() and (due_s := credential_files.until_due(credentials)) > 0:
                await _at_most(self._requested, due_s)  # and look again: the operator may have got others meanwhile
                continue
            try:
                credentials = await self._renew(new_key=self._requested.is_set())
                self._requested.clear()
                if credential_files.until_due(credentials) > 0:
                    continue
                log.warning("the CA gave a certificate that is due already: its clock, or this machine's, is wrong")
            except RoughfedError as error:
                if isinstance(error, ConfigError) or error.reason in FINAL:
                    raise
                log.warning("the certificate was not renewed yet: %s", error)
            await asyncio.sleep(min(RETRY_S[1], max(RETRY_S[0], credential_files.until_end(credentials) / 10)))

    async def _renew(self, *, new_key: bool = False) -> Credentials:
        async with self._one_at_a_time:
            await enrol.renew(self._folder, address=self._address, server=self._server, force=True, new_key=new_key)
            credentials = await asyncio.to_thread(credential_files.load, self._folder)
        self._current, news, self._news = credentials, self._news, asyncio.Event()
        news.set()
        log.info("this client has a new certificate%s", " for a new key" if new_key else "")
        return credentials


async def _at_most(event: asyncio.Event, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
