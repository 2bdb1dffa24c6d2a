"""What a round demands of the payloads that come in, and the look at one whose values are not seen while it streams."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roughfed.codec import CODECS
from roughfed.crypto.identity import verify
from roughfed.errors import RemoteProtocolError, TooLarge
from roughfed.files import disk_errors
from roughfed.server.metrics.stopwatch import Stopwatch
from roughfed.server.storage.slices import slices
from roughfed.server.uploads.admission import Vitals
from roughfed.server.uploads.spool import mapped
from roughfed.tiers import STANDARD
from roughfed.types import Signed, UpdateStatement
from roughfed.wire.sizes import statement_bytes
from roughfed.wire.updates import UPDATE_DOMAIN, decode_statement


@dataclass(frozen=True, slots=True)
class OpenRound:
    """What the intake must know of the round that takes updates.

    Attributes:
        run: run id.
        number: round number.
        header_digest: every statement must name it.
        size_bytes: length of an update; the most of one, where the codec sends no fixed number of values.
        members: cohort, name -> Ed25519 identity key; filled when a client says hello.
        codec: of the updates; only with "identity" their values can be looked at while they come.
        masked: whether they are masked, and nothing about the client is said in the clear.
        num_params: D.
        self_weight: whether a statement may name another weight class than 1.
        statistics: what a statement that is not masked may hold, as "name:length".
        tiers: the same for the other tiers of clients that take part, by name.
        tier_of: client -> tier, as the members are filled.
        num_classes: C; 0 for a regression.
    """

    run: str
    number: int
    header_digest: bytes
    size_bytes: int
    members: Mapping[str, bytes]
    codec: str = "identity"
    masked: bool = False
    num_params: int = 0
    self_weight: bool = False
    statistics: tuple[str, ...] = ()
    tiers: Mapping[str, OpenRound] = field(default_factory=dict[str, "OpenRound"])
    tier_of: Mapping[str, str] = field(default_factory=dict[str, str])
    num_classes: int = 0

    def demand(self, tier: str) -> OpenRound:
        """What is demanded of a tier.

        Raises:
            RemoteProtocolError: reason "class"; it takes no part in the round.
        """
        if tier == STANDARD:
            return self
        if (found := self.tiers.get(tier)) is None:
            raise RemoteProtocolError(f"tier {tier[:63]!r} takes no part in round {self.number}", reason="class")
        return found

    def read_statement(self, client: str, signed: Signed, *, work: Stopwatch) -> UpdateStatement:
        """The statement of a member of the cohort: its length first, then whose it is, then what it says.

        Raises:
            TooLarge: longer than this round needs. IdentityError: the signature is not the client's.
            RemoteProtocolError: malformed.
        """
        most = statement_bytes(() if self.masked else self.statistics, self.num_classes)
        if len(signed.body) > most:
            raise TooLarge(f"a statement of {len(signed.body)} bytes, at most {most} allowed")
        with work.time("verify"):
            verify(self.members[client], UPDATE_DOMAIN, signed.body, signed.signature)
        return decode_statement(signed.body)

    @property
    def exact(self) -> bool:
        """Every update is `size_bytes` long."""
        return self.codec not in CODECS or not CODECS[self.codec].sparse

    @property
    def encoded(self) -> bool:
        """The values of an update are seen only once all of it is here."""
        return self.codec in CODECS and self.codec != "identity"

    @property
    def item_bytes(self) -> int:
        """A piece is a multiple of this long."""
        return 4 if self.codec == "identity" else 1


def examine(path: Path, codec: str, size: int) -> Vitals:
    """Hold a received payload against its codec, and take the figures of the values that it stands for.

    Args:
        path: the payload, complete.
        codec: which row of CODECS it is of.
        size: D, from our own Spec.

    Raises:
        RemoteProtocolError: it is malformed, or a value is not finite. StorageError: the disk refused.
    """
    row, vitals = CODECS[codec], Vitals()
    with disk_errors("read an update"):
        fd = os.open(path, os.O_RDONLY)
        try:
            payload = mapped(fd)
        finally:
            os.close(fd)
    row.check(payload, size)
    for start, stop in slices(size):
        vitals.see(memoryview(row.decode(payload, start, stop, size=size)).cast("B"))
    return vitals
