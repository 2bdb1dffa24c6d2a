"""Clustered federations in one process: are planted clusters found from sketches, and what is gained by it?

K clients, D parameters. The rounds are those of masked federations (codec, sketches, groups, defence); what follows
from them is decided by the server's own functions (`roughfed.server.extensions.clusters`).
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from roughfed.config.clusters import Clusters
from roughfed.deploy.speed.measure import machine
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.server.defence.plan import tolerated
from roughfed.server.extensions.clusters.bipartition import RowAngles, SplitLimits, length_of, look
from roughfed.server.extensions.clusters.choices import Choosing, chosen, drawn_again
from roughfed.server.extensions.clusters.members import by_cluster, settled
from roughfed.server.storage.lineage import DEFAULT
from tests.bench.command import Benchmark, Seeds, names
from tests.bench.harness.games import played
from tests.bench.harness.learners import LearningOptions
from tests.bench.harness.rounds import MaskedPlan, MaskedRounds
from tests.bench.rounds.planted import Planted

SETTLED = 3
"""Rounds at the end whose mean accuracy counts."""

SMALLEST = 7


@dataclass(frozen=True, slots=True)
class Plant:
    """Who is planted among whom.

    Attributes:
        second: clients of the second law, of 20; scaled to other numbers.
        alpha: of the Dirichlet division of the classes, over all clients.
    """

    second: float
    alpha: float


PLANTS: Mapping[str, Plant] = {
    "two halves": Plant(0.5, 1.0),
    "a third": Plant(0.35, 1.0),
    "a fifth": Plant(0.2, 1.0),
    "no cluster": Plant(0.0, 0.5),
}
METHODS = ("one model", "apart", "cfl", "ifca")
RULES = ("none", "default")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which federations are played."""

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(examples=5000, model="mlp", batch_size=32, lr_decay=0.97)
    )
    rounds: Annotated[int, typer.Option(min=4, help="Rounds of each cluster; the last 3 are averaged.")] = 20
    seeds: Seeds = (0, 1, 2)
    plants: Annotated[Sequence[str], names("Who is planted among whom; each has an --alpha of its own.")] = ()
    methods: Annotated[Sequence[str], names("Methods.")] = ()
    rules: Annotated[Sequence[str], names("defence.rule: none, default.")] = RULES
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 1


@dataclass(frozen=True, slots=True)
class Game:
    """One federation to be played."""

    plant: str
    method: str
    rule: str
    seed: int


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        accuracy: of each client's cluster's model by the law of the client, mean over the clients and last rounds.
        second: the same over the clients of the second law; over all where there is none.
        clusters: that have members at the end.
        recovered: whether they are the planted ones, client for client.
        split_after: rounds before the first split; -1 where there was none.
        excluded: share of all updates that the defence left out.
        bits: told by each client, at most.
    """

    accuracy: float
    second: float
    clusters: int
    recovered: bool
    split_after: int
    excluded: float
    bits: int


@dataclass
class Line:
    """One cluster on its way.

    Attributes:
        rounds: the server's half of its rounds.
        params: its newest model, float32 [D].
        seen: what its rounds showed since it last changed.
        first: length of the longest update of its first round.
        played: rounds behind its model.
    """

    rounds: MaskedRounds
    params: Flat
    seen: list[RowAngles] = field(default_factory=list[RowAngles])
    first: float = 0.0
    played: int = 0


def run_clusters_bench(
    options: ClusterOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every method on every plant with every seed.

    Args:
        options: what to measure.
        say: gets each row's name and figures as soon as all its seeds are there.

    Returns:
        the options; `results`: plant -> rule -> method -> figures (means over the seeds); the machine.

    Raises:
        ConfigError: an unknown plant, method or rule.
    """
    plants = [look_up({n: n for n in PLANTS}, name, key="--plants") for name in options.plants or PLANTS]
    methods = [look_up({n: n for n in METHODS}, name, key="--methods") for name in options.methods or METHODS]
    rules = [look_up({n: n for n in RULES}, name, key="--rules") for name in options.rules]
    games = [Game(*one) for one in product(plants, methods, rules, options.seeds) if _wanted(*one)]
    found: dict[tuple[str, str, str], list[Outcome]] = {}
    for game, outcome in played(play, games, options):
        runs = found.setdefault((game.plant, game.rule, game.method), [])
        runs.append(outcome)
        if len(runs) == len(options.seeds):
            say(f"{game.plant} / {game.method} / {game.rule}", means(runs))
    results: dict[str, dict[str, dict[str, object]]] = {}
    for (plant, rule, method), runs in found.items():
        results.setdefault(plant, {}).setdefault(rule, {})[method] = means(runs)
    return {"bench": "clusters", **asdict(options), "results": results, "machine": machine()}


def _wanted(plant: str, method: str, _rule: str, _seed: int) -> bool:
    return method != "apart" or PLANTS[plant].second > 0  # one law apart is one model


def means(runs: Sequence[Outcome]) -> dict[str, object]:
    """Means over the seeds; `recovered`: in how many; `lowest`: the least accuracy."""
    rows = [asdict(run) for run in runs]
    figures: dict[str, object] = {name: statistics.fmean(float(row[name]) for row in rows) for name in rows[0]}
    return {**figures, "recovered": sum(run.recovered for run in runs), "lowest": min(run.accuracy for run in runs)}


