"""What the server can hold against whom: published tags and hashes, opened keys, reconstructed secrets.

Everything here is a pure question about signed messages; a "proof" is an answer that follows from what the accused
itself signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roughfed.crypto import agreement, shamir
from roughfed.crypto.agreement import KeyPair
from roughfed.crypto.commitment import opens
from roughfed.crypto.sealing import open_sealed, sealing_aad
from roughfed.errors import RemoteProtocolError, TooFewClients
from roughfed.secagg import messages as m
from roughfed.secagg.dealing import shares_fit


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What a group has published: adverts and deals, by name; `names` in order, U1.

    `pairs` has the mates of each member (`confirmed_pairs`); who is missing there is left out.
    """

    header_digest: bytes
    group: int
    names: tuple[str, ...]
    roster_digest: bytes
    adverts: Mapping[str, m.Advertise]
    deals: Mapping[str, Mapping[str, m.Sealed]]
    pairs: Mapping[str, tuple[str, ...]]

    def x(self, name: str) -> int:
        """A member's x-coordinate."""
        return 1 + self.names.index(name)

    def pair_info(self, a: str, b: str) -> bytes:
        """Info of a pair."""
        return agreement.pair_info(self.header_digest, self.group, a, b)

    def way(self, sender: str, receiver: str) -> bytes:
        """Info of one direction; a member's own share has its own."""
        if sender == receiver:
            return agreement.member_info(self.header_digest, self.group, sender)
        return agreement.directed_info(self.header_digest, self.group, sender, receiver)

    def paired(self, a: str, b: str) -> bool:
        """Is there a mask between them?"""
        return b in self.pairs.get(a, ())

    def mates(self, name: str) -> tuple[str, ...]:
        """Members that share a mask with `name`, in order."""
        return self.pairs.get(name, ())

    def mask_key(self, secret: KeyPair, owner: str, other: str) -> bytes:
        """K of a pair, from the mask secret of one of them."""
        shared = agreement.exchange(secret.private, self.adverts[other].mask_key)
        return agreement.derive(shared, agreement.MASK, self.pair_info(owner, other))


def judge_complaint(board: Bulletin, complainer: str, opening: m.Opening) -> tuple[str, str] | None:
    """A holder says that its share is bad, and opens the key it was sealed under.

    Returns:
        (who is at fault, reason); None when the pair never agreed on keys, so that nothing follows.
    """
    dealer = opening.against
    if not board.paired(complainer, dealer):
        return None
    sealed, way = board.deals[dealer][complainer], board.way(dealer, complainer)
    if agreement.key_tag(opening.key, way) != sealed.out_tag:
        return complainer, "false-complaint"
    aad = sealing_aad(
        board.header_digest, board.group, sender=dealer, receiver=complainer, roster_digest=board.roster_digest
    )
    try:
        plain = open_sealed(opening.key, sealed.ciphertext, aad=aad)
    except RemoteProtocolError:
        return dealer, "bad-share"
    shares = plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]
    good = shares_fit(sealed, shares, board.x(complainer), way)
    return (complainer, "false-complaint") if good else (dealer, "bad-share")


def judge_tags(board: Bulletin, owner: str, secret: KeyPair) -> dict[str, str]:
    """The mask secret of an excluded client is known: whose tags of its pairs were false?

    Returns:
        name -> "false-tag".
    """
    found: dict[str, str] = {}
    for other, sealed in board.deals.get(owner, {}).items():
        if other == owner or (theirs := board.deals.get(other, {}).get(owner)) is None:
            continue
        true_tag = agreement.key_tag(board.mask_key(secret, owner, other), board.pair_info(owner, other))
        if sealed.pair_tag != true_tag:
            found[owner] = "false-tag"
        elif theirs.pair_tag != true_tag:
            found[other] = "false-tag"
    return found


def opened_pair(board: Bulletin, opener: str, opening: m.Opening) -> bytes | None:
    """The pair key that an opening shows; None when it is not the one that both published the tag of."""
    if not board.paired(opener, opening.against):
        return None
    tag = agreement.key_tag(opening.key, board.pair_info(opener, opening.against))
    return opening.key if tag == board.deals[opener][opening.against].pair_tag else None


@dataclass
class Recovery:
    """Secrets put together again from the answers, and who is to blame for what did not fit.

    `mask_secrets`: those that were put together so far, by owner.
    """

    board: Bulletin
    threshold: int
    proofs: dict[str, str]
    mask_secrets: dict[str, KeyPair] = field(default_factory=dict[str, KeyPair])

    def self_mask(self, dealer: str, shares: Mapping[str, bytes]) -> bytes | None:
        """From b of an accepted client, the key of its self mask; None when it cannot be had."""
        secret = self._combine(dealer, shares, of="self-mask")
        if secret is None:
            return None
        if not opens(self.board.adverts[dealer].commitment, secret, self.board.header_digest, dealer):
            self.proofs[dealer] = "bad-deal"
            return None
        info = agreement.member_info(self.board.header_digest, self.board.group, dealer)
        return agreement.derive(secret, agreement.SELF, info)

    def mask_secret(self, dealer: str, shares: Mapping[str, bytes]) -> KeyPair | None:
        """The mask key of an excluded client; None when it cannot be had."""
        secret = self._combine(dealer, shares, of="mask-secret")
        if secret is None:
            return None
        pair = KeyPair.from_private_bytes(secret)
        if not pair.is_public(self.board.adverts[dealer].mask_key):
            self.proofs[dealer] = "bad-deal"
            return None
        self.mask_secrets[dealer] = pair
        return pair

    def _combine(self, dealer: str, shares: Mapping[str, bytes], *, of: shamir.ShareOf) -> bytes | None:
        good: dict[int, bytes] = {}
        for holder, share in shares.items():
            sealed = self.board.deals[dealer].get(holder)
            if sealed is None:
                continue
            expected = sealed.self_hash if of == "self-mask" else sealed.mask_hash
            if shamir.is_share(expected, share, self.board.x(holder), of=of, info=self.board.way(dealer, holder)):
                good[self.board.x(holder)] = share
            else:
                self.proofs.setdefault(holder, "bad-answer")
        try:
            return shamir.combine(good, self.threshold)
        except TooFewClients:
            return None
        except RemoteProtocolError:  # t shares that fit their hashes and make no secret: they were dealt so
            self.proofs[dealer] = "bad-deal"
            return None
