"""A group against clients that answer late, twice, never or with anything at all (stateful).

What holds: only errors of the peer's come out, nothing is unmasked below t answers or below the smallest sum, what is
unmasked is the sum of the accepted, and only the liar is ever named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from roughfed.crypto.merkle import merkle_root
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.groups import smallest_sum, threshold
from roughfed.secagg.server import GroupRound, Outcome, Stage
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage, encode_stage

from .lies import LIAR, modular_sum
from .secagg import StageWire, identity, make_round

SIZE = 5
NAMES = tuple(f"c{i:02d}" for i in range(SIZE))
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
DOMAINS: dict[type, bytes] = {
    m.Shares: m.SHARES_DOMAIN,
    m.Opening: m.OPENING_DOMAIN,
    m.Sketch: m.SKETCH_DOMAIN,
    m.Consistency: m.CONSISTENCY_DOMAIN,
    m.Unmask: m.UNMASK_DOMAIN,
}
key = st.sampled_from([bytes(32), bytes(range(32))])
name = st.sampled_from([*NAMES, "zz"])
share = st.sampled_from([bytes(33), b"\xff" * 33])
shares = st.lists(st.tuples(name, share), max_size=6).map(tuple)
lanes = st.sampled_from([b"", bytes(16), b"\x80" * 16, bytes(15)])


class Clients(RuleBasedStateMachine):
    """Honest machines whose messages arrive in any order, and one client that signs whatever it likes."""

    @initialize(whole=st.integers(0, 7))
    def begin(self, whole: int) -> None:
        """The first `whole` stages are played by everybody."""
        self.round = make_round(SIZE, length=128, dim=16)
        adverts = self.round.advertise()
        keys = {n: identity(n).public_key for n in NAMES}
        self.group = GroupRound(self.round.terms, 0, adverts, keys, StageWire())
        self.waiting: list[tuple[type, Signed]] = []
        self.arrived: list[tuple[type, Signed]] = []
        self.outcome: Outcome | None = None
        self.answers: set[str] = set()
        self.digest = b""
        roster = self.round.roster(adverts)
        for n in NAMES:
            self.tell(n, roster)
        for _ in range(whole):
            self.play_the_stage()

    # -- the honest side ----------------------------------------------------------------------------------------------

    def tell(self, client: str, message: m.Message, signed: Signed | None = None) -> None:
        kinds = {m.Roster: m.Shares, m.Seed: m.Sketch, m.Sets: m.Consistency, m.UnmaskRequest: m.Unmask}
        for answer in self.round.tell(client, message, signed):
            self.waiting.append((kinds.get(type(message), m.Opening), answer))

    def hand(self, kind: type, signed: Signed) -> None:
        takes: dict[type, Callable[[Signed], object]] = {
            m.Shares: self.group.take_shares,
            m.Opening: self.group.take_opening,
            m.Sketch: self.group.take_sketch,
            m.Consistency: self.group.take_consistency,
            m.Unmask: self.group.take_unmask,
        }
        try:
            takes[kind](signed)
        except (RemoteProtocolError, IdentityError):
            return
        if kind is m.Unmask:
            self.answers.add(signed.signer)
        self.arrived.append((kind, signed))

    @rule()
    def play_the_stage(self) -> None:
        """Everything arrives and the stage is closed."""
        while self.waiting:
            self.hand(*self.waiting.pop(0))
        self.close()

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 50))
    def arrive(self, at: int) -> None:
        """One message, not in order."""
        self.hand(*self.waiting.pop(at % len(self.waiting)))

    @precondition(lambda self: self.arrived)
    @rule(at=st.integers(0, 50))
    def repeat(self, at: int) -> None:
        """One that was taken already, as it is or under another name."""
        kind, signed = self.arrived[at % len(self.arrived)]
        self.hand(kind, signed)
        self.hand(kind, Signed(signed.body, signed.signature, NAMES[at % SIZE]))

    @precondition(lambda self: self.waiting)
    @rule(at=st.integers(0, 50))
    def lose(self, at: int) -> None:
        """One that never arrives."""
        self.waiting.pop(at % len(self.waiting))

    @rule()
    def close(self) -> None:
        """The deadline of the stage."""
        {
            Stage.DEALING: self.close_dealing,
            Stage.MASKING: self.close_masking,
            Stage.SKETCHING: self.close_sketching,
            Stage.JUDGING: self.name_sets,
            Stage.AGREEING: self.request,
            Stage.UNMASKING: self.finish,
            Stage.DONE: lambda: None,
        }[self.group.stage]()

    def close_dealing(self) -> None:
        deals = self.group.close_dealing()
        for n in self.group.dealers:
            self.tell(n, deals)

    def close_masking(self) -> None:
        self.round.lost = {}
        for n in self.group.dealers:
            if self.round.clients[n].state.name == "READY":
                self.round.lanes[n] = self.round.clients[n].mask(self.round.codes[n])
                self.round.upload(n)
        self.group.close_masking(self.round.statements)
        seed = self.group.seed_for(merkle_root([self.group.uploads_root]), [], 0, 1)
        for n in self.group.uploaded:
            self.tell(n, seed, self.round.by_server(m.SEED_DOMAIN, seed))

    def close_sketching(self) -> None:
        for n, conflict in self.group.conflicts():
            self.tell(n, conflict)
        for kind, signed in [w for w in self.waiting if w[0] is m.Opening]:
            self.hand(kind, signed)
        self.group.close_sketching()

    def name_sets(self) -> None:
        if (sets := self.group.name_sets({})) is None:
            self.finish()
            return
        signed = self.round.by_server(m.SETS_DOMAIN, sets)
        self.digest = signed.digest
        self.group.sets_signed(signed)
        for n in self.group.dealers:
            self.tell(n, sets, signed)

    def request(self) -> None:
        request = self.group.unmask_request()
        if request is None:
            self.finish()
            return
        for n in self.group.dealers:
            self.tell(n, request)

    def finish(self) -> None:
        self.outcome = self.group.finish(self.round.lanes.__getitem__)

    # -- the liar -----------------------------------------------------------------------------------------------------

    def lie(self, kind: type, message: Any) -> None:
        body = encode_stage(message)
        self.hand(kind, Signed(body, identity(LIAR).sign(DOMAINS[kind], body), LIAR))

    @rule(kind=st.sampled_from(["pair", "sealing"]), against=name, secret=key)
    def open_anything(self, kind: str, against: str, secret: bytes) -> None:
        if self.group.stage is not Stage.DEALING:  # see test_secagg_malformed: a local error there
            self.lie(m.Opening, m.Opening(self.round.terms.header_digest, kind, against, secret))

    @rule(codes=lanes, pair=lanes)
    def sketch_anything(self, codes: bytes, pair: bytes) -> None:
        pairs = tuple((n, pair) for n in NAMES if n != LIAR)
        self.lie(m.Sketch, m.Sketch(self.group._root or bytes(32), codes, pairs))

    @rule(true=st.booleans())
    def agree_to_anything(self, true: bool) -> None:
        self.lie(m.Consistency, m.Consistency(self.digest if true and self.digest else bytes(32)))

    @rule(of_b=shares, of_mask=shares)
    def answer_anything(self, of_b: tuple[Any, ...], of_mask: tuple[Any, ...]) -> None:
        self.lie(m.Unmask, m.Unmask(self.digest or bytes(32), of_b, of_mask))

    @precondition(lambda self: self.group.stage is Stage.DEALING)
    @rule(tags=st.sampled_from(["true", "false"]), ciphertext=st.sampled_from([b"", b"x" * 94]))
    def deal_anything(self, tags: str, ciphertext: bytes) -> None:
        value = decode_stage(m.Shares, self.round.clients[LIAR]._own_deal)
        zero = bytes(32)
        sealed = (
            m.Sealed(
                s.holder,
                ciphertext,
                zero,
                zero,
                *((zero,) * 3 if tags == "false" else (s.pair_tag, s.out_tag, s.in_tag)),
            )
            for s in value.sealed
        )
        bent = m.Shares(value.header_digest, value.roster_digest, tuple(sealed))
        self.round.clients[LIAR]._own_deal = encode_stage(bent)
        self.lie(m.Shares, bent)

    # -- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_unmasked_below_the_numbers(self) -> None:
        if self.outcome is None or self.outcome.total is None:
            return
        assert len(self.answers) >= threshold(SIZE)
        assert len(self.outcome.accepted) >= smallest_sum(SIZE)
        np.testing.assert_array_equal(self.outcome.total, modular_sum(self.round, self.outcome))

    @invariant()
    def the_liar_alone_is_named(self) -> None:
        assert self.group.proofs.keys() <= {LIAR}
        assert self.outcome is None or self.outcome.proofs.keys() <= {LIAR}

    @invariant()
    def there_is_one_pair_of_sets(self) -> None:
        if self.group.stage in (Stage.AGREEING, Stage.UNMASKING, Stage.DONE):
            with pytest.raises(LocalProtocolError):
                self.group.name_sets({})


Clients.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=SLOW)


class TestClients(Clients.TestCase):
    """Run by pytest."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_strange_clients() -> None:
    """The same, longer."""
    long = settings(max_examples=1500, stateful_step_count=40, deadline=None, suppress_health_check=SLOW)
    run_state_machine_as_test(Clients, settings=long)
