"""An active server that tells different members different things: nothing of an honest client comes out by it."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest

from roughfed.crypto import agreement, shamir
from roughfed.crypto.masks import sum_masks
from roughfed.crypto.merkle import merkle_path, merkle_root
from roughfed.errors import RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, State
from roughfed.secagg.groups import colluders, threshold
from roughfed.secagg.roster import make_cohort
from roughfed.secagg.terms import Party
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage

from .lies import false_tag
from .scene import ME, OTHER, scene
from .secagg import Round, StageWire, identity, make_round, open_entry
from .test_secagg_cheating_sets import conflict

# -- the uploads named beside the seed --------------------------------------------------------------------------------


def without_me(sketch: m.Sketch) -> m.Sketch:
    return replace(sketch, pairs=tuple((name, lanes) for name, lanes in sketch.pairs if name != ME))


def test_a_sketch_that_does_not_name_this_client_opens_nothing() -> None:
    """An honest peer that was told another `uploaded` signs one, under the same root."""
    made = scene("sets")
    made.domain = None
    made.honest = conflict(made, OTHER, without_me)
    with pytest.raises(RemoteProtocolError):
        made.tell(made.honest)


class SplitUploads:
    """No client lies. The server names fewer uploads to g - t victims and shows their sketches to everybody."""

    def __init__(self, size: int) -> None:
        self.round = make_round(size, length=512, dim=16)
        adverts = self.round.advertise()
        self.names = self.round.names
        self.victims = self.names[: min(colluders(size), size - threshold(size))]
        self.others = self.names[len(self.victims) :]
        roster = self.round.roster(adverts)
        shares = [self.round.tell(name, roster)[0] for name in self.names]
        deals = m.Deals(tuple(shares))
        for name in self.names:
            self.round.tell(name, deals)
        for name in self.names:
            self.round.lanes[name] = self.round.clients[name].mask(self.round.codes[name])
            self.round.upload(name)
        leaves = [merkle_root([s.digest for s in self.stated(index)]) for index in range(len(self.victims) + 1)]
        self.root = merkle_root(leaves)  # what the server tells of as many groups, to show each victim its own
        self.paths = [merkle_path(leaves, i) for i in range(len(leaves))]

    def stated(self, index: int) -> tuple[Signed, ...]:
        """Victim i is told that victims i and later ones uploaded; the others are told the truth."""
        names = self.victims[index:] if index < len(self.victims) else self.names
        return tuple(self.round.statements[name] for name in names)

    def ask_sketches(self) -> dict[str, Signed]:
        terms, found = self.round.terms, {}
        for position, name in enumerate(self.names):
            index = min(position, len(self.victims))
            path, count = tuple(self.paths[index]), len(self.paths)
            seed = m.Seed(terms.header_digest, 0, self.root, path, index, count, terms.dim, self.stated(index))
            found |= {s.signer: s for s in self.round.tell(name, seed, self.round.by_server(m.SEED_DOMAIN, seed))}
        return found

    def open_pairs(self, sketches: dict[str, Signed]) -> dict[frozenset[str], bytes]:
        """Keys of all pairs that a victim is part of, as far as somebody opens them."""
        keys: dict[frozenset[str], bytes] = {}
        pairs = [*itertools.product(self.others, self.victims), *itertools.combinations(self.victims, 2)]
        for asked, victim in pairs:
            for signed in self.round.tell(asked, m.Conflict(victim, sketches[victim])):
                keys[frozenset((asked, victim))] = decode_stage(m.Opening, signed.body).key
        return keys

    def unmask(self) -> dict[str, m.Unmask]:
        """Everybody is accepted; the t others sign and answer."""
        statements = tuple(self.round.statements[name] for name in self.names)
        sets = m.Sets(self.round.terms.header_digest, 0, self.names, (), self.root, statements)
        signed = self.round.by_server(m.SETS_DOMAIN, sets)
        agreed = [s for name in self.others for s in self.round.tell(name, sets, signed)]
        request = m.UnmaskRequest(tuple(agreed))
        answers = [s for name in self.others for s in self.round.tell(name, request)]
        return {s.signer: decode_stage(m.Unmask, s.body) for s in answers}

    def disclosed(self) -> set[str]:
        """Victims whose own codes the server can compute."""
        sketches = self.ask_sketches()
        keys = self.open_pairs(sketches)
        answers = self.unmask()
        found: set[str] = set()
        for victim in self.victims:
            shares = {1 + self.names.index(n): dict(a.self_mask)[victim] for n, a in answers.items()}
            mates = [n for n in self.names if n != victim and frozenset((n, victim)) in keys]
            if len(shares) < threshold(len(self.names)) or len(mates) < len(self.names) - 1:
                continue
            b = shamir.combine(shares, threshold(len(self.names)))
            info = agreement.member_info(self.round.terms.header_digest, 0, victim)
            codes = self.round.lanes[victim].copy()
            sum_masks(codes, [(agreement.derive(b, agreement.SELF, info), -1)])
            sum_masks(codes, [(keys[frozenset((n, victim))], -1 if victim < n else 1) for n in mates])
            if np.array_equal(codes, self.round.codes[victim]):
                found.add(victim)
        return found


@pytest.mark.parametrize("g", [4, 7, 16])
def test_naming_other_uploads_to_some_members_discloses_nobody(g: int) -> None:
    """Without one colluder the server would learn the codes of g - t honest clients (5 of 16), one by one."""
    assert SplitUploads(g).disclosed() == set()


# -- two cohorts ------------------------------------------------------------------------------------------------------

EPOCH = bytes(range(32))


def invented(count: int, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Names of nobody that the beacon deals out before these: the group of `names` stays the last one."""

    def place(name: str) -> bytes:
        return hashlib.sha256(EPOCH + name.encode()).digest()

    first = min(place(name) for name in names)
    made = (f"x{i:05d}" for i in itertools.count())
    return [(name, bytes(32)) for name in itertools.islice((n for n in made if place(n) < first), count)]


