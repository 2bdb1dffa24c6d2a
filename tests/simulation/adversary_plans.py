"""Plans of a cheating server: a space that is looked through, and random ones from a larger space.

Members are told apart by what they are shown, so a plan is made of classes of members: each class has its view of
the deals, its place in the sets, its seed. `search` plays what would break the promise if all clients did as asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise, product

import numpy as np

from .adversary import HONEST_INPUTS, NOBODY, Ask, Names, Place, Plan, Result, Table, View
from .leaks import Masks

MAYBE = 0.02
"""Share of the plans without hope that are played all the same: they must come to nothing."""


@dataclass
class Search:
    """What was looked at and played, and where the clients were in the end."""

    looked: int = 0
    played: int = 0
    stages: Counter[str] = field(default_factory=Counter)

    def run(self, table: Table, plans: Iterable[Plan], *, maybe: float = MAYBE) -> Result | None:
        """Look through plans; the first that breaks the promise."""
        rng = np.random.default_rng(self.looked)
        for plan in plans:
            self.looked += 1
            hope = hopeful(table, plan)
            if not hope and rng.random() > maybe:
                continue
            self.played += 1
            result = table.play(plan)
            self.stages += result.stages
            if result.release is not None:
                assert hope, "the model of what clients tell when they do as asked is wrong\n" + result.report(table)
                check_by_codes(table, result)
                return result
        return None


def check_by_codes(table: Table, result: Result) -> None:
    """The codes that the server computes are those of the victims, bit for bit."""
    assert result.release is not None
    parts = [table.codes[name] if factor == 1 else -table.codes[name] for name, factor in result.release.items()]
    np.testing.assert_array_equal(result.told(), np.sum(parts, axis=0, dtype=table.terms.dtype))


def hopeful(table: Table, plan: Plan) -> bool:
    """Would too small a sum come out if every client answered whatever it is asked?"""
    places = table.begin(plan)
    if any(against in table.honest for place in places.values() for against in place.opened):
        return True
    mates = {name: place.mates for name, place in places.items() if place.node.statement is not None}
    own, secrets, pairs = _told(table, plan, places)
    if len(own & mates.keys()) == 0:
        return False
    known = {frozenset({name}) for name in own} | pairs
    open_to_all = {*secrets, *table.colluders}
    known |= {frozenset({a, b}) for a, others in mates.items() for b in others if a in open_to_all or b in open_to_all}
    return Masks(mates, known).release(HONEST_INPUTS - 1) is not None


def _told(table: Table, plan: Plan, places: Mapping[str, Place]) -> tuple[set[str], set[str], set[Names]]:
    """Whose own masks, whose mask secrets, and which pairs' masks are known."""
    own, masks = Counter[str](), Counter[str]()
    colluding = len(table.colluders)
    for accepted, excluded, shown in plan.asks:
        own.update(dict.fromkeys(accepted, len(shown)))
        masks.update(dict.fromkeys(excluded, len(shown)))
    secrets = {name for name, place in places.items() if place.node.statement is None and place.openings}
    secrets |= {name for name, count in masks.items() if count + colluding >= table.threshold}
    b_known = {name for name, count in own.items() if count + colluding >= table.threshold}
    return b_known, secrets, {frozenset(pair) for pair in plan.conflicts}


# -- all plans with two classes ---------------------------------------------------------------------------------------


def hide(order: Sequence[str], me: str, count: int) -> Names:
    return frozenset([name for name in order if name != me][:count])


def view(table: Table, hidden: Names, liars: Sequence[str], false_to: Names) -> View:
    return tuple((d, false_to if d in liars else NOBODY) for d in table.names if d not in hidden)


