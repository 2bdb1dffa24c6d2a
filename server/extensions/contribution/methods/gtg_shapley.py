"""GTG-Shapley (Liu, Chen, Yu, Liu and Cui, ACM TIST 2022, https://arxiv.org/abs/2109.02053, algorithm 1).

The Shapley value of a round by walks through random orders of the clients, with three ways to save evaluations:
between rounds (a round that changed nothing is not looked at), within a walk (once the coalition is as good as
everybody, who comes later adds nothing), and guided first places (every client leads equally often).

n rows, U utilities.

Differs: a coalition's model is the base plus its members' updates with the weights that they have in the aggregate of
all; the paper averages over the coalition anew, which lets a single specialist replace the model and puts specialists
last whatever they have. What a round that changed nothing won goes in equal parts to all. A block of walks is one
random order, rotated to several starts, and each of these forwards and backwards: every client is early as often as
late, which halves the error of a single round, and the walks share coalitions. What a truncated walk is short of goes
in equal parts to those whose turn did not come, so that the scores add up to U(all) - U(nobody) for every utility. The
test of convergence divides by the largest score, not by each one's own: a client without worth would never settle.
Where the budget covers all coalitions they are all evaluated, and the value is exact.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roughfed.server.extensions.contribution.exact import shapley_values
from roughfed.server.extensions.contribution.game import shared_out
from roughfed.server.extensions.contribution.method import Case, Coalition, Play, Values

BETWEEN, WITHIN = 0.001, 0.001
"""Differences of the utility that count for nothing: between the models before and after a round, and within a walk;
times the utility itself where it is below 1, as the loss of a regression may be."""

FEWEST_WALKS, LAST, SETTLED = 30, 10, 0.05
"""Walks (at least n) before convergence is asked for; then the last running means may be off the newest by this share
of the largest score."""

Inside = Generator[Sequence[Coalition], Sequence[Values], Values]


def gtg_shapley(case: Case) -> Play:
    """See the head of the file."""
    return shared_out(case, (yield from _scores(case)))


def _scores(case: Case) -> Inside:
    """The scores, float64 [n, U]."""
    n = len(case.names)
    if 1 << n <= case.budget:
        return shapley_values((yield range(1 << n)))
    nobody, everybody = yield [0, case.everybody]
    gain = everybody - nobody  # [U]
    unit = min(1.0, max(abs(float(nobody[0])), abs(float(everybody[0]))))
    if abs(gain[0]) <= BETWEEN * unit:
        return np.tile(gain / n, (n, 1))
    rng, walks = np.random.default_rng(case.seed), Walks(n, nobody, everybody, WITHIN * unit)
    while not walks.settled and (orders := block(rng.permutation(n), case.budget - 2 - len(walks.seen))):
        yield from walks.walk(orders)
    return walks.mean(gain)


def block(order: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """As many rotations of an order as the budget allows, each forwards and backwards; else the order alone, or none.

    From h starts the coalitions are arcs of a circle that begin or end at one: 2 h (n - 1), h (h - 1) of them twice.
    """
    n = len(order)
    starts = max((h for h in range(1, n + 1) if 2 * h * (n - 1) - h * (h - 1) <= budget), default=0)
    if not starts:
        return [order] if n - 1 <= budget else []
    rotated = [np.roll(order, -(at * n // starts)) for at in range(starts)]
    return [*rotated, *(one[::-1] for one in rotated)]


@dataclass
class Walks:
    """The walks so far.

    Attributes:
        n: rows.
        nobody, everybody: utilities [U] of the two ends of every walk.
        within: how near to everybody's utility a walk ends.
        seen: utilities of the coalitions between them.
        marginals: of each walk, float64 [n, U].
    """

    n: int
    nobody: Values
    everybody: Values
    within: float
    seen: dict[Coalition, Values] = field(default_factory=dict[Coalition, Values])
    marginals: list[Values] = field(default_factory=list[Values])

    @property
    def settled(self) -> bool:
        """Whether more walks would change little."""
        if len(self.marginals) < max(FEWEST_WALKS, self.n):
            return False
        running = np.cumsum([one[:, 0] for one in self.marginals], axis=0)  # [walks, n]
        means = (running / np.arange(1, len(running) + 1)[:, None])[-LAST:]
        largest = float(np.abs(means[-1]).max())
        return bool(np.abs(means - means[-1]).mean(axis=1).max() <= SETTLED * largest)

    def walk(self, orders: Sequence[NDArray[np.int64]]) -> Generator[Sequence[Coalition], Sequence[Values], None]:
        """Walk through these orders side by side, one place after another."""
        found = [np.zeros((self.n, len(self.nobody))) for _ in orders]
        before, inside = [self.nobody] * len(orders), [0] * len(orders)
        for place in range(self.n):
            going = [at for at in range(len(orders)) if abs((self.everybody - before[at])[0]) >= self.within]
            for at in going:
                inside[at] |= 1 << int(orders[at][place])
            if place < self.n - 1:
                wanted = [one for one in dict.fromkeys(inside[at] for at in going) if one not in self.seen]
                if wanted:
                    self.seen.update(zip(wanted, (yield wanted), strict=True))
            for at in going:
                now = self.everybody if place == self.n - 1 else self.seen[inside[at]]
                found[at][int(orders[at][place])] = now - before[at]
                before[at] = now
            for at in set(range(len(orders))) - set(going):
                rest = [int(one) for one in orders[at] if not inside[at] >> int(one) & 1]
                found[at][rest] = (self.everybody - before[at]) / len(rest)
        self.marginals += found

    def mean(self, gain: Values) -> Values:
        """Mean over the walks, [n, U]; where there was no budget for any, everybody's share is the same."""
        return np.mean(self.marginals, axis=0) if self.marginals else np.tile(gain / self.n, (self.n, 1))
