"""This client's group mates: each a member by the list in force, and as many as its owner asks for known to it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from roughfed.client.policy import Rules
from roughfed.cohort_order import order_of
from roughfed.crypto.member_list import ListedMember, MemberList
from roughfed.errors import RemoteProtocolError
from roughfed.secagg.messages import Roster
from roughfed.types import RoundHeader

log = logging.getLogger(__name__)

FINGERPRINT, ORGANISATION = "sha256:", "org:"
"""How an entry of policy.known_peers begins that is no name: a client's key, or all clients of an organisation."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Who may be in a group with this client.

    Attributes:
        name: enrolled name of this client.
        listed: the members, as the header of the round names them.
        rules: this client's policy.
    """

    name: str
    listed: MemberList
    rules: Rules

    def check_member(self, name: str, identity_key: bytes) -> None:
        """Hold a member of the group against the list.

        Raises:
            IdentityError: reason "not-listed"; it was revoked, replaced, has expired, or never was one.
        """
        self.listed.member(name, identity_key, now=time.time())

    def check(self, roster: Roster, header: RoundHeader) -> None:
        """Hold a roster against the policy, before anything is answered.

        Raises:
            RemoteProtocolError: reason "policy"; too few members are known here, or too many were passed over.
        """
        names = [advert.signer for advert in roster.adverts if advert.signer != self.name]
        known = sorted(name for name in names if self._knows(name))
        if len(known) < self.rules.policy.min_known_peers:
            raise RemoteProtocolError(
                f"this client knows {len(known)} of the {len(names)} others in its group "
                f"({', '.join(known) or 'none'}), and wants {self.rules.policy.min_known_peers} (client.toml, "
                "policy.min_known_peers)",
                reason="policy",
            )
        self._check_draw({name for name, _ in roster.cohort}, header)

    def _check_draw(self, cohort: set[str], header: RoundHeader) -> None:
        if self.rules.policy.max_passed_over >= 1.0:
            return
        passed = passed_over(self.listed, cohort, header)
        last = len(cohort) + passed
        log.debug("round %d: %d of %d members in the order of the draw were passed over", header.round, passed, last)
        if passed > self.rules.policy.max_passed_over * last:
            raise RemoteProtocolError(
                f"{passed} of the {last} members up to the last one asked were passed over, this client accepts a "
                f"share of {self.rules.policy.max_passed_over:g} (client.toml, policy.max_passed_over)",
                reason="policy",
            )

    def _knows(self, name: str) -> bool:
        member = self.listed.by_name.get(name)
        return member is not None and bool(marks_of(member) & set(self.rules.policy.known_peers))


def marks_of(member: ListedMember) -> set[str]:
    """All that policy.known_peers may say to mean this member."""
    marks = {member.name, FINGERPRINT + member.fingerprint}
    return marks | {ORGANISATION + member.organisation} if member.organisation else marks


def passed_over(listed: MemberList, cohort: set[str], header: RoundHeader) -> int:
    """How many clients of the list stand before the last one of the cohort in the order of the draw, and are not in it.

    Who was not connected is among them: only the server knows.
    """
    order = sorted((member.name for member in listed.members if not member.server), key=order_of(header))
    places = [place for place, name in enumerate(order) if name in cohort]
    return max(places) + 1 - len(places) if places else 0
