"""The promise against a server that may do what it likes: every sum that comes out has three inputs of honest clients.

With c colluders (`promised_colluders`) in a group, whatever anybody is shown. Each rule of the client that matters is
taken out, too: then the same search must find an attack, and the codes that it computes are a victim's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from roughfed.crypto.merkle import merkle_root
from roughfed.secagg import client
from roughfed.secagg import messages as m
from roughfed.secagg.client import ClientRound, State
from roughfed.secagg.groups import LARGEST, colluders, group_sizes, promised_colluders, smallest_sum, threshold
from roughfed.secagg.terms import Terms
from roughfed.types import Signed

from .adversary import HONEST_INPUTS, NOBODY, Plan, Table, by_server, statement
from .adversary_plans import MAYBE, Draw, Search, check_by_codes, two_classes, view
from .leaks import Masks, dependency
from .weakened import rules, without

SMALL = (4, 5, 6, 7)
LARGE = ((8, 4), (10, 0), (13, 4), (16, 0), (64, 4))
"""Clients, and numbers of a sketch; 64 are in four groups of 16."""


@pytest.fixture(autouse=True)
def nothing_is_worked_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures and sketches: the same question has the same answer."""
    monkeypatch.setattr(client, "verify", cache(client.verify))
    monkeypatch.setattr(Terms, "sketcher", cache(Terms.sketcher))
    without.cache_clear()


def table(clients: int, dim: int, *, seed: int = 0, machine: type[ClientRound] = ClientRound) -> Table:
    """The first group of a round with as many colluders as are promised."""
    size = group_sizes(clients)[0]
    return Table(clients, promised_colluders(size), dim=dim, seed=seed, machine=machine)


def holds(made: Table, plans: Iterator[Plan], *, maybe: float = MAYBE) -> Search:
    """No plan breaks the promise."""
    search = Search()
    found = search.run(made, plans, maybe=maybe)
    assert found is None, found.report(made)
    return search


# -- the judge --------------------------------------------------------------------------------------------------------


def test_rows_are_dependent_only_where_their_masks_cancel() -> None:
    a, b, c = (frozenset({name}) for name in "abc")
    assert dependency([{a: 1, b: 1}, {b: 1}]) is None
    assert dependency([{a: 1}, {a: -1}]) in ([1, 1], [-1, -1])
    assert dependency([{b: 1}, {}]) == [0, 1]
    found = dependency([{a: 1, b: 1}, {b: -1, c: 1}, {a: 1, c: 1}])
    assert found in ([1, 1, -1], [-1, -1, 1])


@pytest.mark.parametrize("g", SMALL)
def test_the_smallest_release_is_the_smallest_part_whose_masks_are_closed(g: int) -> None:
    """With all own masks known, an upload cancels with those that it shares an unknown mask with, and no others."""
    rng, names = np.random.default_rng(g), [f"c{i}" for i in range(g)]
    for _ in range(60):
        pairs = [frozenset(pair) for pair in combinations(names, 2)]
        known = {pair for pair in pairs if rng.random() < 0.7}
        parts = {name: {name} for name in names}
        for a, b in (sorted(pair) for pair in pairs if pair not in known):
            parts[a] |= parts[b]
            for name in parts[a]:
                parts[name] = parts[a]
        mates = {name: [other for other in names if other != name] for name in names}
        found = Masks(mates, known | {frozenset({name}) for name in names}).release(g)
        assert found is not None
        assert set(found) in parts.values()
        assert len(found) == min(map(len, parts.values()))


# -- what is promised -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("g", range(4, 65))
def test_the_promised_colluders_leave_three_honest_inputs_and_one_answer(g: int) -> None:
    c, t = promised_colluders(g), threshold(g)
    assert c >= 1
    assert smallest_sum(g) - c >= HONEST_INPUTS
    assert 2 * (t - c) > g - c  # two sets cannot both have t answers, the colluders' among them


@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("g", SMALL)
def test_no_two_classes_of_members_break_the_promise(g: int, dim: int) -> None:
    made = table(g, dim)
    search = holds(made, two_classes(made), maybe=0.03)
    assert search.looked > 50
    assert search.stages["OUT"]


@pytest.mark.parametrize(("clients", "dim"), [*((g, d) for g in SMALL for d in (0, 4)), *LARGE])
def test_no_random_plan_breaks_the_promise(clients: int, dim: int) -> None:
    made = table(clients, dim)
    search = holds(made, Draw(made, clients).plans(200))
    assert search.stages["SKETCHED" if dim else "ANSWERED"]  # clients go far with it, and what comes out hides them
    assert search.stages["OUT"]
    assert made.refusals


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("clients", range(4, 65))
def test_no_plan_breaks_the_promise_at_any_size(clients: int) -> None:
    for seed in range(2):
        for dim in (0, 4):
            made = table(clients, dim, seed=seed)
            holds(made, Draw(made, 100 * clients + seed).plans(1000 if clients <= LARGEST else 150))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("g", [8, 9, 10])