def test_two_cohorts_make_no_honest_pair_conflict() -> None:
    """21 clients in 7, 7, 7 for everybody but one, who is told of 22 in 8, 7, 7: another S under the same root."""
    names = tuple(f"c{i:02d}" for i in range(7))
    round_ = make_round(7, length=4096, dim=64, group=2)
    round_.terms = replace(round_.terms, epoch_beacon=EPOCH)
    adverts: list[Signed] = []
    for name in names:
        party = Party(name, identity(name).sign, open_entry, StageWire())
        round_.clients[name] = ClientRound(round_.terms, party, name.encode().ljust(32), round_.policy)
        adverts.append(round_.clients[name].advert)
    rosters = []
    for count in (14, 15):
        cohort = tuple(sorted([*make_cohort(adverts), *invented(count, names)]))
        rosters.append(replace(round_.roster(adverts), cohort=cohort))
    victim, asked = names[0], names[1]
    deals = m.Deals(tuple(s for n in names for s in round_.tell(n, rosters[n == victim])))
    for name in names:
        round_.tell(name, deals)
    assert round_.refused.keys() <= set(names)
    there = [name for name in names if name not in round_.refused]
    for name in there:
        round_.clients[name].mask(round_.codes[name])
        round_.upload(name)
    statements = tuple(round_.statements[name] for name in there)
    root = merkle_root([merkle_root([signed.digest for signed in statements])])
    sketches: dict[str, Signed] = {}
    for name in there:
        seed = m.Seed(round_.terms.header_digest, 2, root, (), 0, 1, 64, statements)
        for signed in round_.tell(name, seed, round_.by_server(m.SEED_DOMAIN, seed)):
            sketches[name] = signed
    assert not (victim in sketches and round_.tell(asked, m.Conflict(victim, sketches[victim])))


# -- two different deals ----------------------------------------------------------------------------------------------


def tell_other_deals(round_: Round, victim: str, change: dict[str, Signed | None]) -> None:
    """Show one member other deals than everybody else: dealer -> another one, or None to leave it out."""
    tell = round_.tell

    def split(name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        if name == victim and isinstance(message, m.Deals):
            shown = (change.get(s.signer, s) for s in message.shares)
            message = m.Deals(tuple(s for s in shown if s is not None))
        return tell(name, message, signed)

    round_.tell = split  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("hidden", [1, 2])
@pytest.mark.parametrize("dim", [0, 16])
def test_a_member_that_is_shown_fewer_deals_agrees_to_nothing(dim: int, hidden: int) -> None:
    """It has signed another view than the others, who do not count it; what they are shown it refuses."""
    round_ = make_round(7, length=512, dim=dim)
    round_.advertise()
    victim = round_.names[0]
    tell_other_deals(round_, victim, dict.fromkeys(round_.names[-hidden:]))
    outcome, _ = round_.play()
    assert getattr(round_.refused[victim], "reason", "") == "sets"
    assert round_.refused.keys() == {victim}
    assert round_.clients[victim].state is State.OUT
    assert outcome.proofs == {victim: "false-view"}  # to a server that really deals everybody the same
    assert victim not in outcome.accepted  # its self mask stays, and the masks that it has with the others come off
    np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))


