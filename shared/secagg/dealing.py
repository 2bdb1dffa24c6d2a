"""A client and its group: the keys it has with each mate, the shares it deals and those it is dealt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roughfed.crypto import agreement, shamir
from roughfed.crypto.agreement import KeyPair
from roughfed.crypto.sealing import open_sealed, seal, sealing_aad
from roughfed.errors import RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.groups import threshold

Shares = tuple[bytes, bytes]
"""Of one dealer: the share of b, the share of the mask secret."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A client's place in its group: what its keys and its shares are bound to."""

    header_digest: bytes
    group: int
    name: str
    names: tuple[str, ...]
    roster_digest: bytes

    @property
    def own_info(self) -> bytes:
        """Info of the client's own secrets."""
        return agreement.member_info(self.header_digest, self.group, self.name)

    def way(self, sender: str, receiver: str) -> bytes:
        """Info of one direction between two members."""
        return agreement.directed_info(self.header_digest, self.group, sender, receiver)

    def aad(self, sender: str, receiver: str) -> bytes:
        """What sealed shares are bound to."""
        return sealing_aad(
            self.header_digest, self.group, sender=sender, receiver=receiver, roster_digest=self.roster_digest
        )

    def x(self, name: str) -> int:
        """A member's x-coordinate."""
        return 1 + self.names.index(name)


@dataclass(frozen=True, slots=True)
class Mate:
    """Another member of the group; `tags` of the pair's mask key, of the sealing keys out and in."""

    name: str
    identity_key: bytes
    pair_key: bytes
    out_key: bytes
    in_key: bytes
    tags: tuple[bytes, bytes, bytes]


def meet(seat: Seat, own: tuple[KeyPair, KeyPair], name: str, identity_key: bytes, advert: m.Advertise) -> Mate:
    """The keys that a client has with another member; `own` are its mask and sealing keys."""
    mask, sealing = own
    pair = agreement.pair_info(seat.header_digest, seat.group, seat.name, name)
    way_out, way_in = seat.way(seat.name, name), seat.way(name, seat.name)
    pair_key = agreement.derive(agreement.exchange(mask.private, advert.mask_key), agreement.MASK, pair)
    shared = agreement.exchange(sealing.private, advert.sealing_key)
    out_key = agreement.derive(shared, agreement.SEAL, way_out)
    in_key = agreement.derive(shared, agreement.SEAL, way_in)
    tags = (
        agreement.key_tag(pair_key, pair),
        agreement.key_tag(out_key, way_out),
        agreement.key_tag(in_key, way_in),
    )
    return Mate(name, identity_key, pair_key, out_key, in_key, tags)


def deal(
    seat: Seat, mates: Mapping[str, Mate], b: bytes, mask_secret: bytes, entropy: Callable[[int], bytes]
) -> tuple[tuple[m.Sealed, ...], Shares]:
    """Share both secrets among the group.

    Returns:
        what is published, by name (the own share's hashes too); the own shares.
    """
    t, xs = threshold(len(seat.names)), range(1, len(seat.names) + 1)
    of_b = shamir.split(b, xs, threshold=t, entropy=entropy)
    of_mask = shamir.split(mask_secret, xs, threshold=t, entropy=entropy)
    dealt = dict(zip(seat.names, zip(of_b, of_mask, strict=True), strict=True))
    sealed = [_publish(seat, seat.name, dealt[seat.name], seat.own_info, None)]
    for name, mate in mates.items():
        aad, way = seat.aad(seat.name, name), seat.way(seat.name, name)
        ciphertext = seal(mate.out_key, b"".join(dealt[name]), aad=aad, entropy=entropy)
        sealed.append(_publish(seat, name, dealt[name], way, (mate, ciphertext)))
    return tuple(sorted(sealed, key=lambda one: one.holder)), dealt[seat.name]


def open_shares(seat: Seat, mate: Mate, sealed: m.Sealed) -> Shares | None:
    """The shares that a mate dealt this client; None when they are not what it published."""
    try:
        plain = open_sealed(mate.in_key, sealed.ciphertext, aad=seat.aad(mate.name, seat.name))
    except RemoteProtocolError:
        return None
    shares = plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]
    return shares if shares_fit(sealed, shares, seat.x(seat.name), seat.way(mate.name, seat.name)) else None


def shares_fit(sealed: m.Sealed, shares: Shares, x: int, info: bytes) -> bool:
    """Are these the shares whose hashes the dealer published, and as long as shares are?

    Another length would pass the hashes, and make the holder's whole answer malformed when it hands the share on.
    """
    if len(shares[0]) != shamir.SHARE_BYTES or len(shares[1]) != shamir.SHARE_BYTES:
        return False
    return shamir.is_share(sealed.self_hash, shares[0], x, of="self-mask", info=info) and shamir.is_share(
        sealed.mask_hash, shares[1], x, of="mask-secret", info=info
    )


def _publish(seat: Seat, holder: str, shares: Shares, info: bytes, to: tuple[Mate, bytes] | None) -> m.Sealed:
    tags, ciphertext = (to[0].tags, to[1]) if to is not None else ((bytes(32),) * 3, b"")
    x = seat.x(holder)
    return m.Sealed(
        holder=holder,
        ciphertext=ciphertext,
        self_hash=shamir.share_hash(shares[0], x, of="self-mask", info=info),
        mask_hash=shamir.share_hash(shares[1], x, of="mask-secret", info=info),
        pair_tag=tags[0],
        out_tag=tags[1],
        in_tag=tags[2],
    )
