"""How much of this client its server may see: noted by federation, kept over restarts, and never more than before.

What was agreed to when the directory joined, and each mode that it has taken part in, lower the bound; nothing that a
server says, and nothing in client.toml, raises it. Only the owner does, with `roughfed join --accept`. A federation is
its CA: a run of another name, or another server of the same CA, is no other one.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass

from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.storage.store import ClientStore
from roughfed.crypto import certificates
from roughfed.errors import LocalProtocolError, ModeRefused
from roughfed.mode import MODES, shows_more, strictest
from roughfed.types import RoundHeader
from roughfed.wire.session import decode_header

log = logging.getLogger(__name__)

OWNER, LINE, SETTINGS = "owner", "join line", "client.toml"
"""Who said how much may be seen; a mode that was taken part in has the name of its run."""

UNKNOWN = "unknown"
"""Stands for every mode that this version does not know: no more than four are ever noted."""

SHOWN_CHARS = 100  # of the name of a run that is noted


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a federation's server may see of this client.

    Attributes:
        mode: one of `MODES`.
        since: when that was noted (Unix time).
        said: by whom: `OWNER`, `LINE`, `SETTINGS`, or "run NAME".
    """

    mode: str
    since: float
    said: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """A mode that a federation's server asked for and did not get.

    Attributes:
        mode: what it asked for.
        held: the most that was shown then.
        run: the last run that asked.
        times: how often.
        first: Unix time.
        last: Unix time.
    """

    mode: str
    held: str
    run: str
    times: int
    first: float
    last: float


def bound(store: ClientStore, federation: bytes) -> Bound | None:
    """What is noted of a federation (the fingerprint of its CA); None before anything was."""
    sql = "SELECT mode, since, said FROM modes WHERE federation = ? ORDER BY rowid DESC LIMIT 1"
    rows = store.journal.read(sql, federation)
    return Bound(rows[0]["mode"], rows[0]["since"], rows[0]["said"]) if rows else None


def refusals(store: ClientStore, federation: bytes) -> list[Refusals]:
    """What its server asked for in vain, the last one first."""
    sql = "SELECT mode, held, run, times, first, last FROM modes_refused WHERE federation = ? ORDER BY last DESC"
    return [Refusals(*row) for row in store.journal.read(sql, federation)]


def allowed(store: ClientStore, federation: bytes, policy: str) -> str:
    """The most that this client shows: what is noted and what client.toml says, whichever is less."""
    noted = bound(store, federation)
    return strictest(policy, *((noted.mode,) if noted else _taken_part(store)))


async def record_bound(store: ClientStore, federation: bytes, mode: str, said: str) -> None:
    """Note the most that may be seen from now on; the owner's word alone makes it more (the caller has it)."""
    before = bound(store, federation)
    if before is not None and shows_more(mode, before.mode):
        log.warning(
            'the owner lets the server of this federation see "%s" from now on; it was "%s" since %s (%s)',
            mode, before.mode, _date(before.since), before.said,
        )  # fmt: skip
    row = (federation, mode, time.time(), said)
    await store.journal.write(lambda db: db.execute("INSERT INTO modes VALUES (?, ?, ?, ?)", row))


class Mode:
    """What one agent shows, holds to, and tells its owner of."""

    def __init__(self, store: ClientStore, policy: str, metrics: ClientMetrics) -> None:
        """`policy`: the most by client.toml. No federation is known yet."""
        self._store, self._policy, self._metrics = store, policy, metrics
        self._federation: bytes | None = None
        self._shown = policy

    async def narrow(self, rules: Rules, ca_certificate: bytes) -> Rules:
        """The rules for a session with a federation's server: no more is shown than is noted of it."""
        federation = certificates.fingerprint(ca_certificate)
        shown = allowed(self._store, federation, self._policy)
        if (noted := bound(self._store, federation)) is None:
            await record_bound(self._store, federation, shown, SETTINGS)
        elif self._federation is None and shows_more(self._policy, noted.mode):
            log.warning(
                'client.toml says server_sees = "%s", and this directory shows no more than "%s", since %s (%s); only '
                "`roughfed join --accept %s` changes that",
                self._policy, noted.mode, _date(noted.since), noted.said, self._policy,
            )  # fmt: skip
        if self._federation is None:
            self._metrics.modes_refused(sum(each.times for each in refusals(self._store, federation)))
        self._federation, self._shown = federation, shown
        self._metrics.server_sees(shown)
        return rules.with_policy(server_sees=shown)

    async def record_round(self, header: RoundHeader) -> None:
        """Note the mode of a round before anything is done for it: from then on the server sees no more than that.

        Raises:
            LocalProtocolError: there was no session yet.
        """
        if self._federation is None:
            raise LocalProtocolError("a round before a session: use `narrow`")
        noted = bound(self._store, self._federation)
        if noted is None or shows_more(noted.mode, header.server_sees):
            await record_bound(self._store, self._federation, header.server_sees, f"run {header.run[:SHOWN_CHARS]}")

    async def refuse(self, error: ModeRefused) -> None:
        """Say loudly, and note, that the server asked for more than is shown."""
        log.error(
            'REFUSED: the server asks for server_sees = "%s" (run %s), and this client shows at most "%s". Nothing was '
            "sent. %s",
            error.asked if error.asked in MODES else UNKNOWN, error.run[:SHOWN_CHARS], error.held, error.cure,
        )  # fmt: skip
        self._metrics.modes_refused(1)
        asked, now = error.asked if error.asked in MODES else UNKNOWN, time.time()
        row = (self._federation, asked, error.held, error.run[:SHOWN_CHARS], now, now)

        def work(db: sqlite3.Connection) -> None:
            sql = (
                "INSERT INTO modes_refused VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT (federation, mode) DO UPDATE SET "
                "held = excluded.held, run = excluded.run, times = times + 1, last = excluded.last"
            )
            db.execute(sql, row)

        await self._store.journal.write(work)

    def facts(self) -> dict[str, str | int]:
        """For /healthz: the most that is shown, and how often more was asked for."""
        asked = [] if self._federation is None else refusals(self._store, self._federation)
        return {
            "server_sees": self._shown,
            "modes_refused": sum(each.times for each in asked),
            "mode_refused": asked[0].mode if asked else "",
        }


def _taken_part(store: ClientStore) -> tuple[str, ...]:
    """Modes of the headers that an older version noted."""
    rows = store.journal.read("SELECT header FROM seen")
    return tuple(decode_header(row["header"]).server_sees for row in rows)


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
