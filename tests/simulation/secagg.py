"""A whole masked round over the real machines, without a socket: what the tests of secure aggregation play with.

Signatures, X25519, Shamir, AES masks, Merkle proofs: all real. Clients are dictionaries of machines; a test changes
what they send, whom it loses, and what the server says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, Policy
from roughfed.secagg.roster import deal_groups, make_cohort
from roughfed.secagg.server import GroupRound, Outcome
from roughfed.secagg.terms import Party, Terms
from roughfed.types import Signed
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


def open_member(entry: bytes) -> tuple[str, bytes]:
    """The CA's word is modelled by a plain row; its signature has tests of its own."""
    member = decode_row(entry)
    return member, identity(member).public_key


def encode_row(name: str) -> bytes:
    return encode_member_stub(name)


def encode_member_stub(name: str) -> bytes:
    from roughfed.wire.enrolment import encode_member

    return encode_member(name.encode(), b"")


def decode_row(entry: bytes) -> str:
    from roughfed.pb.v1.secagg_pb2 import SignedRosterEntry

    return SignedRosterEntry.FromString(entry).entry.decode()


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
    clients: dict[str, ClientRound] = field(default_factory=dict)
    lanes: dict[str, NDArray[np.unsignedinteger]] = field(default_factory=dict)
    statements: dict[str, Signed] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)
    # What a test may change: each takes (name, honest value) and gives what is sent instead.
    bend_shares: Callable[[str, Signed], Signed] = lambda _, signed: signed
    bend_lanes: Callable[[str, NDArray[np.unsignedinteger]], NDArray[np.unsignedinteger]] = lambda _, lanes: lanes
    bend_sketch: Callable[[str, Signed], Signed] = lambda _, signed: signed
    bend_opening: Callable[[str, Signed], Signed | None] = lambda _, signed: signed
    bend_unmask: Callable[[str, Signed], Signed] = lambda _, signed: signed
    extra_openings: Callable[[str], Iterable[Signed]] = lambda _: ()

    def sign(self, name: str, domain: bytes, value: m.Message) -> Signed:
        body = encode_stage(value)
        return Signed(body, identity(name).sign(domain, body), name)

    def here(self, name: str, stage: str) -> bool:
        at = STAGES.index(stage)
        return not any(name in self.lost.get(s, ()) for s in STAGES[: at + 1])

    def play(self, rejected: Mapping[str, str] | None = None) -> tuple[Outcome, GroupRound]:
        adverts = self.advertise()
        group = GroupRound(self.terms, 0, adverts, {n: identity(n).public_key for n in self.names}, StageWire())
        self.deal(group, adverts)
        self.mask(group)
        if self.terms.dim:
            self.sketch(group)
        outcome = self.unmask(group, rejected or {})
        return outcome, group

    def advertise(self) -> list[Signed]:
        for name in self.names:
            party = Party(name, identity(name).sign, open_member, StageWire())
            secret = hashlib.sha256(f"{name} {self.seed}".encode()).digest()
            self.clients[name] = ClientRound(self.terms, party, secret, self.policy)
        return [self.clients[name].advert for name in self.names]

    def roster(self, adverts: list[Signed]) -> m.Roster:
        members = tuple(encode_row(a.signer) for a in adverts)
        return m.Roster(self.terms.header_digest, 0, tuple(adverts), members, make_cohort(adverts), nonce(self.seed))

    def tell(self, name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        try:
            return list(self.clients[name].receive(message, signed))
        except Exception as error:  # noqa: BLE001  a test looks at what was refused
            self.refused[name] = error
            return []

    def deal(self, group: GroupRound, adverts: list[Signed]) -> None:
        roster = self.roster(adverts)
        assert deal_groups(roster.cohort, self.terms.previous_header_digest, roster.nonce)[0] == self.names
        for name in self.names:
            if self.here(name, "share"):
                for signed in self.tell(name, roster):
                    group.take_shares(self.bend_shares(name, signed))
        deals = group.close_dealing()
        for name in group.dealers:
            for signed in [*self.tell(name, deals), *self.extra_openings(name)]:
                group.take_opening(signed)

    def mask(self, group: GroupRound) -> None:
        for name in group.dealers:
            if (
                self.here(name, "masked_input")
                and name not in self.refused
                and self.clients[name].state.name == "READY"
            ):
                lanes = self.bend_lanes(name, self.clients[name].mask(self.codes[name]))
                self.lanes[name] = lanes
                body = hashlib.sha256(lanes.tobytes()).digest()
                self.statements[name] = Signed(body, b"", name)
                self.clients[name].uploaded(self.statements[name])
        group.close_masking(self.lanes)

    def sketch(self, group: GroupRound) -> None:
        order = sorted(self.statements)
        leaves = [self.statements[name].digest for name in order]
        root = merkle_root(leaves)
        for index, name in enumerate(order):
            seed = group.seed_for(root, merkle_path(leaves, index), index, len(leaves))
            if self.here(name, "sketch"):
                body = encode_stage(seed)
                signed = Signed(body, SERVER.sign(m.SEED_DOMAIN, body), "server")
                for answer in self.tell(name, seed, signed):
                    try:
                        group.take_sketch(self.bend_sketch(name, answer))
                    except Exception as error:  # noqa: BLE001
                        self.refused[name] = error
        for name, conflict in group.conflicts():
            if self.here(name, "sketch"):
                for signed in self.tell(name, conflict):
                    if (bent := self.bend_opening(name, signed)) is not None:
                        group.take_opening(bent)
        group.close_sketching()

    def unmask(self, group: GroupRound, rejected: Mapping[str, str]) -> Outcome:
        sets = group.name_sets(rejected)
        if sets is None:
            return group.finish(self.lanes.__getitem__)
        body = encode_stage(sets)
        signed = Signed(body, SERVER.sign(m.SETS_DOMAIN, body), "server")
        group.sets_signed(signed)
        for name in group.dealers:
            if self.here(name, "consistency") and self.clients[name].state.name in ("MASKED", "SKETCHED"):
                for answer in self.tell(name, sets, signed):
                    group.take_consistency(answer)
        request = group.unmask_request()
        if request is not None:
            for name in group.dealers:
                if self.here(name, "unmask") and self.clients[name].state.name == "AGREED":
                    for answer in self.tell(name, request):
                        group.take_unmask(self.bend_unmask(name, answer))
        return group.finish(self.lanes.__getitem__)

    def plain_sum(self, accepted: Iterable[str]) -> NDArray[np.int64]:
        return sum((self.codes[name].astype(np.int64) for name in accepted), np.zeros(self.terms.length, np.int64))


def make_round(
    size: int, *, seed: int = 0, bits: int = 8, length: int = 2048, dim: int = 32, **changes: object
) -> Round:
    names = tuple(f"c{i:02d}" for i in range(size))
    terms = make_terms(size, length=length, bits=bits, dim=dim, seed=seed)
    rng = np.random.default_rng(seed)
    codes = {name: honest_codes(terms, rng) for name in names}
    return replace(Round(terms, names, codes, seed=seed), **changes)  # pyright: ignore[reportArgumentType]