def play(game: Game, options: ClusterOptions) -> Outcome:
    """One federation, from the first round of each cluster to its last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        plant = PLANTS[game.plant]
        second = round(plant.second * options.learning.clients)
        learning = LearningOptions(**{**asdict(options.learning), "alpha": plant.alpha})
        learners = Planted(learning, second, seed=game.seed, folder=Path(folder))
        return Federation(learners, game, options.rounds).run()


class Federation:
    """The clusters of one federation and who is in them."""

    def __init__(self, learners: Planted, game: Game, rounds: int) -> None:
        """Everybody is in the default, or, apart, with its own law."""
        self._learners, self._game, self._rounds = learners, game, rounds
        self._settings = Clusters()
        self.membership = dict.fromkeys(learners.names, DEFAULT)
        self.split_after, self._left_out, self._sent, self.choosings = -1, 0, 0, 0
        first = learners.params
        plan = MaskedPlan(rule=game.rule)
        start = MaskedRounds(len(first), len(learners.names), plan, seed=game.seed)
        self.lines = {DEFAULT: Line(start, first)}
        if game.method == "apart":
            self.membership = {name: str(law) for name, law in learners.law.items()}
            self.lines |= {str(law): Line(start.branch(), first) for law in range(len(learners.parts()))}
        elif game.method == "ifca":
            for cluster in map(str, range(1, self._settings.k)):
                self.lines[cluster] = Line(start.branch(), learners.untrained(cluster, 0))

    def run(self) -> Outcome:
        """All rounds: the clusters take turns."""
        measured: list[tuple[float, float]] = []
        for number in range(1, self._rounds + 1):
            if self._game.method == "ifca" and (number - 1) % self._settings.choose_every == 0:
                self._choose()
            for cluster in list(by_cluster(self.membership)):
                self._play(cluster)
            if number > self._rounds - SETTLED:
                measured.append(self._measure())
        accuracy, second = (statistics.fmean(column) for column in zip(*measured, strict=True))
        found = [set(members) for members in by_cluster(self.membership).values()]
        recovered = sorted(map(sorted, found)) == sorted(map(sorted, self._learners.parts()))
        return Outcome(
            accuracy, second, len(found), recovered, self.split_after, self._left_out / self._sent, self.choosings
        )

    def _play(self, cluster: str) -> None:
        line, learners = self.lines[cluster], self._learners
        members = by_cluster(self.membership)[cluster]
        learners.hand_out(line.params)
        deltas = {name: learners.update(learners.names.index(name), line.played + 1) for name in members}
        result = line.rounds.play(deltas)
        line.played += 1
        self._left_out += len(result.excluded)
        self._sent += len(deltas)
        if result.mean is not None:
            line.params = line.params + result.mean
        if line.rounds.rows is not None:
            line.seen.append(line.rounds.rows)
            line.first = line.first or length_of(line.rounds.rows)
        if self._game.method == "cfl":
            self._look(cluster, members)

    def _look(self, cluster: str, members: Sequence[str]) -> None:
        line, settings = self.lines[cluster], self._settings
        wait = settings.warmup if self.split_after < 0 else settings.cooldown
        if len(line.seen) < wait:
            return
        limits = SplitLimits(settings.window, settings.eps1, settings.eps2, settings.separation, SMALLEST)
        f = 0 if self._game.rule == "none" else tolerated(0.2, len(members))
        found = look(line.seen, line.first, members, limits, f)
        if found.why != "split":
            return
        self.split_after = line.played if self.split_after < 0 else self.split_after
        new = str(len(self.lines))
        self.lines[new] = Line(line.rounds.branch(), line.params.copy(), played=line.played)
        self.membership |= dict.fromkeys(found.parts[1], new)
        line.seen.clear()

    def _choose(self) -> None:
        last: Choosing | None = None
        while True:
            self.choosings += 1
            said = {name: self._chosen(name) for name in self._learners.names}
            models = tuple((cluster, 0, b"") for cluster in self.lines)
            last = Choosing(self.choosings, 0, True, tuple(said), models, open=False, said=said)
            again = drawn_again(last, depths={c: line.played for c, line in self.lines.items()}, smallest=SMALLEST)
            if not again:
                break
            for cluster in again:
                self.lines[cluster].params = self._learners.untrained(cluster, self.choosings)
        self.membership = settled(chosen(last, self.membership, DEFAULT, list(self.lines)), SMALLEST)

    def _chosen(self, name: str) -> str:
        losses = {cluster: self._learners.train_loss(name, line.params) for cluster, line in self.lines.items()}
        return min(losses, key=lambda cluster: losses[cluster])

    def _measure(self) -> tuple[float, float]:
        """Mean accuracy over all clients, and over those of the second law."""
        laws = range(len(self._learners.parts()))
        found = {
            (cluster, law): self._learners.right(self.lines[cluster].params, law)
            for cluster in by_cluster(self.membership)
            for law in laws
        }
        by_client = {name: found[cluster, self._learners.law[name]] for name, cluster in self.membership.items()}
        second = [right for name, right in by_client.items() if self._learners.law[name]] or list(by_client.values())
        return float(np.mean(list(by_client.values()))), float(np.mean(second))


def _line(name: str, figures: Mapping[str, float]) -> str:
    split = f", split after {figures['split_after']:.1f} rounds" if figures["split_after"] >= 0 else ""
    found = f"clusters {figures['clusters']:.1f}, recovered {figures['recovered']:.0f}{split}"
    accuracy = f"accuracy {figures['accuracy']:.3f} (second law {figures['second']:.3f})"
    return f"{name:<34} {accuracy}, {found}, left out {figures['excluded']:.1%}"


BENCH = Benchmark(ClusterOptions, run_clusters_bench, _line)
