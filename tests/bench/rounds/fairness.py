"""Fairness rules on clients of whom a few are hard to serve: what the worst gain, what the others pay, what liars get.

Every row plays the same rounds with the same data, weights and seeds: `python -m tests.bench fairness`.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import typer

from roughfed.deploy.speed.measure import machine
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.secagg.adverts import FULL
from roughfed.secagg.weight_class import LOSS_POINTS, Table, drawn, expected, loss_point
from roughfed.server.fairness import RULES
from roughfed.server.fairness.curve import table
from roughfed.server.fairness.step import curb
from roughfed.server.fairness.weights import factors
from roughfed.server.metrics.spread import of_values
from tests.bench.command import Benchmark, Seeds, names
from tests.bench.harness.games import played
from tests.bench.harness.hostile import hostile_names
from tests.bench.harness.rounds import MaskedPlan, MaskedRounds, PlainRounds, RoundResult
from tests.bench.rounds.skewed_clients import SkewedClients, SkewOptions

SETTLED = 3
"""Rounds at the end whose figures are averaged."""

ABSURD = 1e30
"""The loss that a liar claims: it gets whatever the cap allows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A row of the bench.

    Attributes:
        rule: of [fairness].
        strength: q or t.
        cap: likewise.
        step: likewise.
        masked: whether the server sees sums and sketches only.
        defence: a rule of [defence].
        attack: "label-flip" or "".
    """

    rule: str = "none"
    strength: float = 0.0
    cap: float = 3.0
    step: str = "mean"
    masked: bool = False
    defence: str = "none"
    attack: str = ""


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
    """Which federations learn."""

    skew: SkewOptions = field(default_factory=SkewOptions)
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the figures of the last 3 are averaged.")] = 25
    seeds: Seeds = (0, 1, 2)
    attackers: Annotated[
        float, typer.Option(help="Share of clients with flipped labels, where a row has such; defence.f.")
    ] = 0.2
    rows: Annotated[Sequence[str], names("Rows.")] = ()
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


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
    for (name, _), outcome in played(play, games, options):
        found[name].append(outcome)
        if len(found[name]) == len(options.seeds):
            say(name, means(found[name]))
    table = {name: means(runs) for name, runs in found.items()}
    compare(table)
    return {"bench": "fairness", **asdict(options), "results": table, "machine": machine()}


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
        server = (Masked if plan.masked else Plain)(plan, clients, options.attackers, seed)
        tally = Tally(clients, liars)
        for number in range(1, options.rounds + 1):
            losses = clients.losses() | dict.fromkeys(liars, ABSURD)
            result, weights = server.play(number, clients.deltas(number, options.rounds), losses)
            if result.mean is not None:
                clients.params = clients.params + result.mean
            left_out = set(clients.names) - set(result.accepted)
            tally.round(left_out, weights, last=number > options.rounds - SETTLED)
        return tally.outcome()


Weights = Mapping[str, float]
"""What each of those who count counts for beside one another; together 1."""


class Plain:
    """A server that has whole updates, and each client's loss."""

    def __init__(self, plan: Plan, clients: SkewedClients, attackers: float, seed: int) -> None:
        """`attackers`: defence.f."""
        self._plan, self._lr = plan, clients.lr
        self._rounds = PlainRounds(len(clients.params), plan.defence, attackers, seed=seed)

    def play(self, _number: int, deltas: Mapping[str, Flat], losses: Weights) -> tuple[RoundResult, Weights]:
        """The next round."""
        plan, found = self._plan, dict[str, float]()

        def weigh(names: Sequence[str]) -> Sequence[float]:
            known = {name: losses[name] for name in names}
            found.update(factors(RULES[plan.rule], known, strength=plan.strength, cap=plan.cap))
            return list(found.values())

        result = self._rounds.play(deltas, weigh=weigh)
        if plan.step == "paper" and result.mean is not None:
            norms = [float(np.linalg.norm(deltas[name])) for name in found]
            known = [losses[name] for name in found]
            shorter = curb(list(found.values()), known, norms, q=plan.strength, lr=self._lr)
            result.mean = (result.mean * shorter).astype(np.float32)
        return result, _shares(found)


class Masked:
    """A server that has sums and sketches; clients name weight classes after the losses of the rounds before."""

    def __init__(self, plan: Plan, clients: SkewedClients, attackers: float, seed: int) -> None:
        """`attackers`: defence.f."""
        masked = MaskedPlan(rule=plan.defence, attackers=attackers, clip_norm=3.0)
        self._rounds = MaskedRounds(len(clients.params), len(clients.names), masked, seed=seed)
        self._plan, self._seed = plan, seed
        self._told: dict[int, list[int]] = {}
        self._losses: dict[str, dict[int, float]] = {}

    def play(self, number: int, deltas: Mapping[str, Flat], losses: Weights) -> tuple[RoundResult, Weights]:
        """The next round."""
        plan = self._plan
        rule = RULES[plan.rule]
        found = table(rule, self._told, strength=plan.strength, cap=plan.cap) if rule.strength else None
        quarters = {name: self._class_of(name, number, found) for name in deltas} if found else {}
        result = self._rounds.play(deltas, quarters=quarters)
        counts = [0] * LOSS_POINTS
        for name in result.accepted:
            counts[loss_point(losses[name])] += 1
        self._told[number] = counts
        for name, loss in losses.items():
            self._losses.setdefault(name, {})[number] = loss
        return result, _shares({name: float(quarters.get(name, FULL)) for name in result.accepted})

    def _class_of(self, name: str, number: int, found: Table) -> int:
        secret = hashlib.sha256(f"{self._seed} {name} {number}".encode()).digest()
        return drawn(expected(found, self._losses.get(name, {})), secret)


def _shares(weights: Weights) -> Weights:
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}


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


def _line(name: str, figures: Mapping[str, float]) -> str:
    shares = "  ".join(f"{key} {figures[key]:.3f}" for key in ("mean", "worst10", "best10", "std"))
    out = f"left out {figures['excluded_minority']:.0%} of the minority, {figures['excluded_hostile']:.0%} of the liars"
    return f"{name:<44} {shares}  weight {figures['weight']:.2f}  liar's {figures['hostile_weight']:.2f}  {out}"


BENCH = Benchmark(FairnessOptions, run_fairness_bench, _line)
