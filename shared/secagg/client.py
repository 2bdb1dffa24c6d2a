"""The client's side of one round: what it is shown, what it demands, what it answers.

States and what moves between them stand in `TRANSITIONS`; docs/protocol.md is drawn from it. The machine does no I/O:
`receive(message)` returns what to send. It answers one roster, one deal, one seed and one pair of sets in its life;
anything that breaks a rule raises, and the machine is spent. All its randomness follows from one secret, so replaying
the same messages after a restart gives the same bytes.

Why a sum hides whom it sums: a member counts whom it sees a statement of, signed over the same header, roster and deals
as its own. Whoever signs one has masked for exactly these deals. So of the sets that this client answers, all accepted
but the colluders are real inputs, whatever the server showed to whom. Nobody ever opens its own mask secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from roughfed.crypto import agreement
from roughfed.crypto.agreement import KeyPair
from roughfed.crypto.commitment import commit
from roughfed.crypto.identity import verify
from roughfed.crypto.masks import Lanes, Sign, sum_masks
from roughfed.crypto.merkle import merkle_root, merkle_verify
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.adverts import NOTHING, Gives, counted
from roughfed.secagg.dealing import Mate, Seat, Shares, deal, meet, open_shares
from roughfed.secagg.groups import SMALLEST, colluders, smallest_sum, threshold
from roughfed.secagg.pairs import confirmed_pairs
from roughfed.secagg.roster import check_group, draw_beacon, most_colluders, roster_digest, view_digest
from roughfed.secagg.terms import Party, Terms, entropy_stream
from roughfed.types import Signed


class State(Enum):
    """Where the client is in the round."""

    ADVERTISED = auto()
    DEALT = auto()
    READY = auto()
    MASKED = auto()
    SKETCHED = auto()
    AGREED = auto()
    ANSWERED = auto()
    OUT = auto()


TRANSITIONS: dict[tuple[State, type], State] = {
    (State.ADVERTISED, m.Roster): State.DEALT,
    (State.DEALT, m.Deals): State.READY,
    # READY -> MASKED by `mask`, when local training is done
    (State.MASKED, m.Seed): State.SKETCHED,
    (State.SKETCHED, m.Conflict): State.SKETCHED,
    (State.SKETCHED, m.Sets): State.AGREED,
    (State.MASKED, m.Sets): State.AGREED,
    (State.READY, m.Sets): State.AGREED,
    (State.AGREED, m.UnmaskRequest): State.ANSWERED,
}
"""`READY -> Sets`, and with sketches `MASKED -> Sets`, for one whose upload came too late, or not at all: it is
excluded, and answers like the others."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What this client demands whatever the server says: clients in a group, and in its sum; numbers of a sketch."""

    smallest_group: int = SMALLEST
    largest_dim: int = 256


