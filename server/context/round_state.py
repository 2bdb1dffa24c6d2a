"""What is known of one round while it is open: made when it is opened, complete when it ends, gone with the next one.

The stages of the round (`server/round/`) put here what they find, and nobody else does. What must survive the process
is in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from roughfed.server.cohort.collection import Collection
from roughfed.server.defence import Verdict
from roughfed.server.masked.outcome import Result
from roughfed.server.masked.stages import MaskedRound
from roughfed.server.storage.store import RoundRow
from roughfed.types import RoundHeader
from roughfed.wire.session import decode_header


@dataclass
class References:
    """Rows of the server's own for the defence: being made, or there."""

    making: asyncio.Task[dict[str, Path]] | None = None
    files: dict[str, Path] = field(default_factory=dict[str, Path])


@dataclass
class RoundState:
    """One round.

    Attributes:
        row: as the journal has it.
        collection: who has sent an update; None before the jobs go out and after the round.
        masked: the machine of a masked round; None in the clear and after the round.
        result: of a masked round, once its groups are unmasked.
        verdict: of the defence, once it was asked.
        references: rows of the server's own for the defence.
        identity_keys: client -> Ed25519 key, of those who may upload.
        tiers: client -> the tier in which it takes part; as it said at hello.
        absent_tiers: tier -> why it takes no part.
    """

    row: RoundRow
    collection: Collection | None = None
    masked: MaskedRound | None = None
    result: Result | None = None
    verdict: Verdict | None = None
    references: References = field(default_factory=References)
    identity_keys: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tiers: dict[str, str] = field(default_factory=dict[str, str])
    absent_tiers: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def header(self) -> RoundHeader:
        """Decoded once."""
        return decode_header(self.row.header.body)

    @property
    def number(self) -> int:
        """Of the round."""
        return self.row.round

    def drop(self, client: str, reason: str) -> None:
        """Nobody waits for a client any more in this round, for what the reason says."""
        if self.collection is not None:
            self.collection.refuse(client, reason)
        if self.masked is not None:
            self.masked.out.add(client)

    def needs(self, client: str) -> bool:
        """Whether its update is under masks that cannot be taken off without its words, also if it is held by now."""
        return self.masked is not None and self.collection is not None and client in self.collection.received