def two_classes(table: Table) -> Iterator[Plan]:
    """Members of a first class and of a second one, by number: who is hidden from either, whose tags are false, who is
    accepted of either; and whether the second class is hurried."""
    spare, colluding = len(table.names) - table.threshold, len(table.colluders)
    seen: set[tuple[View, ...]] = set()
    hidings = [("", 0), *product(("first", "second", "colluders"), range(1, spare + 1))]
    for others in range(len(table.honest)):
        second = table.honest[len(table.honest) - others :] if others else ()
        first = table.honest[: len(table.honest) - others]
        orders = {
            "": (), "first": (*first[::-1], *second), "second": (*second[::-1], *first), "colluders": table.colluders
        }  # fmt: skip
        for (of_1, hide_1), (of_2, hide_2) in product(hidings, hidings if others else hidings[:1]):
            for lie_1, lie_2 in product(range(colluding + 1 if others else 1), repeat=2):
                liars, false_to = (table.colluders[:lie_1], table.colluders[:lie_2]), frozenset(second)
                views = {n: view(table, hide(orders[of_1], n, hide_1), liars[0], false_to) for n in first}
                views |= {n: view(table, hide(orders[of_2], n, hide_2), liars[1], false_to) for n in second}
                if (key := tuple(views.values())) not in seen:
                    seen.add(key)
                    yield from _sets(table, views, first, second)


def _sets(table: Table, views: Mapping[str, View], first: Sequence[str], second: Sequence[str]) -> Iterator[Plan]:
    dealers = frozenset(d for d, _ in views[first[0]])
    for some, more in product(range(len(first) + 1), range(len(second) + 1)):
        rest = table.smallest_sum - some - more
        accepted = frozenset((*first[:some], *second[:more], *table.colluders[: max(0, rest)])) & dealers
        if len(accepted) != table.smallest_sum:
            continue
        asks = ((accepted, dealers - accepted, frozenset(table.honest)),)
        named = {n: accepted | {n} for n in table.honest}
        for late in dict.fromkeys((NOBODY, frozenset(second))):
            yield Plan(views, asks, late=late, named=named)
        if more and views[first[0]] != views[second[0]]:
            yield from (Plan(views, asks, named=named, forge=forge) for forge in ("omit", "unsigned"))


# -- random plans -----------------------------------------------------------------------------------------------------


