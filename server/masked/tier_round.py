"""One tier of clients in a masked round: its adverts, its groups. A round without tiers has the standard one alone.

The machines of `roughfed.secagg` know of no tiers: each tier has terms of its own, bound to its own digest, so that
an advert, a share or a set of one tier is to the members of another no message of their round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from roughfed.masked_round import Masking
from roughfed.messages import ServerStage
from roughfed.secagg import messages as m
from roughfed.secagg.groups import ALONE, SMALLEST
from roughfed.secagg.roster import deal_groups, draw_beacon, make_cohort, unusable_adverts
from roughfed.secagg.server import GroupRound
from roughfed.types import Signed
from roughfed.wire.secagg import StageWire, encode_stage

Outgoing = list[tuple[str, ServerStage]]

TOO_FEW = "few-of-class"
"""Why a client has no seat, or its update does not count, whose tier has too few for a sum or for the defence."""


@dataclass(frozen=True, slots=True)
class Advert:
    """A client's advert, as it was signed and as it is read, its roster entry, and its Ed25519 key."""

    signed: Signed
    value: m.Advertise
    entry: bytes
    key: bytes


@dataclass
class TierRound:
    """One tier.

    Attributes:
        masking: its public side.
        adverts: by name.
        groups: once the roster is drawn.
        refused: why a client with an advert has no seat.
        beacon: what the groups follow from; empty as long as they are not drawn.
    """

    masking: Masking
    adverts: dict[str, Advert] = field(default_factory=dict[str, Advert])
    groups: list[GroupRound] = field(default_factory=list[GroupRound])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    beacon: bytes = b""

    def draw_roster(self, nonce: bytes) -> Outgoing:
        """Form the groups; nobody is told anything where there are too few for one."""
        terms = self.masking.terms
        bad = unusable_adverts([(name, one.value) for name, one in self.adverts.items()], terms.header_digest)
        usable = sorted(self.adverts.keys() - bad.keys())
        room = self.masking.params.lanes.largest_group
        self.refused = dict(bad)
        if room < len(usable) <= ALONE:  # one group, and the lanes hold fewer
            by_lot = sorted(usable, key=lambda name: hashlib.sha256(nonce + name.encode()).digest())
            self.refused |= dict.fromkeys(by_lot[room:], "not-needed")
            usable = sorted(by_lot[:room])
        if len(usable) < SMALLEST:
            self.refused |= dict.fromkeys(usable, TOO_FEW)
            return []
        cohort = make_cohort([self.adverts[name].signed for name in usable])
        previous = terms.previous_header_digest
        self.beacon = terms.epoch_beacon or draw_beacon(cohort, previous, nonce)
        outgoing: Outgoing = []
        for number, names in enumerate(deal_groups(cohort, previous, nonce, epoch_beacon=terms.epoch_beacon)):
            found = [self.adverts[name] for name in names]
            adverts = tuple(one.signed for one in found)
            keys: Mapping[str, bytes] = {name: self.adverts[name].key for name in names}
            self.groups.append(GroupRound(terms, number, adverts, keys, StageWire(), cohort=cohort))
            members = tuple(one.entry for one in found)
            roster = m.Roster(terms.header_digest, number, adverts, members, cohort, nonce)
            stage = ServerStage("roster", encode_stage(roster))
            outgoing += [(name, stage) for name in names]
        return outgoing
