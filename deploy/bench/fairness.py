"""Fairness rules on clients of whom a few are hard to serve: what the worst gain, what the others pay, what liars get.

Every row plays the same rounds with the same data, weights and seeds: `roughfed bench fairness`.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np

from roughfed.deploy.bench.fair_rounds import ABSURD, Masked, Plan, Seen
from roughfed.deploy.bench.hostile import hostile_names
from roughfed.deploy.bench.measure import machine
from roughfed.deploy.bench.skewed_clients import SkewedClients, SkewOptions
from roughfed.registry import look_up
from roughfed.server.fairness.spread import of_values

SETTLED = 3
"""Rounds at the end whose figures are averaged."""

FEDAVG = "fedavg"
FLIP, DEFENDED = ", label-flip", ", default"


def _rows() -> Iterator[tuple[str, Plan]]:
    plain = {FEDAVG: Plan()}
    plain |= {f"q-fedavg {q:g}": Plan("q-fedavg", q) for q in (0.5, 1.0, 2.0, 5.0)}
    plain |= {f"term {t:g}": Plan("term", t) for t in (0.5, 1.0, 2.0)}
    yield from plain.items()
    yield "q-fedavg 2, cap 2", Plan("q-fedavg", 2.0, cap=2.0)
    yield "q-fedavg 2, cap 4", Plan("q-fedavg", 2.0, cap=4.0)
    yield "q-fedavg 1, paper's step", Plan("q-fedavg", 1.0, step="paper")
    yield from ((f"{name}, masked", replace(plan, masked=True)) for name, plan in plain.items())
    for name in (FEDAVG, "q-fedavg 2"):
        for mode, masked in (("", False), (", masked", True)):
            plan = replace(plain[name], masked=masked)
            yield f"{name}{mode}{DEFENDED}", replace(plan, defence="default")
            yield f"{name}{mode}{FLIP}", replace(plan, attack="label-flip")
            yield f"{name}{mode}{FLIP}{DEFENDED}", replace(plan, attack="label-flip", defence="default")


ROWS: Mapping[str, Plan] = MappingProxyType(dict(_rows()))


@dataclass(frozen=True, slots=True)
class FairnessOptions:
    """What to measure.

    Attributes:
        skew: who learns what.
        rounds: R.
        seeds: which seeds each row is played with.
        attackers: share of clients whose labels are flipped, where a row has such; `defence.f` too.
        rows: of ROWS; empty for all.
        workers: processes.
    """

    skew: SkewOptions = field(default_factory=SkewOptions)
    rounds: int = 25
    seeds: Sequence[int] = (0, 1, 2)
    attackers: float = 0.2
    rows: Sequence[str] = ()
    workers: int = 2


@dataclass
class Outcome:
    """Of the honest clients, means over the last rounds, 0 to 1.

    Attributes:
        mean: accuracy.
        worst10: of the worst tenth of them.
        best10: of the best tenth.
        std: over the clients.
        minority: mean accuracy of the honest ones of the minority.
        weight: what one of the minority counts for, a client's even share being 1; 0 where it is left out.
        hostile_weight: the same of one of the liars.
        excluded_honest: share of the honest updates that a defence left out.
        excluded_minority: share of those of the minority.
        excluded_hostile: share of the hostile ones.
    """

    mean: float
    worst10: float
    best10: float
    std: float
    minority: float
    weight: float
    hostile_weight: float
    excluded_honest: float
    excluded_minority: float
    excluded_hostile: float


def run_fairness_bench(
    options: FairnessOptions, *, say: Callable[[str, Mapping[str, float]], None]
) -> dict[str, object]:
    """Play every row with every seed.

    Args:
        options: what to measure.
        say: gets each row's name and figures as soon as all its seeds are there.

    Returns:
        the options; `results`: row -> figures (means over the seeds; `gain` and `price` in points: of the worst tenth,
        and of the mean, against FedAvg of the same mode, attack and defence); the machine.

    Raises:
        ConfigError: no such row, or no data here.
    """
    names = [look_up({n: n for n in ROWS}, name, key="--rows") for name in options.rows or ROWS]
    games = list(product(names, options.seeds))
    found: dict[str, list[Outcome]] = {name: [] for name in names}
    for (name, _), outcome in zip(games, _played(games, options), strict=True):
        found[name].append(outcome)
        if len(found[name]) == len(options.seeds):
            say(name, means(found[name]))
    table = {name: means(runs) for name, runs in found.items()}
    compare(table)
    return {"bench": "fairness", **asdict(options), "results": table, "machine": machine()}


def _played(games: Sequence[tuple[str, int]], options: FairnessOptions) -> Iterator[Outcome]:
    if options.workers == 1:
        yield from (play(game, options) for game in games)
        return
    with ProcessPoolExecutor(options.workers) as pool:
        yield from pool.map(play, games, [options] * len(games))


def means(runs: Sequence[Outcome]) -> dict[str, float]:
    """Means over the seeds, and the lowest worst tenth of them."""
    figures = {name: statistics.fmean(getattr(run, name) for run in runs) for name in asdict(runs[0])}
    return {**figures, "lowest_worst10": min(run.worst10 for run in runs)}


def compare(table: Mapping[str, dict[str, float]]) -> None:
    """Add to each row what its rule gains and costs, in points, beside FedAvg in the same circumstances."""
    for name, row in table.items():
        rule, _, rest = name.partition(", ")
        like = FEDAVG if rest.startswith(("cap", "paper")) or not rest else f"{FEDAVG}, {rest}"
        if rule != FEDAVG and (other := table.get(like)) is not None:
            row["gain"] = 100 * (row["worst10"] - other["worst10"])
            row["price"] = 100 * (other["mean"] - row["mean"])


def play(game: tuple[str, int], options: FairnessOptions) -> Outcome:
    """One federation, from the first round to the last."""
    plan, seed, skew = ROWS[game[0]], game[1], options.skew
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        numbers = [str(number) for number in range(skew.minority, skew.clients)]  # the minority is honest
        share = options.attackers * skew.clients / len(numbers)
        hostile = {int(number) for number in hostile_names(numbers, share, seed)} if plan.attack else set[int]()
        clients = SkewedClients(skew, seed=seed, folder=Path(folder), hostile=frozenset(hostile))
        liars = {clients.names[number] for number in hostile}
        server: Seen | Masked = Seen(plan, options.attackers, seed, skew.lr)
        if plan.masked:
            server = Masked(plan, options.attackers, seed, (len(clients.params), skew.clients))
        tally = Tally(clients, liars)
        for number in range(1, options.rounds + 1):
            losses = clients.losses() | dict.fromkeys(liars, ABSURD)
            made = server.step(number, clients.deltas(number, options.rounds), losses)
            if made.mean is not None:
                clients.params = clients.params + made.mean
            tally.round(made.excluded, made.weights, last=number > options.rounds - SETTLED)
        return tally.outcome()


class Tally:
    """Counts over the rounds of one federation."""

    def __init__(self, clients: SkewedClients, liars: set[str]) -> None:
        """`liars`: who has flipped labels."""
        self._clients, self._liars = clients, liars
        self._honest = [name for name in clients.names if name not in liars]
        self._excluded: list[set[str]] = []
        self._weights: list[Mapping[str, float]] = []
        self._settled: list[dict[str, float]] = []

    def round(self, excluded: set[str], weights: Mapping[str, float], *, last: bool) -> None:
        """A round is over; with `last` its model is measured."""
        self._excluded.append(excluded)
        self._weights.append(weights)
        if last:
            self._settled.append(self._clients.accuracies())

    def outcome(self) -> Outcome:
        """What came of it."""
        figures = [of_values([found[name] for name in self._honest]) for found in self._settled]
        minority = self._clients.minority
        return Outcome(
            **{key: statistics.fmean(f[key] for f in figures) for key in ("mean", "worst10", "best10", "std")},
            minority=statistics.fmean(found[name] for found in self._settled for name in minority),
            weight=self._weight(minority),
            hostile_weight=self._weight(sorted(self._liars)),
            excluded_honest=self._share(self._honest),
            excluded_minority=self._share(minority),
            excluded_hostile=self._share(sorted(self._liars)),
        )

    def _weight(self, names: Sequence[str]) -> float:
        even = len(self._clients.names)
        found = [weights.get(name, 0.0) * even for weights in self._weights for name in names]
        return float(np.mean(found)) if found else 0.0

    def _share(self, names: Sequence[str]) -> float:
        return statistics.fmean(n in out for out in self._excluded for n in names) if names else 0.0
