"""The roster of a group: is it the one that follows from the beacon, and what is dealt under it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from roughfed.crypto import agreement
from roughfed.crypto.merkle import merkle_root
from roughfed.errors import RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.groups import SMALLEST, beacon, colluders, form_groups, group_sizes
from roughfed.secagg.terms import Terms
from roughfed.types import Signed

_ANY_PRIVATE = bytes(range(32))  # a weak public key gives zero with every private one


def roster_digest(group: int, adverts: Sequence[Signed], cohort: Sequence[tuple[str, bytes]]) -> bytes:
    """What a deal is bound to: the number of the group, its members and all their keys, and everybody in the round.

    The cohort, too: S follows from it (`most_colluders`), and members of one group that were told of different ones
    would seem to lie about their pairs.
    """
    digest = hashlib.sha256(b"roughfed roster v1\0" + group.to_bytes(4, "big"))
    for advert in adverts:
        name = advert.signer.encode()
        digest.update(len(name).to_bytes(2, "big") + name + advert.digest)
    digest.update(len(cohort).to_bytes(4, "big") + merkle_root([_leaf(name, advert) for name, advert in cohort]))
    return digest.digest()


def view_digest(roster: bytes, deals: Sequence[Signed]) -> bytes:
    """What a member was shown before it masked: the roster (`roster_digest`) and every deal, by dealer.

    From it follow the member's pairs, and which shares it may hold. A statement binds it, so members that were shown
    different deals are never summed together.
    """
    digest = hashlib.sha256(b"roughfed view v1\0" + roster)
    for deal in deals:
        name = deal.signer.encode()
        digest.update(len(name).to_bytes(2, "big") + name + deal.digest)
    return digest.digest()


def make_cohort(adverts: Sequence[Signed]) -> tuple[tuple[str, bytes], ...]:
    """(name, digest of the advert) of every client of the round, by name."""
    return tuple(sorted((advert.signer, advert.digest) for advert in adverts))


def unusable_adverts(adverts: Sequence[tuple[str, m.Advertise]], header_digest: bytes) -> dict[str, str]:
    """Adverts that every honest client would refuse a whole roster for; the server keeps them out of it.

    Args:
        adverts: (name, advert), in the order of their arrival: of two with one key the first stays.
        header_digest: of this round.

    Returns:
        name -> "header", "weak-key" (an X25519 key that gives everybody the same secret) or "key-twice".
    """
    found: dict[str, str] = {}
    taken: set[bytes] = set()
    for name, advert in adverts:
        keys = {advert.mask_key, advert.sealing_key, advert.commitment}
        if advert.header_digest != header_digest:
            found[name] = "header"
        elif not (_is_strong(advert.mask_key) and _is_strong(advert.sealing_key)):
            found[name] = "weak-key"
        elif len(keys) < 3 or keys & taken:
            found[name] = "key-twice"
        else:
            taken |= keys
    return found


def draw_beacon(cohort: Sequence[tuple[str, bytes]], previous_header_digest: bytes, nonce: bytes) -> bytes:
    """The beacon of a round that draws its groups anew."""
    root = merkle_root([_leaf(name, digest) for name, digest in cohort])
    return beacon(previous_header_digest, root, nonce)


def deal_groups(
    cohort: Sequence[tuple[str, bytes]], previous_header_digest: bytes, nonce: bytes, *, epoch_beacon: bytes = b""
) -> list[tuple[str, ...]]:
    """The groups of a round: the same for everybody who knows the cohort's adverts and the beacon.

    Args:
        cohort: (name, digest of the advert), by name.
        previous_header_digest: of the round before.
        nonce: revealed with the roster.
        epoch_beacon: that of the round which drew the groups; empty when this one does.
    """
    value = epoch_beacon or draw_beacon(cohort, previous_header_digest, nonce)
    return form_groups([name for name, _ in cohort], value)


def most_colluders(cohort: Sequence[tuple[str, bytes]]) -> int:
    """Return c of the largest group: all groups of a round use one S, so that their sketches compare."""
    return colluders(max(group_sizes(len(cohort))))


def check_group(roster: m.Roster, names: tuple[str, ...], terms: Terms, *, me: str) -> None:
    """Hold a roster against the beacon.

    Raises:
        RemoteProtocolError: unsorted, without this client, another nonce than the header committed to, another group
            than follows, or one whose sum the lanes cannot hold.
    """
    cohort = dict(roster.cohort)
    if list(names) != sorted(set(names)) or len(roster.members) != len(names) or me not in names:
        raise RemoteProtocolError("the roster is not sorted, or this client is not in it", reason="roster")
    if [name for name, _ in roster.cohort] != sorted(cohort):
        raise RemoteProtocolError("the cohort is not sorted by name", reason="roster")
    if any(cohort.get(advert.signer) != advert.digest for advert in roster.adverts):
        raise RemoteProtocolError("an advert of the group is not in the cohort", reason="roster")
    if hashlib.sha256(roster.nonce).digest() != terms.nonce_commitment:
        raise RemoteProtocolError("the nonce is not the one that the header committed to", reason="nonce")
    if len(cohort) < SMALLEST:
        raise RemoteProtocolError(f"a cohort of {len(cohort)} forms no group", reason="group")
    groups = deal_groups(roster.cohort, terms.previous_header_digest, roster.nonce, epoch_beacon=terms.epoch_beacon)
    if roster.group >= len(groups) or groups[roster.group] != names:
        raise RemoteProtocolError("the group is not the one that follows from the beacon", reason="group")
    if len(names) * (terms.levels - 1) >= 1 << terms.bits:
        raise RemoteProtocolError("the lanes cannot hold the sum of this group", reason="lanes")


def _leaf(name: str, advert_digest: bytes) -> bytes:
    return len(name.encode()).to_bytes(2, "big") + name.encode() + advert_digest


def _is_strong(public: bytes) -> bool:
    try:
        agreement.exchange(_ANY_PRIVATE, public)
    except RemoteProtocolError:
        return False
    return True