class ClientRound:
    """One client in one round."""

    def __init__(self, terms: Terms, me: Party, secret: bytes, policy: Policy, *, gives: Gives = NOTHING) -> None:
        """Make the keys of the round.

        Args:
            terms: of the round.
            me: this client.
            secret: 32 bytes of the operating system, written ahead, used for this round only.
            policy: what this client demands.
            gives: which statistics it has to give, and the weight of its update.
        """
        self.state = State.ADVERTISED
        self._terms, self._me, self._policy = terms, me, policy
        if terms.dim > policy.largest_dim:
            raise RemoteProtocolError(
                f"a sketch of {terms.dim} numbers, this client allows {policy.largest_dim}", reason="policy"
            )
        self._entropy = entropy_stream(secret)
        self._mask, self._sealing = KeyPair.generate(self._entropy), KeyPair.generate(self._entropy)
        self._b = self._entropy(32)
        header = terms.header_digest
        committed = commit(self._b, header, me.name)
        value = m.Advertise(
            header,
            self._mask.public,
            self._sealing.public,
            committed,
            gives.quarters,
            terms.tier,
            statics=gives.statics,
            evaluates=gives.evaluation,
            trains=gives.training,
        )
        self.advert = me.signed(m.ADVERTISE_DOMAIN, value)
        self._names = tuple[str, ...]()
        self._seat = Seat(header, 0, me.name, (), b"")
        self._mates: dict[str, Mate] = {}
        self._own_deal = b""
        self._held: dict[str, Shares] = {}
        self._dealers, self._paired = frozenset[str](), frozenset[str]()
        self._codes: Lanes | None = None
        self._own_statement: Signed | None = None
        self._counted: dict[str, bytes] = {}
        self._root, self.view_digest = b"", b""
        self._pair_sketches: dict[str, bytes] = {}
        self._uploaded = frozenset[str]()
        self._opened: set[str] = set()
        self._most_colluders = 1
        self.beacon = b""
        self.gives, self.counts = gives, NOTHING
        self._sets: m.Sets | None = None
        self._sets_digest = b""

    def receive(self, message: m.Message, signed: Signed | None = None) -> Sequence[Signed]:
        """Take one message of the server.

        Args:
            message: the decoded message.
            signed: for `Seed` and `Sets`: the bytes and the server's signature.

        Returns:
            what to send.

        Raises:
            RemoteProtocolError, IdentityError: the server broke a rule; this client is out of the round.
            LocalProtocolError: called when it is not this client's turn.
        """
        following = TRANSITIONS.get((self.state, type(message)))
        if following is None:
            before, self.state = self.state, State.OUT
            raise RemoteProtocolError(f"{type(message).__name__} in state {before.name}", reason="order")
        try:
            answer = self._handle(message, signed)
        except (RemoteProtocolError, IdentityError):
            self.state = State.OUT
            raise
        if self.state is not State.OUT:
            self.state = following
        return answer

    def mask(self, codes: Lanes) -> Lanes:
        """The masked upload: codes + self mask + pair masks, lane-wise mod 2^w; [D + tail] like the codes.

        Raises:
            LocalProtocolError: not this client's turn, or codes that are none.
        """
        terms = self._terms
        if self.state is not State.READY:
            raise LocalProtocolError(f"mask in state {self.state.name}")
        if codes.shape != (terms.lanes,) or codes.dtype != terms.dtype or int(codes.max(initial=0)) >= terms.levels:
            raise LocalProtocolError(f"codes {codes.dtype}{list(codes.shape)}, want {terms.dtype}[{terms.lanes}]")
        lanes = codes.copy()
        sum_masks(lanes, self._own_masks(1))
        self._codes, self.state = codes[: terms.length], State.MASKED
        return lanes

    def resume(self, lanes: Lanes) -> None:
        """Go on after a restart with the masked bytes that were written ahead; the codes follow from them.

        Raises:
            LocalProtocolError: not this client's turn, or not its bytes.
        """
        if self.state is not State.READY:
            raise LocalProtocolError(f"resume in state {self.state.name}")
        codes = lanes.copy()
        sum_masks(codes, self._own_masks(-1))
        if codes.shape != (self._terms.lanes,) or int(codes.max(initial=0)) >= self._terms.levels:
            raise LocalProtocolError("the masked bytes are not those of this round")
        self._codes, self.state = codes[: self._terms.length], State.MASKED

    def _own_masks(self, sign: Sign) -> list[tuple[bytes, Sign]]:
        own_key = agreement.derive(self._b, agreement.SELF, self._seat.own_info)
        other: Sign = -1 if sign == 1 else 1
        signs: dict[str, Sign] = {n: sign if self._me.name < n else other for n in sorted(self._paired)}
        return [(own_key, sign), *((self._mates[name].pair_key, s) for name, s in signs.items())]

    def uploaded(self, statement: Signed) -> None:
        """The signed statement about the upload; before it is known this client is in no sum."""
        self._own_statement = statement

    # -- one handler for each message ---------------------------------------------------------------------------------

    def _handle(self, message: m.Message, signed: Signed | None) -> Sequence[Signed]:
        match message:
            case m.Roster():
                return self._take_roster(message)
            case m.Deals():
                return self._take_deals(message)
            case m.Seed():
                return self._take_seed(message, self._by_server(m.SEED_DOMAIN, signed))
            case m.Conflict():
                return self._take_conflict(message)
            case m.Sets():
                return self._take_sets(message, self._by_server(m.SETS_DOMAIN, signed))
            case m.UnmaskRequest():
                return self._take_unmask_request(message)
            case _:
                raise RemoteProtocolError(f"{type(message).__name__} from a server", reason="order")

    def _take_roster(self, roster: m.Roster) -> Sequence[Signed]:
        names = tuple(advert.signer for advert in roster.adverts)
        header = self._terms.header_digest
        self._this_round(roster.header_digest)
        check_group(roster, names, self._terms, me=self._me.name)
        self._most_colluders = most_colluders(roster.cohort)
        terms = self._terms
        self.beacon = terms.epoch_beacon or draw_beacon(roster.cohort, terms.previous_header_digest, roster.nonce)
        if len(names) < self._policy.smallest_group:
            raise RemoteProtocolError(f"a group of {len(names)}, this client demands more", reason="policy")
        self._names = names
        digest = roster_digest(roster.group, roster.adverts, roster.cohort)
        self._seat = Seat(header, roster.group, self._me.name, names, digest)
        keys: set[bytes] = set()
        values: list[m.Advertise] = []
        for advert, entry in zip(roster.adverts, roster.members, strict=True):
            name, identity_key, value = self._member(advert, entry)
            keys |= {value.mask_key, value.sealing_key, value.commitment}
            values.append(value)
            if name != self._me.name:
                self._mates[name] = meet(self._seat, (self._mask, self._sealing), name, identity_key, value)
        if len(keys) != 3 * len(names):
            raise RemoteProtocolError("two members have one key", reason="advert")
        self.counts = counted(values)
        sealed, self._held[self._me.name] = deal(self._seat, self._mates, self._b, self._mask.private, self._entropy)
        answer = self._me.signed(m.SHARES_DOMAIN, m.Shares(header, self._seat.roster_digest, sealed))
        self._own_deal = answer.body
        return (answer,)

    def _member(self, advert: Signed, entry: bytes) -> tuple[str, bytes, m.Advertise]:
        """A member by its advert and its CA-signed roster entry: name, identity key, keys of the round."""
        name, identity_key = self._me.open_member(entry)
        if name != advert.signer:
            raise IdentityError(f"the roster entry beside {advert.signer}'s advert is {name}'s", reason="roster")
        verify(identity_key, m.ADVERTISE_DOMAIN, advert.body, advert.signature)
        if name == self._me.name and advert.body != self.advert.body:
            raise RemoteProtocolError("the roster has another advert of this client", reason="advert")
        value = self._me.wire.decode(m.Advertise, advert.body)
        self._this_round(value.header_digest)
        return name, identity_key, value

    def _take_deals(self, deals: m.Deals) -> Sequence[Signed]:
        dealers = [signed.signer for signed in deals.shares]
        if dealers != sorted(set(dealers)) or not set(dealers) <= set(self._names):
            raise RemoteProtocolError("the dealers are not members, sorted, each once", reason="deals")
        if self._me.name not in dealers:
            raise RemoteProtocolError("this client's own deal is missing", reason="deals")
        if len(dealers) < (t := threshold(len(self._names))):
            raise RemoteProtocolError(f"{len(dealers)} members dealt shares, {t} needed", reason="too-few")
        published = {signed.signer: self._dealt(signed) for signed in deals.shares}
        pairs = confirmed_pairs(published, t)
        self._dealers, self._paired = frozenset(dealers), frozenset(pairs.get(self._me.name, ()))
        self.view_digest = view_digest(self._seat.roster_digest, deals.shares)
        complaints = [
            self._opening("sealing", name, self._mates[name].in_key)
            for name in dealers
            if name != self._me.name and not self._hold(self._mates[name], published[name][self._me.name])
        ]
        if not self._paired:  # its own mask secret stays shut: others may have masked with it
            self.state = State.OUT
        return complaints

    def _hold(self, mate: Mate, sealed: m.Sealed) -> bool:
        """Keep the shares that a mate dealt this client; False where they are bad and it can be shown.

        Those of a mate without a common mask are kept, too, where they open: of false tags its secret tells whose.
        """
        paired = mate.name in self._paired
        if paired and not hmac.compare_digest(sealed.pair_tag + sealed.in_tag + sealed.out_tag, b"".join(mate.tags)):
            raise RemoteProtocolError(f"{mate.name} confirmed other keys than this client's", reason="deals")
        if (shares := open_shares(self._seat, mate, sealed)) is None:
            return not paired
        self._held[mate.name] = shares
        return True

    def _dealt(self, signed: Signed) -> dict[str, m.Sealed]:
        """What one dealer published, by holder."""
        if signed.signer == self._me.name:
            if signed.body != self._own_deal:
                raise RemoteProtocolError("this client dealt other shares", reason="deals")
        else:
            verify(self._mates[signed.signer].identity_key, m.SHARES_DOMAIN, signed.body, signed.signature)
        shares = self._me.wire.decode(m.Shares, signed.body)
        self._this_round(shares.header_digest)
        if shares.roster_digest != self._seat.roster_digest:
            raise RemoteProtocolError(f"{signed.signer} dealt under another roster", reason="roster")
        if tuple(sealed.holder for sealed in shares.sealed) != self._names:
            raise RemoteProtocolError(f"{signed.signer} did not deal each member one share", reason="deals")
        return {sealed.holder: sealed for sealed in shares.sealed}

    def _take_seed(self, seed: m.Seed, _: Signed) -> Sequence[Signed]:
        terms, uploaded = self._terms, {signed.signer for signed in seed.statements}
        self._this_round(seed.header_digest)
        if seed.group != self._seat.group or seed.dim != terms.dim or not terms.dim:
            raise RemoteProtocolError("the seed is for another group or another sketch", reason="seed")
        if not {self._me.name} <= uploaded <= self._dealers:
            raise RemoteProtocolError("the uploads named with the seed are not the dealers'", reason="seed")
        self._count(seed.statements, sorted(uploaded))
        leaf = merkle_root([signed.digest for signed in seed.statements])
        if not merkle_verify(seed.root, leaf, seed.path, index=seed.index, count=seed.count):
            raise RemoteProtocolError("the uploads of this group are not under the seed's root", reason="seed")
        self._root, self._uploaded = seed.root, frozenset(uploaded)
        sketcher = terms.sketcher(seed.root, self._most_colluders)
        for name in sorted(self._paired & uploaded):
            self._pair_sketches[name] = sketcher.of_mask(self._mates[name].pair_key).tobytes()
        if self._codes is None:
            raise LocalProtocolError("a seed before there are codes")
        codes = sketcher.of_codes(self._codes).tobytes()
        value = m.Sketch(seed.root, codes, tuple(self._pair_sketches.items()))
        return (self._me.signed(m.SKETCH_DOMAIN, value),)

    def _take_conflict(self, conflict: m.Conflict) -> Sequence[Signed]:
        mate = self._mates.get(conflict.member)
        if mate is None or mate.name not in self._pair_sketches:
            raise RemoteProtocolError("a conflict about a pair that has no mask", reason="conflict")
        verify(mate.identity_key, m.SKETCH_DOMAIN, conflict.sketch.body, conflict.sketch.signature)
        theirs = self._me.wire.decode(m.Sketch, conflict.sketch.body)
        lanes = dict(theirs.pairs).get(self._me.name)
        if lanes is None:  # else a server that tells members of different uploads would collect keys from honest ones
            raise RemoteProtocolError(f"{mate.name}'s sketch says nothing of the pair", reason="conflict")
        if theirs.seed_root != self._root:
            raise RemoteProtocolError(f"{mate.name}'s sketch is under another seed", reason="two-seeds")
        if lanes == self._pair_sketches[mate.name]:
            raise RemoteProtocolError(f"{mate.name}'s sketch does not conflict with this client's", reason="conflict")
        self._opened.add(mate.name)
        if len(self._opened) > colluders(len(self._names)):
            raise RemoteProtocolError("more conflicts than there can be liars", reason="conflict")
        return (self._opening("pair", mate.name, mate.pair_key),)

    def _take_sets(self, sets: m.Sets, signed: Signed) -> Sequence[Signed]:
        self._this_round(sets.header_digest)
        accepted, excluded = set(sets.accepted), {name for name, _ in sets.excluded}
        if self.state is State.MASKED and self._terms.dim and self._me.name in accepted:
            raise RemoteProtocolError("this client is accepted before it was asked for a sketch", reason="order")
        if self.state is State.READY and self._me.name in accepted:
            raise RemoteProtocolError("this client is accepted and has sent nothing", reason="sets")
        saw_seed = self.state is State.SKETCHED
        if sets.group != self._seat.group or ((saw_seed or not self._terms.dim) and sets.seed_root != self._root):
            raise RemoteProtocolError("the sets are for another group or another seed", reason="sets")
        if len(accepted) + len(excluded) != len(sets.accepted) + len(sets.excluded) or accepted & excluded:
            raise RemoteProtocolError("a client is in the sets twice", reason="sets")
        if frozenset(accepted | excluded) != self._dealers or (saw_seed and not accepted <= self._uploaded):
            raise RemoteProtocolError(
                "the sets do not cover the dealers, or accept what was not uploaded", reason="sets"
            )
        self._count(sets.statements, sorted(accepted))
        wanted = max(smallest_sum(len(self._names)), self._policy.smallest_group)
        if len(accepted) < wanted:
            raise RemoteProtocolError(f"a sum of {len(accepted)}, at least {wanted} wanted", reason="too-few")
        self._sets, self._sets_digest = sets, signed.digest
        return (self._me.signed(m.CONSISTENCY_DOMAIN, m.Consistency(signed.digest)),)

    def _take_unmask_request(self, request: m.UnmaskRequest) -> Sequence[Signed]:
        agreed: set[str] = set()
        for signed in request.consistency:
            mate = self._mates.get(signed.signer)
            key = mate.identity_key if mate is not None else None
            if key is None and signed.signer != self._me.name:
                raise RemoteProtocolError(f"{signed.signer[:63]!r} is not in this group", reason="consistency")
            if key is not None:
                verify(key, m.CONSISTENCY_DOMAIN, signed.body, signed.signature)
            if self._me.wire.decode(m.Consistency, signed.body).sets_digest != self._sets_digest:
                raise RemoteProtocolError(f"{signed.signer} saw other sets", reason="two-sets")
            agreed.add(signed.signer)
        if len(agreed) < (t := threshold(len(self._names))):
            raise RemoteProtocolError(f"{len(agreed)} members agree on the sets, {t} needed", reason="too-few")
        if (sets := self._sets) is None:
            raise LocalProtocolError("asked to unmask before the sets")
        excluded = [name for name, _ in sets.excluded]
        held = self._held
        value = m.Unmask(
            self._sets_digest,
            tuple((name, held[name][0]) for name in sorted(sets.accepted) if name in held),
            tuple((name, held[name][1]) for name in sorted(excluded) if name in held),
        )
        return (self._me.signed(m.UNMASK_DOMAIN, value),)

    def _count(self, statements: Sequence[Signed], names: Sequence[str]) -> None:
        """Hold signed statements against those whom they are to count: one of each, over this client's own view.

        Raises:
            RemoteProtocolError: not one of each, another view, or this client's own is not the one that it gave.
            IdentityError: a member did not sign it.
        """
        if [signed.signer for signed in statements] != list(names):
            raise RemoteProtocolError("not one statement of each member that is counted", reason="statement")
        for signed in statements:
            name = signed.signer
            if name == self._me.name:
                if self._own_statement is None or signed.body != self._own_statement.body:
                    raise RemoteProtocolError("this client signed no such statement", reason="statement")
            elif self._counted.get(name) != signed.digest:
                verify(self._mates[name].identity_key, m.STATEMENT_DOMAIN, signed.body, signed.signature)
                value = self._me.wire.decode(m.Statement, signed.body)
                if (value.client, value.view_digest) != (name, self.view_digest):
                    raise RemoteProtocolError(f"{name} uploaded under another view of the deals", reason="two-views")
                self._counted[name] = signed.digest

    # -- small things -------------------------------------------------------------------------------------------------

    def _by_server(self, domain: bytes, signed: Signed | None) -> Signed:
        if signed is None:
            raise RemoteProtocolError("an unsigned message that the server must sign", reason="signature")
        verify(self._terms.server_key, domain, signed.body, signed.signature)
        return signed

    def _this_round(self, header_digest: bytes) -> None:
        if header_digest != self._terms.header_digest:
            raise RemoteProtocolError("a message of another round", reason="header")

    def _opening(self, kind: str, against: str, key: bytes) -> Signed:
        return self._me.signed(m.OPENING_DOMAIN, m.Opening(self._terms.header_digest, kind, against, key))
