"""A server that may do what it likes, and its colluders, against the real machines of the honest clients of one group.

A machine is a function of the messages that it was told, so `Node` keeps what each of them came to: the same message is
told once, whatever else the server plays, and the server may look at the answer before it decides. That is more than a
real server can: it has one attempt at each client.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from roughfed.crypto.masks import Lanes
from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.errors import IdentityError, ProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, Policy, State
from roughfed.secagg.dealing import open_shares
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.secagg.pairs import confirmed_pairs
from roughfed.secagg.roster import deal_groups, make_cohort
from roughfed.secagg.terms import Party, Terms
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage

from .leaks import Holdings, Masks
from .secagg import SERVER, honest_codes, identity, make_terms, member_entry, nonce, open_entry

Names = frozenset[str]
NOBODY: Names = frozenset()
View = tuple[tuple[str, Names], ...]
"""The deals that one client is shown: (dealer, members whose tags are false in it)."""
EPOCH = bytes(range(32))
HONEST_INPUTS = 3
"""Fewest honest inputs that any sum may have."""


class CachedWire:
    """The real serialization; the same bytes are read once."""

    encode = staticmethod(cache(encode_stage))
    decode = staticmethod(cache(decode_stage))


# -- what the server chooses ------------------------------------------------------------------------------------------


Ask = tuple[Names, Names, Names]
"""Sets that are shown: accepted, excluded, to whom."""


@dataclass(frozen=True)
class Plan:
    """One way to play a round.

    Attributes:
        rosters: who is shown the roster with the colluders' second adverts.
        views: the deals that each honest client is shown.
        late: who is shown the sets before it has uploaded.
        named: who has uploaded, as each is told with the seed.
        second_root: who is told of another root.
        conflicts: (who is asked, about whom).
        asks: the sets.
        padded: whether an unmask request carries the signatures over the other sets, too.
        forge: what stands in for statements that nobody signed over the deals that most were shown: "", what there is;
            "omit", nothing; "unsigned" ones; "renamed" ones of a colluder; true ones of another "round" or "session".
        sign_for_all: whether signatures of honest members over the sets, and their sketches, are made up.
    """

    views: Mapping[str, View]
    asks: tuple[Ask, ...]
    rosters: Names = NOBODY
    late: Names = NOBODY
    named: Mapping[str, Names] = field(default_factory=dict)
    second_root: Names = NOBODY
    conflicts: tuple[tuple[str, str], ...] = ()
    padded: bool = False
    forge: str = ""
    sign_for_all: bool = False

    def moves(self) -> list[str]:
        """The attack, for people."""
        found = [f"show {name} the roster with the colluders' second adverts" for name in sorted(self.rosters)]
        for name, view in sorted(self.views.items()):
            lies = "".join(f", {d}'s with false tags for {' '.join(sorted(of))}" for d, of in view if of)
            found.append(f"show {name} the deals of {' '.join(d for d, _ in view)}{lies}")
        found += [f"hurry {name}: show it the sets before it has uploaded" for name in sorted(self.late)]
        for name, named in sorted(self.named.items()):
            root = " under another root" if name in self.second_root else ""
            found.append(f"tell {name} with the seed that {' '.join(sorted(named))} uploaded{root}")
        found += [f"ask {asked} about its conflict with {other}" for asked, other in self.conflicts]
        for accepted, excluded, shown in self.asks:
            a, x = " ".join(sorted(accepted)), " ".join(sorted(excluded))
            found.append(f"ask {' '.join(sorted(shown))} to unmask: accepted {a}; excluded {x}")
        found += ["send all signatures over other sets, too"] * self.padded
        found += [f"statements of those who said nothing, or saw other deals: {self.forge}"] * bool(self.forge)
        found += ["make up the signatures of all others over the sets, and sketches that conflict"] * self.sign_for_all
        return found


@dataclass
class Result:
    """What came of a plan; `release`: the smallest mask-free combination of uploads, if it has too few inputs."""

    plan: Plan
    nodes: dict[str, Node]
    release: dict[str, int] | None
    holdings: Holdings
    masks: Masks
    lanes: dict[str, Lanes]
    stages: Counter[str]

    def told(self) -> Lanes:
        """The combination, computed from what the server holds."""
        assert self.release
        return self.holdings.unmask(self.release, self.lanes, self.masks)

    def report(self, table: Table) -> str:
        """What to show when a promise is broken."""
        head = f"g = {len(table.names)}, t = {table.threshold}, dim = {table.terms.dim}, colluders {table.colluders}"
        return "\n  ".join([f"{head}: the server learns the sum of {self.release}", *self.plan.moves()])


# -- honest clients ---------------------------------------------------------------------------------------------------


class Node:
    """An honest client's machine after some messages, and what it answered to the last one."""

    def __init__(self, machine: ClientRound, answers: Sequence[Signed] = (), error: Exception | None = None) -> None:
        self.machine, self.answers, self.error = machine, list(answers), error
        self.lanes: Lanes | None = None
        self.statement: Signed | None = None
        self.path: tuple[tuple[m.Message | None, Signed | None, list[Signed]], ...] = ()
        self._after: dict[object, Node] = {}

    @property
    def state(self) -> State:
        return self.machine.state

    def tell(self, message: m.Message, signed: Signed | None = None) -> Node:
        key = (message, signed)
        if key not in self._after:
            machine = fork(self.machine)
            try:
                following = Node(machine, machine.receive(message, signed))
            except (ProtocolError, IdentityError) as error:
                following = Node(machine, (), error)
            except Exception as error:
                if type(machine) is ClientRound:
                    raise
                following = Node(machine, (), error)  # one without a rule may stumble further on
            following.lanes, following.statement = self.lanes, self.statement
            following.path = (*self.path, (message, signed, following.answers))
            self._after[key] = following
        return self._after[key]

    def masked(self, codes: Lanes) -> Node:
        """The masked bytes are made, and nothing is said about them yet."""
        following = Node(fork(self.machine))
        following.lanes = following.machine.mask(codes)
        return following

    def upload(self, codes: Lanes) -> Node:
        if "upload" not in self._after:
            following = self.masked(codes)
            following.statement = statement(self.machine._me.name, self.machine.view_digest)
            following.machine.uploaded(following.statement)
            following.path = (*self.path, (None, None, []))
            self._after["upload"] = following
        return self._after["upload"]