def test_no_two_classes_of_more_members_break_the_promise(g: int) -> None:
    for dim in (0, 4):
        made = table(g, dim)
        holds(made, two_classes(made), maybe=0.1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("g", SMALL)
def test_plans_without_hope_come_to_nothing(g: int) -> None:
    """All plans are played, also those that could not break the promise if clients answered everything."""
    for dim in (0, 4):
        made = table(g, dim)
        search = holds(made, two_classes(made), maybe=1.0)
        assert search.played == search.looked


def honest_plan(made: Table, accepted: Sequence[str]) -> Plan:
    chosen, everybody = frozenset(accepted), frozenset(made.names)
    views = {name: view(made, NOBODY, (), NOBODY) for name in made.honest}
    asks = ((chosen, everybody - chosen, frozenset(made.honest)),)
    return Plan(views, asks, named=dict.fromkeys(made.honest, everybody))


@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("g", [*SMALL, 16])
def test_an_honest_server_gets_the_sum_of_the_accepted_and_nothing_less(g: int, dim: int) -> None:
    made = table(g, dim)
    accepted = made.names[-made.smallest_sum :]
    result = made.play(honest_plan(made, accepted), most=0)
    assert result.stages == {"ANSWERED": len(made.honest)}
    honest = set(accepted) - set(made.colluders)
    assert len(honest) >= HONEST_INPUTS
    assert result.masks.release(len(honest) - 1) is None
    result.release = result.masks.release(len(honest))
    assert result.release == dict.fromkeys(sorted(honest), 1)
    check_by_codes(made, result)


# -- every rule that matters ------------------------------------------------------------------------------------------


class Shows(ClientRound):
    """A client that is left out shows its mask secret, as those of protocol 1 did."""

    def _take_deals(self, deals: m.Deals) -> Sequence[Signed]:
        answers = super()._take_deals(deals)
        return answers if self.state is not State.OUT else (self._opening("pair", self._me.name, self._mask.private),)


class ShowsAndCountsAnybody(Shows):
    """And it counts whom the server names, as those of protocol 1 did."""

    def _count(self, statements: Sequence[Signed], names: Sequence[str]) -> None:
        pass


class CountsAnybody(ClientRound):
    """It counts whom the server names; nobody shows its mask secret."""

    def _count(self, statements: Sequence[Signed], names: Sequence[str]) -> None:
        pass


def attack(made: Table, plans: Iterator[Plan]) -> list[str]:
    """The moves that the search finds; what they tell was checked bit for bit (`Search.run`)."""
    found = Search().run(made, plans)
    assert found is not None, "the search misses an attack"
    return found.report(made).splitlines()


@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("g", [4, 5, 6, 7, 8])
def test_phantom_members_are_found_where_members_show_secrets_and_count_anybody(g: int, dim: int) -> None:
    """One colluder: members who are shown too few true tags open their mask secrets and are counted all the same."""
    made = table(g, dim, machine=ShowsAndCountsAnybody)
    attack(made, two_classes(made))


@pytest.mark.parametrize(("clients", "dim"), [(4, 0), (7, 4), (16, 0)])
def test_random_plans_find_them_too(clients: int, dim: int) -> None:
    made = table(clients, dim, machine=ShowsAndCountsAnybody)
    attack(made, Draw(made, 1).plans(3000))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("clients", range(7, 65))
def test_random_plans_find_hidden_deals_at_any_size(clients: int) -> None:
    """The search has the power to find an attack where there is one, at every size at which it finds none."""
    made = table(clients, 4 * (clients % 2), machine=CountsAnybody)
    attack(made, Draw(made, 1).plans(6000))


@pytest.mark.parametrize("g", [4, 5, 6])
def test_nobody_gains_by_mask_secrets_where_statements_count(g: int) -> None:
    made = table(g, 0, machine=Shows)
    holds(made, two_classes(made))


@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("g", [7, 8])
def test_hidden_deals_are_found_where_anybody_is_counted(g: int, dim: int) -> None:
    """A member that is shown t deals masks with nobody but the excluded and a colluder; the others count it."""
    made = table(g, dim, machine=CountsAnybody)
    attack(made, two_classes(made))


@pytest.mark.parametrize("dim", [0, 4])
def test_hidden_deals_are_found_where_statements_do_not_bind_them(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "view_digest", lambda roster, deals: roster)
    made = table(7, dim)
    attack(made, two_classes(made))


FOUND = [
    # a rule that is taken out, and where the search finds an attack: clients, dim, in which plans
    ("_dealt: shares.roster_digest != self._seat.roster_digest", 5, 4, "random"),
    ("_take_conflict: lanes is None", 5, 4, "random"),
    ("_take_conflict: lanes == self._pair_sketches", 5, 4, "random"),
    ("_take_sets: accepted & excluded", 5, 0, "random"),
    ("_take_sets: len(accepted) < wanted", 5, 0, "random"),
    ("_take_unmask_request: len(agreed) < (t", 10, 0, "random"),
    ("_count: [signed.signer for signed in statements] != list(names)", 7, 0, "classes"),
    ("_count: verify(", 7, 0, "classes"),
    ("_count: (value.client, value.view_digest) != (name, self.view_digest)", 7, 4, "classes"),
]
FOUND_LATER = [
    ("_take_conflict: theirs.seed_root != self._root", 5, 4, "random"),
    ("_take_conflict: verify(", 5, 4, "random"),
    ("_take_unmask_request: verify(", 10, 0, "random"),
    ("sets_digest != self._sets_digest", 10, 0, "random"),
]


def without_is_found(rule: str, clients: int, dim: int, plans: str) -> None:
    made = table(clients, dim, machine=without(rule))
    attack(made, two_classes(made) if plans == "classes" else Draw(made, 1).plans(10_000))


@pytest.mark.parametrize(("rule", "clients", "dim", "plans"), FOUND)
def test_a_rule_that_is_taken_out_is_missed(rule: str, clients: int, dim: int, plans: str) -> None:
    without_is_found(rule, clients, dim, plans)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "clients", "dim", "plans"), FOUND_LATER)
