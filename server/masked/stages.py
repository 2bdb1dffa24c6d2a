"""A masked round as one machine: all its tiers and groups, what was sent to whom, who owes what. It has no clock.

Clients' messages and the server's own facts go in, in order; what a fact makes the server say comes out. Playing the
same messages and facts again gives the same machine: `server/masked/journal.py` keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from roughfed.crypto.identity import verify
from roughfed.crypto.merkle import merkle_paths, merkle_root
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.masked_round import Masking
from roughfed.messages import ServerStage
from roughfed.secagg import messages as m
from roughfed.secagg.adverts import FULL
from roughfed.secagg.server import GroupRound, Stage
from roughfed.server.masked.decisions import (
    KINDS,
    Fact,
    GroupAgreed,
    QuestionsAsked,
    RosterDrawn,
    SetsJudged,
    SharesDealt,
    SketchesClosed,
    UploadsClosed,
)
from roughfed.server.masked.tier_round import Advert, Outgoing, TierRound
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage


@dataclass
class ServerSide:
    """What the server brings.

    Attributes:
        sign: (domain, body) -> Ed25519 signature by its identity key.
        open_member: a CA-signed roster entry -> (name, Ed25519 key); raises IdentityError.
        nonce: revealed with the roster.
    """

    sign: Callable[[bytes, bytes], bytes]
    open_member: Callable[[bytes], tuple[str, bytes]]
    nonce: bytes


@dataclass
class MaskedRound:
    """One masked round.

    Attributes:
        maskings: its public side, of each tier of clients; the standard one first.
        members: the cohort.
        server: what the server brings.
        self_weight: whether the learning settings let clients weigh themselves down.
        tiers: the same tiers, with their groups.
        group_of: name -> its group.
        sent: what each client was told, to be told again when it comes back.
        out: who left the round by its own word (it refused, or failed).
        refused: why a client of the cohort has no seat.
        done: the facts so far.
    """

    maskings: Sequence[Masking]
    members: frozenset[str]
    server: ServerSide
    self_weight: bool = False
    tiers: list[TierRound] = field(default_factory=list[TierRound])
    group_of: dict[str, GroupRound] = field(default_factory=dict[str, GroupRound])
    sent: dict[str, list[ServerStage]] = field(default_factory=dict[str, list[ServerStage]])
    out: set[str] = field(default_factory=set[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    done: list[str] = field(default_factory=list[str])
    _taken: set[tuple[str, str, bytes]] = field(default_factory=set[tuple[str, str, bytes]])
    _adverts: dict[str, Advert] = field(default_factory=dict[str, Advert])

    def __post_init__(self) -> None:
        """Nobody is in a tier yet."""
        self.tiers = [TierRound(masking) for masking in self.maskings]

    @property
    def groups(self) -> list[GroupRound]:
        """All groups, tier by tier; the place of a group here is its number in the journal."""
        return [group for one in self.tiers for group in one.groups]

    @property
    def stage(self) -> str:
        """Where the slowest group is, in lower case."""
        if not self.groups:
            return "advertising"
        return min((group.stage for group in self.groups), key=lambda each: each.value).name.lower()

    @property
    def masking(self) -> Masking:
        """That of the standard tier."""
        return self.maskings[0]

    @property
    def sketches(self) -> bool:
        """Whether the server sees sketches of single updates."""
        return self.maskings[0].terms.dim > 0

    def tier_round_of(self, name: str) -> TierRound:
        """The tier that a client named in its advert.

        Raises:
            RemoteProtocolError: it has sent none.
        """
        for one in self.tiers:
            if name in one.adverts:
                return one
        raise RemoteProtocolError(f"{name} has sent no advert", reason="order")

    def tier_of(self, name: str) -> str | None:
        """The same by name, None before its advert: whatever it says at a later hello, it is in a group of this one."""
        return next((one.masking.tier for one in self.tiers if name in one.adverts), None)

    # -- messages -----------------------------------------------------------------------------------------------------

    def take(self, kind: str, signed: Signed, entry: bytes = b"") -> bool:
        """A client's message; `entry` is its roster entry, beside an advert.

        Returns:
            whether it is new.

        Raises:
            RemoteProtocolError, IdentityError: it breaks a rule; nothing changed.
        """
        if kind == "advertise":
            return self._take_advert(signed, entry)
        if (key := (kind, signed.signer, signed.digest)) in self._taken:
            return False  # said again after a restart
        if (group := self.group_of.get(signed.signer)) is None:
            raise RemoteProtocolError("a stage of a client without a seat in this round", reason="order")
        takers: Mapping[str, Callable[[Signed], bool]] = {
            "shares": group.take_shares,
            "opening": group.take_opening,
            "sketch": group.take_sketch,
            "consistency": group.take_consistency,
            "unmask": group.take_unmask,
        }
        new = takers[kind](signed)
        self._taken.add(key)
        return new

    def _take_advert(self, signed: Signed, entry: bytes) -> bool:
        name = signed.signer
        if name not in self.members:
            raise RemoteProtocolError(f"{name} is not in the cohort", reason="not-in-cohort")
        if (known := self._adverts.get(name)) is not None:
            if known.signed.body != signed.body:
                raise RemoteProtocolError("another advert than before", reason="conflict")
            return False
        if "roster" in self.done:
            raise RemoteProtocolError("the roster is drawn already", reason="late")
        owner, key = self.server.open_member(entry)
        if owner != name:
            raise IdentityError(f"the roster entry beside {name}'s advert is {owner}'s", reason="foreign")
        verify(key, m.ADVERTISE_DOMAIN, signed.body, signed.signature)
        value = decode_stage(m.Advertise, signed.body)
        if value.weight_quarters != FULL and not self.self_weight:
            raise RemoteProtocolError(f"weight {value.weight_quarters}/4 was not offered", reason="weight")
        if value.tier > len(self.tiers):
            raise RemoteProtocolError(f"the round has no tier {value.tier}", reason="class")
        advert = Advert(signed, value, entry, key)
        self._adverts[name] = self.tiers[value.tier - 1].adverts[name] = advert
        return True

    def check_tier(self, advert: Signed, tier: str) -> None:
        """A client takes part as the tier that it named at hello.

        Raises:
            RemoteProtocolError: reason "class"; its advert names another one, or none of the round.
        """
        number = decode_stage(m.Advertise, advert.body).tier
        if number > len(self.tiers) or self.tiers[number - 1].masking.tier != tier:
            raise RemoteProtocolError(f"the advert is of tier {number}, {advert.signer} is of {tier!r}", reason="class")

    def owing(self) -> set[str]:
        """Whose message the round waits for now."""
        if "roster" not in self.done:
            return self.without_advert()
        return {name for group in self.groups for name in group.owing} - self.out

    # -- facts --------------------------------------------------------------------------------------------------------

    def apply(self, fact: Fact) -> Outgoing:
        """Something is decided; returns what to say, and to whom, once it is journaled."""
        self.done.append(KINDS[type(fact)])
        outgoing = self._outgoing(fact)
        for name, message in outgoing:
            self.sent.setdefault(name, []).append(message)
        return outgoing

    def _outgoing(self, fact: Fact) -> Outgoing:
        match fact:
            case RosterDrawn():
                return self._draw_roster()
            case SharesDealt():
                return self._close_dealing()
            case UploadsClosed(statements):
                return self._close_masking(statements)
            case QuestionsAsked():
                return self._ask()
            case SketchesClosed():
                return self._close_sketching()
            case SetsJudged(rejected):
                return self._name_sets(rejected)
            case GroupAgreed(number):
                return self._request(number)

    def _draw_roster(self) -> Outgoing:
        outgoing: Outgoing = []
        for one in self.tiers:
            outgoing += one.draw_roster(self.server.nonce)
            self.refused |= one.refused
            self.group_of |= {name: group for group in one.groups for name in group.names}
        return outgoing

    def _close_dealing(self) -> Outgoing:
        outgoing: Outgoing = []
        for group in self.groups:
            stage = ServerStage("deals", encode_stage(group.close_dealing()))
            outgoing += [(name, stage) for name in group.dealers]
        return outgoing

    def _close_masking(self, statements: Mapping[str, Signed]) -> Outgoing:
        for group in self.groups:
            group.close_masking({name: statements[name] for name in group.names if name in statements})
        if not self.sketches:
            return []
        leaves = [group.uploads_root for group in self.groups]
        root = merkle_root(leaves)
        outgoing: Outgoing = []
        for index, (group, path) in enumerate(zip(self.groups, merkle_paths(leaves), strict=True)):
            if group.uploaded:
                seed = self._signed("seed", m.SEED_DOMAIN, group.seed_for(root, path, index, len(leaves)))
                outgoing += [(name, seed) for name in group.uploaded]
        return outgoing

    def _ask(self) -> Outgoing:
        asked = [question for group in self.groups for question in group.conflicts()]
        return [(name, ServerStage("conflict", encode_stage(conflict))) for name, conflict in asked]

    def _close_sketching(self) -> Outgoing:
        for group in self.groups:
            group.close_sketching()
        return []

    def _name_sets(self, rejected: Mapping[str, str]) -> Outgoing:
        outgoing: Outgoing = []
        for group in self.groups:
            if (sets := group.name_sets(rejected)) is None:
                continue
            stage = self._signed("sets", m.SETS_DOMAIN, sets)
            group.sets_signed(Signed(stage.body, stage.signature, ""))
            outgoing += [(name, stage) for name in group.dealers]
        return outgoing

    def _request(self, number: int) -> Outgoing:
        group = self.groups[number]
        if (request := group.unmask_request()) is None:
            raise LocalProtocolError("asked to unmask before t members agree")
        stage = ServerStage("unmask", encode_stage(request))
        return [(signed.signer, stage) for signed in request.consistency]

    # -- what drives it -----------------------------------------------------------------------------------------------

    def questions(self) -> bool:
        """Whether two sketches of one pair differ and somebody can still be asked."""
        return any(group.has_conflicts() for group in self.groups)

    def ready_to_unmask(self) -> list[int]:
        """Groups that agree on their sets and were not asked yet."""
        return [n for n, g in enumerate(self.groups) if g.stage is Stage.AGREEING and g.agrees]

    def quarters(self, names: Iterable[str]) -> dict[str, int]:
        """Weight class of each of these clients, in quarters."""
        return {name: self._adverts[name].value.weight_quarters for name in names}

    def without_advert(self) -> set[str]:
        """Who was asked, did not say that it will not take part, and sent no advert."""
        return set(self.members) - self._adverts.keys() - self.out

    def uploaders(self) -> Iterable[str]:
        """Who may upload: the dealers that are not left out."""
        return (name for group in self.groups for name in group.board.pairs)

    def _signed(self, kind: str, domain: bytes, value: m.Seed | m.Sets) -> ServerStage:
        body = encode_stage(value)
        return ServerStage(kind, body, self.server.sign(domain, body))
