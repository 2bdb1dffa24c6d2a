"""A whole masked round over the real machines, without a socket: what the tests of secure aggregation play with.

Signatures, X25519, Shamir, AES masks, Merkle proofs: all real. Clients are dictionaries of machines; a test changes
what they send, whom it loses, and what the server says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.merkle import merkle_root
from roughfed.crypto.roster import RosterEntry
from roughfed.errors import IdentityError, ProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, Policy
from roughfed.secagg.groups import ALONE
from roughfed.secagg.roster import deal_groups, make_cohort
from roughfed.secagg.server import GroupRound, Outcome
from roughfed.secagg.terms import Party, Terms
from roughfed.types import Signed
from roughfed.wire.enrolment import encode_member, encode_roster_entry, open_member
from roughfed.wire.secagg import decode_stage, encode_stage

SERVER = IdentityKey.from_private_bytes(b"s" * 32)
STAGES = ("advertise", "share", "masked_input", "sketch", "consistency", "unmask")


class StageWire:
    """The real serialization."""

    encode = staticmethod(encode_stage)
    decode = staticmethod(decode_stage)


def levels_for(size: int, bits: int = 8) -> int:
    """The largest even number of levels whose sum fits."""
    return ((2**bits - 1) // size + 1) & ~1


@lru_cache(maxsize=256)
def identity(name: str) -> IdentityKey:
    return IdentityKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def make_terms(size: int, *, length: int = 2048, bits: int = 8, dim: int = 32, seed: int = 0) -> Terms:
    levels = levels_for(size, bits)
    sigma = {8: 2.4, 16: 4.0, 32: 4.5}[bits]
    return Terms(
        header_digest=hashlib.sha256(f"header {seed}".encode()).digest(),
        previous_header_digest=bytes(32),
        nonce_commitment=hashlib.sha256(nonce(seed)).digest(),
        server_key=SERVER.public_key,
        length=length,
        bits=bits,
        levels=levels,
        code_rms=levels / 2 / sigma,
        dim=dim,
    )


def nonce(seed: int) -> bytes:
    return hashlib.sha256(f"nonce {seed}".encode()).digest()


@lru_cache(maxsize=1)
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("fed", serial=1, now=datetime(2026, 1, 1, tzinfo=UTC))


@lru_cache(maxsize=256)
def member_entry(name: str, key_of: str = "") -> bytes:
    """The CA's word that the identity key of `key_of` is this name's."""
    entry = encode_roster_entry(RosterEntry(name, "client", identity(key_of or name).public_key, "fed", 0))
    return encode_member(entry, authority().sign_roster(entry))


@lru_cache(maxsize=256)
def open_entry(entry: bytes) -> tuple[str, bytes]:
    member = open_member(entry, authority().certificate)
    return member.name, member.identity_key


def honest_codes(terms: Terms, rng: np.random.Generator, *, norm: float = 1.0) -> NDArray[np.unsignedinteger]:
    """Codes of an update of `norm` times C."""
    values = np.rint(rng.normal(size=terms.length) * terms.code_rms * norm) + terms.zero
    return np.clip(values, 0, terms.levels - 1).astype(terms.dtype)


@dataclass
class Round:
    """One group's round. `lost[stage]` names the clients that are gone from that stage on."""

    terms: Terms
    names: tuple[str, ...]
    codes: dict[str, NDArray[np.unsignedinteger]]
    lost: Mapping[str, set[str]] = field(default_factory=dict)
    policy: Policy = field(default_factory=lambda: Policy(largest_dim=1024))
    seed: int = 0
    group: int = 0
    cohort: tuple[tuple[str, bytes], ...] = ()
    clients: dict[str, ClientRound] = field(default_factory=dict)
    lanes: dict[str, NDArray[np.unsignedinteger]] = field(default_factory=dict)
    statements: dict[str, Signed] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)  # by a client
    turned_away: dict[str, Exception] = field(default_factory=dict)  # by the server
    # What a test may change: each takes (name, honest value) and gives what is sent instead.
    bend_shares: Callable[[str, Signed], Signed] = lambda _, signed: signed
    bend_lanes: Callable[[str, NDArray[np.unsignedinteger]], NDArray[np.unsignedinteger]] = lambda _, lanes: lanes
    bend_statement: Callable[[str, Signed], Signed] = lambda _, signed: signed
    bend_sketch: Callable[[str, Signed], Signed] = lambda _, signed: signed
    bend_opening: Callable[[str, Signed], Signed | None] = lambda _, signed: signed
    bend_unmask: Callable[[str, Signed], Signed] = lambda _, signed: signed
    extra_openings: Callable[[str], Iterable[Signed]] = lambda _: ()

    def sign(self, name: str, domain: bytes, value: m.Message) -> Signed:
        body = encode_stage(value)
        return Signed(body, identity(name).sign(domain, body), name)

    def by_server(self, domain: bytes, value: m.Message) -> Signed:
        body = encode_stage(value)
        return Signed(body, SERVER.sign(domain, body), "server")

    def hand_in(self, take: Callable[[Signed], None], signed: Signed) -> None:
        """Give a client's message to the server, which may refuse it."""
        try:
            take(signed)
        except ProtocolError as error:
            self.turned_away[signed.signer] = error

    def here(self, name: str, stage: str) -> bool:
        at = STAGES.index(stage)
        return not any(name in self.lost.get(s, ()) for s in STAGES[: at + 1])

    def play(self, rejected: Mapping[str, str] | None = None) -> tuple[Outcome, GroupRound]:
        adverts = self.advertise()
        group = GroupRound(
            self.terms,
            self.group,
            adverts,
            {n: identity(n).public_key for n in self.names},
            StageWire(),
            cohort=self.cohort,
        )
        self.deal(group, adverts)
        self.mask(group)
        if self.terms.dim:
            self.sketch(group)
        outcome = self.unmask(group, rejected or {})
        return outcome, group

    def advertise(self) -> list[Signed]:
        """The group's adverts; the first time `names` shrinks from the whole cohort to the group's members."""
        if not self.cohort:
            for name in self.names:
                party = Party(name, identity(name).sign, open_entry, StageWire())
                secret = hashlib.sha256(f"{name} {self.seed}".encode()).digest()
                self.clients[name] = ClientRound(self.terms, party, secret, self.policy)
            self.cohort = make_cohort([machine.advert for machine in self.clients.values()])
            self.names = deal_groups(self.cohort, self.terms.previous_header_digest, nonce(self.seed))[self.group]
            self.clients = {name: self.clients[name] for name in self.names}
        return [self.clients[name].advert for name in self.names]

    def roster(self, adverts: list[Signed]) -> m.Roster:
        members = tuple(member_entry(a.signer) for a in adverts)
        header = self.terms.header_digest
        return m.Roster(header, self.group, tuple(adverts), members, self.cohort, nonce(self.seed))

    def tell(self, name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        try:
            return list(self.clients[name].receive(message, signed))
        except (ProtocolError, IdentityError) as error:
            self.refused[name] = error
            return []

    def deal(self, group: GroupRound, adverts: list[Signed]) -> None:
        roster = self.roster(adverts)
        for name in self.names:
            if self.here(name, "share"):
                for signed in self.tell(name, roster):
                    self.hand_in(group.take_shares, self.bend_shares(name, signed))
        deals = group.close_dealing()
        for name in group.dealers:
            for signed in [*self.tell(name, deals), *self.extra_openings(name)]:
                self.hand_in(group.take_opening, signed)

    def mask(self, group: GroupRound) -> None:
        for name in group.dealers:
            if (
                self.here(name, "masked_input")
                and name not in self.refused
                and self.clients[name].state.name == "READY"
            ):
                lanes = self.bend_lanes(name, self.clients[name].mask(self.codes[name]))
                self.lanes[name] = lanes
                self.upload(name)
        group.close_masking(self.statements)

    def upload(self, name: str) -> None:
        """Sign the statement about an upload, by the client's machine and as it is sent."""
        signed = self.sign(name, m.STATEMENT_DOMAIN, m.Statement(name, self.clients[name].view_digest))
        self.clients[name].uploaded(signed)
        self.statements[name] = self.bend_statement(name, signed)

    def sketch(self, group: GroupRound) -> None:
        seed = group.seed_for(merkle_root([group.uploads_root]), [], 0, 1)
        for name in group.uploaded:
            if self.here(name, "sketch"):
                for answer in self.tell(name, seed, self.by_server(m.SEED_DOMAIN, seed)):
                    self.hand_in(group.take_sketch, self.bend_sketch(name, answer))
        for name, conflict in group.conflicts():
            if self.here(name, "sketch"):
                for signed in self.tell(name, conflict):
                    if (bent := self.bend_opening(name, signed)) is not None:
                        self.hand_in(group.take_opening, bent)
        group.close_sketching()

    def unmask(self, group: GroupRound, rejected: Mapping[str, str]) -> Outcome:
        sets = group.name_sets(rejected)
        if sets is None:
            return group.finish(self.lanes.__getitem__)
        signed = self.by_server(m.SETS_DOMAIN, sets)
        group.sets_signed(signed)
        for name in group.dealers:
            if self.here(name, "consistency") and self.clients[name].state.name in ("MASKED", "SKETCHED"):
                for answer in self.tell(name, sets, signed):
                    self.hand_in(group.take_consistency, answer)
        request = group.unmask_request()
        if request is not None:
            for name in group.dealers:
                if self.here(name, "unmask") and self.clients[name].state.name == "AGREED":
                    for answer in self.tell(name, request):
                        self.hand_in(group.take_unmask, self.bend_unmask(name, answer))
        return group.finish(self.lanes.__getitem__)

    def plain_sum(self, accepted: Iterable[str]) -> NDArray[np.int64]:
        return sum((self.codes[name].astype(np.int64) for name in accepted), np.zeros(self.terms.length, np.int64))


def make_round(size: int, *, seed: int = 0, bits: int = 8, length: int = 2048, dim: int = 32, **changes: Any) -> Round:
    """A round of honest clients, each with an update of 0.7 C."""
    names = tuple(f"c{i:02d}" for i in range(size))
    terms = make_terms(min(size, ALONE), length=length, bits=bits, dim=dim, seed=seed)
    rng = np.random.default_rng(seed)
    codes = {name: honest_codes(terms, rng, norm=0.7) for name in names}
    return replace(Round(terms, names, codes, seed=seed), **changes)