def test_a_rule_that_is_taken_out_is_missed_later(rule: str, clients: int, dim: int, plans: str) -> None:
    without_is_found(rule, clients, dim, plans)


def test_rules_are_known_by_their_text() -> None:
    assert len(rules()) > 30
    with pytest.raises(AssertionError):
        without("no such rule")


# -- one answer, and none before there is an upload -------------------------------------------------------------------


def answered(made: Table, first: int) -> list[bool]:
    """Two sets, each shown to a part of the honest members and signed by all colluders: which are answered?"""
    plan = honest_plan(made, made.names)
    parts = made.honest[:first], made.honest[first:]
    everybody, out = frozenset(made.names), (NOBODY, frozenset(made.names[:1]))
    asks = tuple((everybody - x, x, frozenset(part)) for part, x in zip(parts, out, strict=True))
    result = made.play(Plan(plan.views, asks, named=plan.named))
    return [any(result.nodes[name].state is State.ANSWERED for name in part) for part in parts]


@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("g", [5, 6, 7, 10, 16])
def test_two_different_sets_never_both_get_their_answers(g: int, dim: int) -> None:
    """With one colluder more they would. (Of four clients all must be accepted: there is one pair of sets only.)"""
    made = Table(g, colluders(g), dim=dim)
    both = [answered(made, first) for first in range(len(made.honest) + 1)]
    assert [True, True] not in both
    assert [True, False] in both
    assert [False, True] in both
    assert [True, True] in [
        answered(more, first) for more in [Table(g, colluders(g) + 1, dim=dim)] for first in range(g)
    ]


@pytest.mark.parametrize("dim", [0, 4])
def test_no_answer_counts_a_client_before_it_has_said_what_it_uploaded(dim: int) -> None:
    """Between the masks and the noted statement a client signs nothing that it is part of."""
    made = table(5, dim)
    plan = honest_plan(made, made.names)
    places = made.begin(plan)
    name = made.honest[0]
    waiting = made.placed(name, plan.views[name], NOBODY, True).node.masked(made.codes[name])
    assert waiting.state is State.MASKED
    own = [statement(name, waiting.machine.view_digest), statement(made.colluders[0], waiting.machine.view_digest)]
    stand_ins = [(), (own[0],), (Signed(own[1].body, own[1].signature, name),), (Signed(b"", b"", name),)]
    others = made.statements(plan, {n: place.node for n, place in places.items()}, set(made.names) - {name})
    everybody, header = tuple(made.names), made.terms.header_digest
    for extra in stand_ins:
        given = tuple(sorted((*others, *extra), key=lambda signed: signed.signer))
        root = merkle_root([merkle_root([signed.digest for signed in given])])
        seed = m.Seed(header, 0, root, (), 0, 1, dim, given)
        sets = m.Sets(header, 0, everybody, (), root if dim else b"", given)
        for domain, message in ((m.SEED_DOMAIN, seed), (m.SETS_DOMAIN, sets)):
            after = waiting.tell(message, by_server(domain, message))
            assert after.error is not None
            assert not after.answers


@pytest.mark.parametrize("clients", [5, 7])
def test_a_restarted_client_is_where_it_was(clients: int) -> None:
    """A restart gives the server nothing to play with: the new machine answers the same and goes on from there."""
    for dim in (0, 4):
        made, seen = table(clients, dim), set[State]()
        for plan in Draw(made, 3).plans(60):
            for name, node in made.play(plan).nodes.items():
                if node.error is None:
                    again = made.restarted(node, int(name in plan.rosters))
                    assert again.state is node.state
                    seen.add(node.state)
        assert State.ANSWERED in seen