def test_two_halves_with_different_deals_never_both_answer() -> None:
    """Half of the group is shown no deal of one member, the other half none of another: no set gets t signatures."""
    round_ = make_round(7, length=256, dim=0)
    round_.advertise()
    halves = {name: round_.names[-1] if i < 3 else round_.names[0] for i, name in enumerate(round_.names)}
    tell = round_.tell

    def split(name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        if isinstance(message, m.Deals):
            message = m.Deals(tuple(s for s in message.shares if s.signer != halves[name]))
        return tell(name, message, signed)

    round_.tell = split  # pyright: ignore[reportAttributeAccessIssue]
    outcome, _ = round_.play()
    assert outcome.total is None
    assert not [name for name, client in round_.clients.items() if client.state is State.ANSWERED]


def second_deal(round_: Round, dealer: str, *, tags_of: set[str]) -> Signed:
    """Another deal that a colluding dealer signs, with no true tag for some members."""
    deal = round_.clients[dealer]._own_deal
    value = decode_stage(m.Shares, deal)
    sealed = tuple(replace(s, pair_tag=bytes(32)) if s.holder in tags_of else s for s in value.sealed)
    return round_.sign(dealer, m.SHARES_DOMAIN, replace(value, sealed=sealed))


def with_second_deals(round_: Round, victim: str, dealers: tuple[str, ...]) -> None:
    tell = round_.tell

    def split(name: str, message: m.Message, signed: Signed | None = None) -> list[Signed]:
        if name == victim and isinstance(message, m.Deals):
            bent = (
                second_deal(round_, s.signer, tags_of={victim}) if s.signer in dealers else s for s in message.shares
            )
            message = m.Deals(tuple(bent))
        return tell(name, message, signed)

    round_.tell = split  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("colluding", [1, 2])
def test_omitted_tags_shown_to_one_member_leave_its_input_masked(colluding: int) -> None:
    """Colluders sign two deals; the victim masks without them, the server cannot pass its sketch off as the others'."""
    round_ = make_round(7, length=2048, dim=32)
    round_.advertise()
    victim, dealers = round_.names[0], round_.names[-colluding:]
    with_second_deals(round_, victim, dealers)
    outcome, _ = round_.play()
    assert not set(dealers) & round_.clients[victim]._paired
    assert outcome.proofs[victim] == "false-view"
    assert victim not in outcome.accepted
    assert outcome.proofs.keys() <= {victim, *dealers}
    if outcome.total is not None:
        np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))


def test_who_is_shown_too_few_true_tags_never_uploads() -> None:
    """Three colluders of seven: the victim says that it is out, and shows no secret, since others mask with it."""
    round_ = make_round(7, length=256, dim=0)
    round_.advertise()
    victim = round_.names[0]
    with_second_deals(round_, victim, round_.names[-3:])
    outcome, _ = round_.play()
    assert round_.clients[victim].state is State.OUT
    assert victim not in round_.lanes
    assert victim not in outcome.accepted


def test_tags_that_everybody_is_shown_as_omitted_cost_the_pair_its_mask_alone() -> None:
    """The same deal for all: the sum stays exact, without that mask."""
    round_ = make_round(7, length=4096, dim=64)
    false_tag(2)(round_, "c01")
    outcome, _ = round_.play()
    assert outcome.accepted == round_.names
    np.testing.assert_array_equal(outcome.total, round_.plain_sum(outcome.accepted))


# -- rosters ----------------------------------------------------------------------------------------------------------


def test_a_cohort_too_small_to_be_grouped_ends_the_clients_part() -> None:
    made = scene("roster")
    roster = made.honest
    assert isinstance(roster, m.Roster)
    keep = sorted({made.me.advert.signer, *[a.signer for a in roster.adverts[:3]]})[:3]
    few = replace(
        roster,
        adverts=tuple(a for a in roster.adverts if a.signer in keep),
        members=tuple(e for e in roster.members if open_entry(e)[0] in keep),
        cohort=tuple(c for c in roster.cohort if c[0] in keep),
    )
    made.refuses(few, "group")


def test_a_second_advert_of_a_member_makes_another_roster() -> None:
    """A colluder with two adverts, one shown to each half: deals under one roster are refused under the other."""
    round_ = make_round(7, length=256, dim=0)
    adverts = round_.advertise()
    liar, victim = round_.names[-1], round_.names[0]
    other = decode_stage(m.Advertise, adverts[-1].body)
    second = round_.sign(liar, m.ADVERTISE_DOMAIN, replace(other, sealing_key=other.sealing_key[::-1]))
    honest = round_.roster(adverts)
    cohort = tuple((n, second.digest if n == liar else d) for n, d in honest.cohort)
    split = replace(honest, adverts=(*adverts[:-1], second), cohort=cohort)
    shares = [round_.tell(name, split if name == victim else honest)[0] for name in round_.names]
    for name in round_.names:
        round_.tell(name, m.Deals(tuple(shares)))
    assert {getattr(e, "reason", "") for e in round_.refused.values()} == {"roster"}
    assert round_.refused.keys() == set(round_.names)


def test_keys_belong_to_their_header() -> None:
    """T11: under another header (another model, codec or roster) every pair has another mask."""
    first, second = (make_round(4, length=64, dim=0, seed=seed) for seed in (0, 1))
    keys: list[dict[str, bytes]] = []
    for round_ in (first, second):
        adverts = round_.advertise()
        round_.tell(round_.names[0], round_.roster(adverts))
        keys.append({n: mate.pair_key for n, mate in round_.clients[round_.names[0]]._mates.items()})
    assert not set(keys[0].values()) & set(keys[1].values())