def fork(machine: ClientRound) -> ClientRound:
    """Another machine in the same state (after the deal no randomness is drawn any more)."""
    twin = copy.copy(machine)
    for name, value in vars(machine).items():
        if isinstance(value, (dict, set)):
            setattr(twin, name, value.copy())
    return twin


@dataclass(frozen=True)
class Place:
    """An honest client up to its upload: with whom it masks, and what it opened when it saw the deals."""

    node: Node
    mates: tuple[str, ...]
    openings: Sequence[Signed]

    @property
    def opened(self) -> list[str]:
        """About whom it opened a key."""
        return [CachedWire.decode(m.Opening, signed.body).against for signed in self.openings]


# -- the group --------------------------------------------------------------------------------------------------------


class Table:
    """One group at whose head the server sits."""

    def __init__(
        self,
        clients: int,
        colluding: int,
        *,
        dim: int,
        seed: int = 0,
        session: int = 0,
        machine: type[ClientRound] = ClientRound,
    ) -> None:
        """`clients` are in the round; the last members of the first group collude."""
        self.clients, self.group, self.seed, self._session, self._machine = clients, 0, seed, session, machine
        everybody = tuple(f"c{i:02d}" for i in range(clients))
        sizes = [len(g) for g in deal_groups([(n, b"") for n in everybody], b"", b"", epoch_beacon=EPOCH)]
        terms = make_terms(max(sizes), length=16, dim=dim, seed=seed)
        self.terms: Terms = replace(terms, epoch_beacon=EPOCH)
        self._made = {(n, r): self._make(n, r) for n in everybody for r in (0, 1)}
        cohort = make_cohort([self._made[n, 0].advert for n in everybody])
        self.names = deal_groups(cohort, b"", b"", epoch_beacon=EPOCH)[self.group]
        self.colluders, self.honest = self.names[-colluding:], self.names[:-colluding]
        self.threshold, self.smallest_sum = threshold(len(self.names)), smallest_sum(len(self.names))
        rng = np.random.default_rng(seed)
        self.codes = {name: honest_codes(self.terms, rng) for name in self.names}
        self._others = [n for n in everybody if n not in self.names]
        self._dealt: dict[tuple[str, int], Node] = {}
        self.refusals: Counter[tuple[str, str]] = Counter()
        self.deal_of, self.deals = cache(self._deal_of), cache(self._deals)
        self.placed, self.shares_with_colluders = cache(self._placed), cache(self._shares_with_colluders)
        self.old_statement, self.pairs_of = cache(self._old_statement), cache(self._pairs_of)

    def _make(self, name: str, roster: int) -> ClientRound:
        party = Party(name, identity(name).sign, open_entry, CachedWire())
        secret = hashlib.sha256(f"{name} {self.seed} {self._session} {roster}".encode()).digest()
        return self._machine(self.terms, party, secret, Policy())

    def roster(self, number: int) -> m.Roster:
        """0, or 1 with the colluders' second adverts."""
        made = {n: self._made[n, number if n in self.colluders else 0].advert for n in (*self.names, *self._others)}
        adverts, entries = tuple(made[n] for n in self.names), tuple(member_entry(n) for n in self.names)
        header = self.terms.header_digest
        return m.Roster(header, self.group, adverts, entries, make_cohort([*made.values()]), nonce(self.seed))

    def dealt(self, name: str, roster: int) -> Node:
        """A machine that has dealt under one of the rosters."""
        if (name, roster) not in self._dealt:
            machine = self._make(name, roster if name in self.colluders else 0)
            self._dealt[name, roster] = Node(machine, machine.receive(self.roster(roster)))
        return self._dealt[name, roster]

    def restarted(self, node: Node, roster: int) -> ClientRound:
        """The machine of a client that stopped, made anew from its secret and what it had written down."""
        machine = self._make(node.machine._me.name, 0)
        machine.receive(self.roster(roster))
        for message, signed, answers in node.path:
            if message is not None:
                assert list(machine.receive(message, signed)) == answers
            else:
                assert node.lanes is not None
                assert node.statement is not None
                machine.uploaded(node.statement)
                machine.resume(node.lanes)
        return machine

    def advert(self, name: str) -> m.Advertise:
        return CachedWire.decode(m.Advertise, self._made[name, 0].advert.body)

    def _deal_of(self, dealer: str, roster: int, false_to: Names) -> Signed:
        (deal,) = self.dealt(dealer, roster).answers
        if not false_to:
            return deal
        assert dealer in self.colluders
        value = decode_stage(m.Shares, deal.body)
        sealed = tuple(replace(s, pair_tag=bytes(32)) if s.holder in false_to else s for s in value.sealed)
        return sign(dealer, m.SHARES_DOMAIN, replace(value, sealed=sealed))

    def _deals(self, view: View, roster: int, rosters: Names) -> m.Deals:
        """The deals of a view: an honest dealer's under its own roster, a colluder's under the receiver's."""
        of = {d: roster if d in self.colluders else int(d in rosters) for d, _ in view}
        return m.Deals(tuple(self.deal_of(d, of[d], false_to) for d, false_to in view))

    def _shares_with_colluders(self, dealer: str, roster: int) -> list[tuple[str, bytes, tuple[bytes, bytes]]]:
        """What the colluders hold of an honest dealer: (who, the key of the pair's mask, its shares)."""
        sealed = {s.holder: s for s in decode_stage(m.Shares, self.dealt(dealer, roster).answers[0].body).sealed}
        found = []
        for name in self.colluders:
            machine = self.dealt(name, roster).machine
            shares = open_shares(machine._seat, machine._mates[dealer], sealed[name])
            assert shares is not None
            found.append((name, machine._mates[dealer].pair_key, shares))
        return found

    def _placed(self, name: str, view: View, rosters: Names, late: bool) -> Place:
        """A client that is shown these deals, and uploads unless it is late."""
        deals = self.deals(view, int(name in rosters), rosters)
        node = answered = self._tell(self.dealt(name, int(name in rosters)), deals)
        if node.state is State.READY and not late:
            node = node.upload(self.codes[name])
        pairs = self.pairs_of(view, int(name in rosters), rosters)
        return Place(node, pairs.get(name, ()), answered.answers)

    def _pairs_of(self, view: View, roster: int, rosters: Names) -> dict[str, tuple[str, ...]]:
        """Who masks with whom, as whoever is shown these deals finds it."""
        deals = self.deals(view, roster, rosters)
        dealt = {s.signer: CachedWire.decode(m.Shares, s.body).sealed for s in deals.shares}
        return confirmed_pairs({d: {s.holder: s for s in sealed} for d, sealed in dealt.items()}, self.threshold)

    # -- one round ----------------------------------------------------------------------------------------------------

    def begin(self, plan: Plan) -> dict[str, Place]:
        """The honest clients up to their uploads."""
        rosters = plan.rosters & set(self.honest)
        return {name: self.placed(name, plan.views[name], rosters, name in plan.late) for name in self.honest}

    def play(self, plan: Plan, most: int = HONEST_INPUTS - 1) -> Result:
        """Play a round to its end."""
        places, holdings = self.begin(plan), Holdings(self)
        for name, place in places.items():
            holdings.collude(name, int(name in plan.rosters))
            for signed in place.openings:
                holdings.opened(signed, int(name in plan.rosters))
        nodes = {name: place.node for name, place in places.items()}
        seeds = self.make_seeds(plan, nodes) if self.terms.dim else {}
        if seeds:
            self._sketch(plan, nodes, seeds, holdings)
        self._unmask(plan, nodes, seeds, holdings)
        lanes = {name: node.lanes for name, node in nodes.items() if node.lanes is not None}
        masks = holdings.masks({name: places[name].mates for name in lanes})
        stages = Counter(node.state.name for node in nodes.values())
        return Result(plan, nodes, masks.release(most), holdings, masks, lanes, stages)

    def _tell(self, node: Node, message: m.Message, *, domain: bytes | None = None) -> Node:
        signed = by_server(domain, message) if domain is not None else None
        if node.error is not None:
            return node
        following = node.tell(message, signed)
        if following.error is not None:
            self.refusals[type(message).__name__, getattr(following.error, "reason", "")] += 1
        return following

    def _sketch(self, plan: Plan, nodes: dict[str, Node], seeds: Mapping[str, m.Seed], holdings: Holdings) -> None:
        for name in [n for n, node in nodes.items() if node.statement is not None]:
            nodes[name] = self._tell(nodes[name], seeds[name], domain=m.SEED_DOMAIN)
        sketches = {n: node.answers[0] for n, node in nodes.items() if node.state is State.SKETCHED}
        for asked, other in plan.conflicts:
            if nodes[asked].state is State.SKETCHED and (sketch := self._other_sketch(plan, asked, other, sketches)):
                nodes[asked] = self._tell(nodes[asked], m.Conflict(other, sketch))
                for signed in nodes[asked].answers:
                    holdings.opened(signed, int(asked in plan.rosters))

    def _other_sketch(self, plan: Plan, asked: str, other: str, sketches: Mapping[str, Signed]) -> Signed | None:
        """What `other` signed, or a colluder would; or what the server makes up."""
        if other in self.honest and not plan.sign_for_all:
            return sketches.get(other)
        root = decode_stage(m.Sketch, sketches[asked].body).seed_root
        wrong = bytes(self.terms.dim * self.terms.dtype.itemsize)
        made = sign(self.colluders[0], m.SKETCH_DOMAIN, m.Sketch(root, wrong, ((asked, wrong),)))
        return made if other in self.colluders else replace(made, signer=other)

    def _unmask(self, plan: Plan, nodes: dict[str, Node], seeds: Mapping[str, m.Seed], holdings: Holdings) -> None:
        agreed: list[Signed] = []
        asked: list[tuple[str, bytes]] = []
        for ask in plan.asks:
            statements = self.statements(plan, nodes, ask[0])
            for name in sorted(ask[2]):
                sets = self.make_sets(ask, seeds[name].root if seeds else b"", statements)
                nodes[name] = self._tell(nodes[name], sets, domain=m.SETS_DOMAIN)
                if nodes[name].state is State.AGREED:
                    agreed += nodes[name].answers
                    asked.append((name, by_server(m.SETS_DOMAIN, sets).digest))
        for name, digest in asked:
            if nodes[name].state is State.AGREED:
                nodes[name] = self._tell(nodes[name], self._request(plan, digest, agreed))
                for signed in nodes[name].answers:
                    holdings.answered(signed)

    def _request(self, plan: Plan, digest: bytes, agreed: Iterable[Signed]) -> m.UnmaskRequest:
        every = {s.signer: s for s in agreed}
        fitting = {n: s for n, s in every.items() if decode_stage(m.Consistency, s.body).sets_digest == digest}
        own = {name: sign(name, m.CONSISTENCY_DOMAIN, m.Consistency(digest)) for name in self.colluders}
        false = {name: replace(own[self.colluders[0]], signer=name) for name in self.honest}
        return m.UnmaskRequest(
            tuple(((false if plan.sign_for_all else {}) | (every if plan.padded else fitting) | own).values())
        )

    # -- messages that depend on the uploads --------------------------------------------------------------------------

    def statements(self, plan: Plan, nodes: Mapping[str, Node], names: Iterable[str]) -> tuple[Signed, ...]:
        """The statements of some members: the true ones, the colluders', and forgeries where there is none."""
        shown = frozenset().union(*(shown for _, _, shown in plan.asks)) or self.honest
        views = [nodes[name].machine.view_digest for name in sorted(shown)]
        view = max(views, key=views.count)  # the largest class: what colluders sign for
        found = {}
        for name in sorted(names):
            if name in self.colluders:
                found[name] = statement(name, view)
            elif (true := nodes[name].statement) and (nodes[name].machine.view_digest == view or not plan.forge):
                found[name] = true
            elif plan.forge == "unsigned":
                found[name] = replace(statement(name, view), signature=bytes(64))
            elif plan.forge == "renamed":
                found[name] = replace(statement(self.colluders[0], view), signer=name)
            elif plan.forge in ("round", "session"):
                found[name] = self.old_statement(name, plan.forge)
        return tuple(found.values())

    def _old_statement(self, name: str, of: str) -> Signed:
        """What an honest client signed in another round, or under the same header with other keys."""
        seed, session = (self.seed + 1, 0) if of == "round" else (self.seed, 1)
        other = Table(self.clients, len(self.colluders), dim=0, seed=seed, session=session)
        place = other.placed(name, tuple((n, NOBODY) for n in self.names), NOBODY, False)
        assert place.node.statement is not None
        return place.node.statement

    def make_seeds(self, plan: Plan, nodes: Mapping[str, Node]) -> dict[str, m.Seed]:
        """One leaf for each list of uploads that anybody is told of: all under one root."""
        told = {name: self.statements(plan, nodes, plan.named[name]) for name in self.honest}
        lists = list(dict.fromkeys(told.values()))
        leaves, found = [merkle_root([s.digest for s in statements]) for statements in lists], {}
        for name, statements in told.items():
            under, at = leaves + [bytes(32)] * (name in plan.second_root), lists.index(statements)
            path, header = tuple(merkle_path(under, at)), self.terms.header_digest
            root, dim = merkle_root(under), self.terms.dim
            found[name] = m.Seed(header, self.group, root, path, at, len(under), dim, statements)
        return found

    def make_sets(self, ask: Ask, root: bytes, statements: tuple[Signed, ...]) -> m.Sets:
        accepted, excluded, _ = ask
        reasons = tuple((name, "dropped") for name in sorted(excluded))
        return m.Sets(self.terms.header_digest, self.group, tuple(sorted(accepted)), reasons, root, statements)


def statement(name: str, view_digest: bytes) -> Signed:
    """What a client says about its upload."""
    return sign(name, m.STATEMENT_DOMAIN, m.Statement(name, view_digest))


@cache
def sign(name: str, domain: bytes, value: m.Message) -> Signed:
    body = CachedWire.encode(value)
    return Signed(body, identity(name).sign(domain, body), name)


@cache
def by_server(domain: bytes, value: m.Message) -> Signed:
    body = CachedWire.encode(value)
    return Signed(body, SERVER.sign(domain, body), "server")
