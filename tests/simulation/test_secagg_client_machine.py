"""A client against a server that sends whatever it likes, in any order and again and again (stateful).

What holds in every state: one answer to each stage, one upload, never both secrets of one dealer, nothing unmasked
without t members' signatures over the same sets.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, State
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage

from .secagg import Round, make_round

SIZE = 7
ME = "c02"
SUBSETS = [set(c) for k in range(4) for c in itertools.combinations([f"c{i:02d}" for i in range(SIZE)], k)]
subsets = st.just(set[str]()) | st.sampled_from(SUBSETS)
seeds = st.sampled_from([0, 0, 0, 1, 2])


def due(*states: State) -> Any:
    """A tame server keeps to the order of the stages, so that late ones are reached; a wild one does not."""
    return precondition(lambda self: self.wild or self.me.state in states)


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class Peers:
    """Honest peers that can be asked for anything that the adversary could have collected from them."""

    def __init__(self) -> None:
        self.round = make_round(SIZE, length=128, dim=16)
        adverts = self.round.advertise()
        self.names = self.round.names
        self.roster = self.round.roster(adverts)
        self.other_roster = replace(self.roster, nonce=bytes(32))
        shares = [self.round.tell(name, self.roster)[0] for name in self.names if name != ME]
        self.shares = {s.signer: s for s in shares}
        self.digests = {name: name.encode().ljust(32, b"\0") for name in self.names}

    def sketch_of(self, name: str, root: bytes, *, lanes: bytes) -> Signed:
        """A member that lies: some lanes of its pair with this client."""
        pairs = ((ME, lanes),)
        return self.round.sign(name, m.SKETCH_DOMAIN, m.Sketch(root, bytes(16), pairs))


class AdversarialServer(RuleBasedStateMachine):
    """Every rule is one message that a server could make up from what it has."""

    @initialize(wild=st.sampled_from([False, False, False, True]), honest=st.integers(0, 5))
    def begin(self, wild: bool, honest: int) -> None:
        """The first `honest` messages are those of an honest server, so that every stage is reached often."""
        self.wild = wild
        self.peers = Peers()
        self.round: Round = self.peers.round
        self.me: ClientRound = self.round.clients[ME]
        self.sent: list[Signed] = []
        self.uploads = 0
        self.deal = b""
        self.signed_sets: list[Signed] = []
        self.requested: set[str] = set()
        self.kinds: list[type] = []
        nobody = set[str]()
        first = [
            lambda: self.roster(False),
            lambda: self.deals(nobody),
            self.mask,
            lambda: self.seed(0, nobody),
            lambda: self.sets(0, {"c06"}, nobody),
        ]
        for step in first[:honest]:
            step()

    def tell(self, message: m.Message, signed: Signed | None = None) -> None:
        before = self.me.state
        try:
            answers = list(self.me.receive(message, signed))
        except (RemoteProtocolError, IdentityError):
            assert self.me.state is State.OUT
            return
        assert before is not State.OUT
        self.kinds.append(type(message))
        self.sent += answers
        if isinstance(message, m.Roster):
            self.deal = answers[0].body
        if isinstance(message, m.UnmaskRequest):
            self.check_request(message)

    def check_request(self, request: m.UnmaskRequest) -> None:
        """An answer means: t different members, one digest, and that of the sets that this client signed."""
        signers = {s.signer for s in request.consistency}
        assert len(signers) >= threshold(SIZE)
        digests = {decode_stage(m.Consistency, s.body).sets_digest for s in request.consistency}
        mine = [decode_stage(m.Consistency, s.body).sets_digest for s in self.of(m.CONSISTENCY_DOMAIN)]
        assert digests == set(mine)

    def of(self, domain: bytes) -> list[Signed]:
        """What this client sent of one kind."""
        found: list[Signed] = []
        for signed in self.sent:
            key = self.round.clients[ME]._me.sign(domain, signed.body)
            found += [signed] if key == signed.signature else []
        return found

    # -- messages -----------------------------------------------------------------------------------------------------

    @due(State.ADVERTISED)
    @rule(other=st.sampled_from([False, False, False, True]))
    def roster(self, other: bool) -> None:
        self.tell(self.peers.other_roster if other and self.wild else self.peers.roster)

    @due(State.DEALT)
    @precondition(lambda self: self.deal)
    @rule(missing=subsets)
    def deals(self, missing: set[str]) -> None:
        own = Signed(self.deal, self.round.clients[ME]._me.sign(m.SHARES_DOMAIN, self.deal), ME)
        shown = {**self.peers.shares, ME: own}
        self.tell(m.Deals(tuple(shown[n] for n in sorted(shown) if n not in missing - {ME})))

    @due(State.READY)
    @rule()
    def mask(self) -> None:
        before = self.me.state
        try:
            self.me.mask(self.round.codes[ME])
        except LocalProtocolError:
            assert self.me.state is before
            return
        self.uploads += 1
        self.me.uploaded(self.statement(ME))

    def statement(self, name: str, view: bytes = b"") -> Signed:
        return self.round.sign(name, m.STATEMENT_DOMAIN, m.Statement(name, view or self.me.view_digest or bytes(32)))

    def statements(self, missing: set[str], which: int) -> tuple[Signed, ...]:
        """Of all but some; with `which` = 2 the last one uploaded under another view."""
        names = [name for name in self.peers.names if name not in missing]
        views = [b"v" * 32 if which == 2 and name == names[-1] else b"" for name in names]
        return tuple(self.statement(name, view) for name, view in zip(names, views, strict=True))

    def root(self, which: int) -> tuple[bytes, list[bytes]]:
        own = merkle_root([signed.digest for signed in self.statements(set(), 0)])
        leaves = [own, bytes([which + 1]) * 32]
        return merkle_root(leaves), leaves

    @due(State.MASKED)
    @rule(which=seeds, missing=subsets)
    def seed(self, which: int, missing: set[str]) -> None:
        root, leaves = self.root(which)
        statements = self.statements(missing - {ME}, which)
        if missing - {ME}:
            leaves[0] = merkle_root([signed.digest for signed in statements])
            root = merkle_root(leaves)
        path = tuple(merkle_path(leaves, 0))
        seed = m.Seed(self.round.terms.header_digest, 0, root, path, 0, len(leaves), 16, statements)
        self.tell(seed, self.round.by_server(m.SEED_DOMAIN, seed))

    @precondition(lambda self: self.me.state is State.SKETCHED)
    @rule(
        which=seeds, name=st.sampled_from(["c00", "c01", "c04", "c06"]), lanes=st.sampled_from([bytes(16), b"\1" * 16])
    )
    def conflict(self, which: int, name: str, lanes: bytes) -> None:
        sketch = self.peers.sketch_of(name, self.root(which)[0], lanes=lanes)
        self.tell(m.Conflict(name, sketch))

    @due(State.SKETCHED, State.READY)
    @rule(which=seeds, excluded=subsets, overlap=subsets)
    def sets(self, which: int, excluded: set[str], overlap: set[str]) -> None:
        accepted = tuple(n for n in self.peers.names if n not in excluded - (overlap & excluded))
        rows = tuple((n, "defence") for n in sorted(excluded))
        statements = self.statements(set(self.peers.names) - set(accepted), 0)
        sets = m.Sets(self.round.terms.header_digest, 0, accepted, rows, self.root(which)[0], statements)
        signed = self.round.by_server(m.SETS_DOMAIN, sets)
        self.signed_sets.append(signed)
        self.tell(sets, signed)

    @due(State.AGREED)
    @precondition(lambda self: self.signed_sets)
    @rule(missing=subsets, at=st.integers(0, 3), other=subsets)
    def unmask(self, missing: set[str], at: int, other: set[str]) -> None:
        """Signatures over some sets that were shown; some members may have signed the ones before."""
        digests = [s.digest for s in self.signed_sets]
        digest = digests[-1 - at % len(digests)]
        rows = (
            self.round.sign(n, m.CONSISTENCY_DOMAIN, m.Consistency(digests[0] if n in other else digest))
            for n in self.peers.names
            if n not in missing
        )
        self.tell(m.UnmaskRequest(tuple(rows)))

    @due(State.MASKED, State.SKETCHED, State.AGREED, State.ANSWERED, State.OUT)
    @rule()
    def turn_wild(self) -> None:
        """From here on in any order, again and again."""
        self.wild = True

    @precondition(lambda self: self.wild)
    @rule(message=st.sampled_from([m.Consistency(bytes(32)), m.Unmask(bytes(32), (), ())]))
    def nonsense(self, message: Any) -> None:
        self.tell(message)

    # -- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def every_stage_is_answered_once(self) -> None:
        assert self.uploads <= 1
        for kind in (m.Roster, m.Deals, m.Seed, m.Sets, m.UnmaskRequest):
            assert self.kinds.count(kind) <= 1
        for domain in (m.SHARES_DOMAIN, m.SKETCH_DOMAIN, m.CONSISTENCY_DOMAIN, m.UNMASK_DOMAIN):
            assert len(self.of(domain)) <= 1

    @invariant()
    def never_both_secrets_of_one_dealer(self) -> None:
        for signed in self.of(m.UNMASK_DOMAIN):
            answer = decode_stage(m.Unmask, signed.body)
            of_b, of_mask = {n for n, _ in answer.self_mask}, {n for n, _ in answer.mask_secret}
            assert not of_b & of_mask
            assert len(of_b) >= smallest_sum(SIZE)

    @invariant()
    def few_keys_are_opened_and_no_mask_secret(self) -> None:
        opened = [decode_stage(m.Opening, s.body) for s in self.of(m.OPENING_DOMAIN)]
        assert len({o.against for o in opened if o.kind == "pair"}) <= 2  # c = 2 at g = 7
        assert {o.kind for o in opened} <= {"pair", "sealing"}

    @invariant()
    def who_is_out_stays_out(self) -> None:
        if self.me.state is State.OUT and self.uploads == 0:
            with pytest.raises(LocalProtocolError):
                self.me.mask(self.round.codes[ME])


AdversarialServer.TestCase.settings = settings(
    max_examples=60, stateful_step_count=18, deadline=None, suppress_health_check=SLOW
)


class TestAdversarialServer(AdversarialServer.TestCase):
    """Run by pytest."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_adversarial_servers() -> None:
    """The same, longer."""
    from hypothesis.stateful import run_state_machine_as_test

    long = settings(max_examples=2000, stateful_step_count=30, deadline=None, suppress_health_check=SLOW)
    run_state_machine_as_test(AdversarialServer, settings=long)