class Draw:
    """Random plans for a table."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.rng = table, np.random.default_rng(seed)
        self.few = self.sum = NOBODY  # of one plan: some members; and a smallest sum, of them and colluders first

    def plans(self, count: int) -> Iterator[Plan]:
        return islice(iter(self.plan, None), count)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def some(self, names: Iterable[str], least: int = 0) -> Names:
        names = sorted(names)
        if len(names) <= least:
            return frozenset(names)
        return self.pick(names, int(self.rng.integers(least, len(names) + 1)))

    def pick(self, names: Iterable[str], count: int) -> Names:
        return frozenset(self.rng.permutation(sorted(names))[:count].tolist())

    def plan(self) -> Plan:
        table = self.table
        spare, least = len(table.names) - table.threshold, table.smallest_sum - len(table.colluders)
        self.few = self.pick(table.honest, min(least, int(self.rng.choice([1, 1, 2, spare]))))
        others = self.pick(set(table.honest) - self.few, least - len(self.few))
        self.sum = self.few | others | set(table.colluders)
        classes = self.classes()
        views = {name: shown for number in range(len(classes)) for name, shown in self.views(classes, number).items()}
        if self.chance(0.3):
            views = dict.fromkeys(views, view(self.table, NOBODY, (), NOBODY))
        asks = self.asks(classes, views)
        accepted = asks[0][0]
        conflicts = self.conflicts(classes) if self.chance(0.2) else ()
        return Plan(
            views,
            asks,
            rosters=self.one_of(classes) if self.chance(0.1) else NOBODY,
            late=self.one_of(classes) if self.chance(0.15) else NOBODY,
            named=self.named(classes, accepted, views),
            second_root=self.one_of(classes) if self.chance(0.15) else NOBODY,
            conflicts=conflicts,
            padded=self.chance(0.5),
            forge=str(self.rng.choice(["", "", "omit", "unsigned", "renamed", "round", "session"])),
            sign_for_all=self.chance(0.1),
        )

    def classes(self) -> list[Names]:
        """The honest members in one to three classes, or a few and the others."""
        if self.chance(0.35):
            return [self.few, frozenset(self.table.honest) - self.few]
        order, count = self.rng.permutation(self.table.honest).tolist(), int(self.rng.choice([1, 2, 2, 3]))
        cuts = [0, *sorted(self.rng.integers(1, len(order) + 1, count - 1).tolist()), len(order)]
        return [found for a, b in pairwise(cuts) if (found := frozenset(order[a:b]))]

    def one_of(self, classes: Sequence[Names]) -> Names:
        """A class, or the few of this plan."""
        return [*classes, self.few][int(self.rng.integers(len(classes) + 1))]

    def views(self, classes: Sequence[Names], number: int) -> dict[str, View]:
        """The deals that the members of one class are shown."""
        table = self.table
        spare = len(table.names) - table.threshold
        count = int(self.rng.choice([0, spare, self.rng.integers(spare + 1)]))
        others = frozenset(table.names) - classes[number]
        sources = [
            frozenset(table.names),
            others,
            classes[number],
            frozenset(table.honest),
            self.sum - set(table.colluders),
        ]
        of = sources[int(self.rng.integers(len(sources)))]
        together = self.pick(of, count) if self.chance(0.5) else None
        liars = self.some(table.colluders) if self.chance(0.7) else NOBODY
        false_to = self.one_of(classes) if self.chance(0.7) else self.some(table.honest)
        found = {}
        for name in classes[number]:
            hidden = together if together is not None else self.pick(of - {name}, count)
            found[name] = view(table, hidden - {name}, sorted(liars), false_to)
        return found

    def asks(self, classes: Sequence[Names], views: Mapping[str, View]) -> tuple[Ask, ...]:
        """The same sets for all, or two, or sets of its own for everybody."""
        kind = self.rng.random()
        if kind < 0.8:
            return (self.sets(classes, views),)
        honest, everybody = frozenset(self.table.honest), frozenset(self.table.names)
        if kind < 0.9:
            parts = [part := self.some(honest), honest - part]
            return tuple((*self.sets(classes, views)[:2], shown) for shown in parts)
        core, wanted = self.few | set(self.table.colluders), self.table.smallest_sum
        own = {name: core | self.pick(honest - core, max(0, wanted - len(core))) for name in sorted(honest)}
        return tuple((a, everybody - a, frozenset({name})) for name, a in own.items())

    def sets(self, classes: Sequence[Names], views: Mapping[str, View]) -> Ask:
        table = self.table
        mine = table.honest[int(self.rng.integers(len(table.honest)))]
        dealers = frozenset(d for d, _ in views[mine]) if self.chance(0.9) else frozenset(table.names)
        wanted = table.smallest_sum + int(self.rng.choice([0, 0, 0, 0, 0, 1, -1, len(table.names)]))
        accepted = set(table.colluders if self.chance(0.8) else self.some(table.colluders))
        order = [classes[i] for i in self.rng.permutation(len(classes))]
        for number, members in enumerate(order):
            last = number == len(order) - 1
            accepted |= self.pick(members & dealers, max(0, wanted - len(accepted))) if last else self.some(members)
        chosen = self.sum & dealers if self.chance(0.5) else self.pick(accepted & dealers, wanted)
        excluded = dealers - chosen
        if self.chance(0.1):
            excluded = self.some(dealers) if self.chance(0.5) else excluded | self.some(chosen)
        shown = frozenset(table.honest) if self.chance(0.5) else frozenset(table.honest) - self.one_of(classes)
        return chosen, excluded, shown

    def named(self, classes: Sequence[Names], accepted: Names, views: Mapping[str, View]) -> dict[str, Names]:
        """The uploads that each is told of: all that it was dealt by, the accepted, or itself alone."""
        odd = self.one_of(classes) if self.chance(0.25) else NOBODY
        every = self.chance(0.5)
        found = {}
        for name in self.table.honest:
            dealers = frozenset(d for d, _ in views[name])
            found[name] = frozenset({name}) | (NOBODY if name in odd else dealers if every else accepted)
        return found

    def conflicts(self, classes: Sequence[Names]) -> tuple[tuple[str, str], ...]:
        """Everybody is asked about a few, or some about some."""
        about = self.few if self.chance(0.7) else self.pick(self.table.honest, 2)
        asked = frozenset(self.table.honest) if self.chance(0.7) else self.some(self.table.honest)
        return tuple((a, b) for a in sorted(asked) for b in sorted(about) if a != b)
