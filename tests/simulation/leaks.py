"""What a server can compute from masked uploads: linear algebra over the masks that it does not know.

An upload is input + own mask + the masks of its pairs, each + or -. Every mask is an unknown of its own unless its key
is known. A combination of uploads tells something exactly when the unknown masks cancel in it, that is, when their rows
are linearly dependent; how many inputs are in it is what hides them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from roughfed.crypto import agreement, shamir
from roughfed.crypto.agreement import KeyPair
from roughfed.crypto.commitment import opens
from roughfed.crypto.masks import Lanes, Sign, sum_masks
from roughfed.crypto.sealing import open_sealed
from roughfed.errors import ProtocolError, RoughfedError
from roughfed.secagg import messages as m
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage

if TYPE_CHECKING:
    from .adversary import Table

PRIME = 2**31 - 1
"""Coefficients are taken modulo this; those of masks are 1 and -1."""

Unknown = frozenset[str]
"""A mask: of one client, or of a pair."""
Row = Mapping[Unknown, int]


_exchange = cache(agreement.exchange)
_key_pair = cache(KeyPair.from_private_bytes)


def dependency(rows: Sequence[Row]) -> list[int] | None:
    """Coefficients, not all zero, with which the rows add up to zero; None when the rows are independent."""
    left = [(dict(row), {i: 1}) for i, row in enumerate(rows)]
    while left:
        row, made_of = left.pop()
        if not row:
            scale = pow(next(iter(made_of.values())), -1, PRIME)
            found = [made_of.get(i, 0) * scale % PRIME for i in range(len(rows))]
            return [c - PRIME if c > PRIME // 2 else c for c in found]
        column, value = next(iter(row.items()))
        inverse = pow(value, -1, PRIME)
        for other, other_made_of in left:
            if column in other:
                factor = -other[column] * inverse % PRIME
                _add(other, row, factor)
                _add(other_made_of, made_of, factor)
    return None


def _add(target: dict, source: Mapping, factor: int) -> None:
    for key, value in source.items():
        target[key] = (target.get(key, 0) + factor * value) % PRIME
        if not target[key]:
            del target[key]


@dataclass
class Masks:
    """Who uploaded with which mates, and whose masks are known."""

    mates: Mapping[str, Iterable[str]]
    known: set[Unknown]

    def row(self, name: str) -> Row:
        row = {frozenset({name}): 1} | {frozenset({name, n}): 1 if name < n else -1 for n in self.mates[name]}
        return {mask: sign for mask, sign in row.items() if mask not in self.known}

    def release(self, most: int) -> dict[str, int] | None:
        """The mask-free combination of the fewest uploads, of `most` at most: name -> coefficient."""
        rows = {name: self.row(name) for name in sorted(self.mates)}
        for count in range(1, most + 1):
            for names in combinations(rows, count):
                found = dependency([rows[name] for name in names])
                if found is not None:
                    return {name: c for name, c in zip(names, found, strict=True) if c}
        return None


@dataclass
class Holdings:
    """The secrets in the hands of the server: the colluders', and what came with honest answers; all of it real."""

    table: Table
    shares: dict[tuple[str, str], dict[int, bytes]] = field(default_factory=dict)
    secrets: dict[str, KeyPair] = field(default_factory=dict)
    pairs: dict[Unknown, bytes] = field(default_factory=dict)

    def collude(self, dealer: str, roster: int) -> None:
        """What the colluders hold of one honest dealer: the pair's masks, and its shares for them."""
        for name, pair_key, shares in self.table.shares_with_colluders(dealer, roster):
            self.pairs[frozenset({name, dealer})] = pair_key
            self._hold(dealer, name, shares)

    def _hold(self, dealer: str, holder: str, shares: tuple[bytes, bytes]) -> None:
        x = 1 + self.table.names.index(holder)
        for kind, share in zip(("self", "mask"), shares, strict=True):
            if share:
                self.shares.setdefault((dealer, kind), {})[x] = share

    def opened(self, signed: Signed, roster: int) -> None:
        """An honest client's opening."""
        value, name = decode_stage(m.Opening, signed.body), signed.signer
        if value.against in ("", name):  # its own mask secret, as clients of protocol 1 opened it
            self.secrets[name] = _key_pair(value.key)
        elif value.kind == "pair":
            self.pairs[frozenset({name, value.against})] = value.key
        else:
            self._unsealed(name, value, roster)

    def _unsealed(self, holder: str, value: m.Opening, roster: int) -> None:
        seat = self.table.dealt(holder, roster).machine._seat
        deal = decode_stage(m.Shares, self.table.dealt(value.against, roster).answers[0].body)
        sealed = next(s for s in deal.sealed if s.holder == holder)
        try:
            plain = open_sealed(value.key, sealed.ciphertext, aad=seat.aad(value.against, holder))
        except ProtocolError:
            return
        self._hold(value.against, holder, (plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]))

    def answered(self, signed: Signed) -> None:
        """An honest client's shares."""
        value = decode_stage(m.Unmask, signed.body)
        for dealer, share in value.self_mask:
            self._hold(dealer, signed.signer, (share, b""))
        for dealer, share in value.mask_secret:
            self._hold(dealer, signed.signer, (b"", share))

    def own_key(self, name: str) -> bytes | None:
        """The key of a client's own mask, if t shares of its secret are here."""
        b, header = self._combine(name, "self"), self.table.terms.header_digest
        if b is None or not opens(self.table.advert(name).commitment, b, header, name):
            return None
        return agreement.derive(b, agreement.SELF, agreement.member_info(header, self.table.group, name))

    def pair_key(self, a: str, b: str) -> bytes | None:
        """The key of a pair's mask, if it or the mask secret of one of the two is here."""
        if (key := self.pairs.get(frozenset({a, b}))) is not None:
            return key
        info = agreement.pair_info(self.table.terms.header_digest, self.table.group, a, b)
        for one, other in ((a, b), (b, a)):
            if (secret := self._mask_secret(one)) is not None:
                shared = _exchange(secret.private, self.table.advert(other).mask_key)
                return agreement.derive(shared, agreement.MASK, info)
        return None

    def _mask_secret(self, name: str) -> KeyPair | None:
        if name not in self.secrets and (secret := self._combine(name, "mask")) is not None:
            self.secrets[name] = _key_pair(secret)
        found = self.secrets.get(name)
        return found if found is not None and found.is_public(self.table.advert(name).mask_key) else None

    def _combine(self, name: str, kind: str) -> bytes | None:
        shares = self.shares.get((name, kind), {})
        try:
            return shamir.combine(shares, self.table.threshold) if len(shares) >= self.table.threshold else None
        except RoughfedError:
            return None

    def masks(self, mates: Mapping[str, Iterable[str]]) -> Masks:
        """What is unknown of the masks of some uploads."""
        own = {frozenset({name}) for name in mates if self.own_key(name) is not None}
        pairs = {frozenset({a, b}) for a, others in mates.items() for b in others}
        return Masks(mates, own | {p for p in pairs if self.pair_key(*sorted(p)) is not None})

    def unmask(self, release: Mapping[str, int], lanes: Mapping[str, Lanes], masks: Masks) -> Lanes:
        """The combination of the inputs, computed: every mask that does not cancel is taken off by its key."""
        total = np.zeros_like(next(iter(lanes.values())))
        for name, factor in release.items():
            assert factor in (1, -1)
            sign: Sign = 1 if factor == 1 else -1
            part = lanes[name].copy()
            away: list[tuple[bytes, Sign]] = [(self.own_key(name) or b"", -1)]
            mates = [mate for mate in masks.mates[name] if frozenset({name, mate}) in masks.known]
            away += [(self.pair_key(name, mate) or b"", -1 if name < mate else 1) for mate in mates]
            sum_masks(part, away)
            total = total + part if sign == 1 else total - part
        return total
