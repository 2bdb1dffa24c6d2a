"""What codec, masks and defence cost in accuracy: whole federations in one process, of the real parts.

Every condition plays the same rounds with the same data, weights and seeds; only what happens to the updates differs.
K clients, D parameters.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.plan_bytes import stages_up
from roughfed.deploy.speed.measure import machine
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.secagg.groups import group_sizes
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.hostile import Attackers, hostile_names
from tests.bench.harness.learners import Learners, LearningOptions
from tests.bench.harness.rounds import Downlink, MaskedPlan, MaskedRounds, PlainRounds, RoundResult
from tests.bench.rounds.conditions import ATTACKS, CONDITIONS, Condition

SETTLED = 5
"""Rounds at the end whose mean accuracy counts: a single round swings by as much as is to be measured."""


@dataclass(frozen=True, slots=True)
class AccuracyOptions:
    """Which federations learn, and how long."""

    learning: LearningOptions = field(default_factory=LearningOptions)
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 5 are averaged.")] = 40
    seeds: Seeds = (0, 1, 2)
    attackers: Annotated[float, typer.Option(help="Share of hostile clients, rounded down, where there are any.")] = 0.2
    conditions: Annotated[Sequence[str], names("Rows.")] = ()


@dataclass
class Run:
    """One condition with one seed.

    Attributes:
        accuracy: after each round.
        clip_norms: C of each masked round.
        honest_norm: the largest norm that either half of a sketch showed of an honest client, in units of C.
        honest_over_bound: honest updates that the bound on norms left out, over all rounds.
        honest_excluded: honest updates that the rule left out.
        hostile_excluded: hostile updates that either left out.
        hostile_seen: hostile updates.
        void: rounds without a sum.
        upload_bytes: codes of one client and round; 4 D without a codec.
        message_bytes: keys, shares, sketches, signatures and answers of one client and round.
    """

    accuracy: list[float] = field(default_factory=list[float])
    clip_norms: list[float] = field(default_factory=list[float])
    honest_norm: float = 0.0
    honest_over_bound: int = 0
    honest_excluded: int = 0
    hostile_excluded: int = 0
    hostile_seen: int = 0
    void: int = 0
    upload_bytes: int = 0
    message_bytes: int = 0

    @property
    def settled(self) -> float:
        """Mean accuracy of the last rounds."""
        return statistics.fmean(self.accuracy[-SETTLED:])

    def note(self, result: RoundResult, hostile: set[str]) -> None:
        """Count what a masked round did to whom."""
        self.clip_norms.append(result.clip_norm)
        honest = [max(halves) for name, halves in result.norms.items() if name not in hostile]
        self.honest_norm = max(self.honest_norm, *honest)
        self.honest_over_bound += len(result.over_bound - hostile)
        self.honest_excluded += len(result.excluded.keys() - result.over_bound - hostile)
        self.hostile_excluded += len(result.excluded.keys() & hostile)
        self.hostile_seen += len(result.norms.keys() & hostile)
        self.void += result.mean is None


Step = Callable[[Run, Flat, dict[str, Flat]], Flat]
"""(what is noted, parameters, updates by name) -> the next parameters."""


def run_accuracy_bench(
    options: AccuracyOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every condition with every seed.

    Args:
        options: what to measure.
        say: gets each condition's name and figures as soon as they are there.

    Returns:
        the options; `results`: condition -> its figures (see `figures`); the machine.
    """
    found: dict[str, object] = {}
    for name in options.conditions or tuple(CONDITIONS):
        condition = look_up(CONDITIONS, name, key="conditions")
        one = figures([play(condition, options, seed=seed) for seed in options.seeds])
        found[name] = one
        say(name, one)
    return {"bench": "accuracy", **asdict(options), "results": found, "machine": machine()}


def figures(runs: Sequence[Run]) -> dict[str, object]:
    """One condition over all seeds: accuracies are means of the last rounds, the spread is largest minus smallest."""
    settled = [run.settled for run in runs]
    return {
        "accuracy": statistics.fmean(settled),
        "spread": max(settled) - min(settled),
        "by_seed": settled,
        "honest_norm": max(run.honest_norm for run in runs),
        "honest_over_bound": sum(run.honest_over_bound for run in runs),
        "honest_excluded": sum(run.honest_excluded for run in runs),
        "hostile_excluded": sum(run.hostile_excluded for run in runs),
        "hostile_seen": sum(run.hostile_seen for run in runs),
        "void": sum(run.void for run in runs),
        "last_clip_norm": [run.clip_norms[-1] for run in runs if run.clip_norms],
        "upload_bytes": runs[0].upload_bytes,
        "message_bytes": runs[0].message_bytes,
        "rounds": [run.accuracy for run in runs],
    }


def play(condition: Condition, options: AccuracyOptions, *, seed: int) -> Run:
    """One federation, from the first round to the last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        learners = Learners(options.learning, seed=seed, folder=Path(folder))
        params = learners.params
        hostile = hostile_names(learners.names, options.attackers, seed) if condition.attack else set[str]()
        attackers = Attackers(ATTACKS.get(condition.attack), learners, hostile, seed=seed)
        run = Run(upload_bytes=4 * len(params))
        if condition.plan is None:
            step = plain_step(learners, by_examples=condition.by_examples, seed=seed)
        else:
            plan = replace(condition.plan, attackers=options.attackers)
            step = masked_step(plan, params, hostile=hostile, clients=len(learners.names), seed=seed)
        for number in range(1, options.rounds + 1):
            learners.hand_out(params)
            params = step(run, params, attackers.updates(number))
            run.accuracy.append(learners.accuracy(params))
    return run


def plain_step(learners: Learners, *, by_examples: bool, seed: int) -> Step:
    """FedAvg of the updates as they are."""
    sizes = {name: len(share) for name, share in zip(learners.names, learners.shares, strict=True)}
    rounds = PlainRounds(len(learners.params), "none", 0.0, seed=seed)

    def step(_run: Run, params: Flat, deltas: dict[str, Flat]) -> Flat:
        result = rounds.play(deltas, weigh=lambda names: [sizes[name] if by_examples else 1 for name in names])
        return params if result.mean is None else params + result.mean

    return step


def masked_step(plan: MaskedPlan, first: Flat, *, hostile: set[str], clients: int, seed: int) -> Step:
    """Masked rounds on the way up, a quantised model on the way down."""
    rounds, down = MaskedRounds(len(first), clients, plan, seed=seed), Downlink(len(first))

    def step(run: Run, params: Flat, deltas: dict[str, Flat]) -> Flat:
        result = rounds.play(deltas)
        run.note(result, hostile)
        run.upload_bytes = rounds.upload_bytes
        run.message_bytes = stages_up(group_sizes(clients)[0], sketch_bytes=rounds.sketch_bytes)
        return params if result.mean is None else down.after(params, result.mean)

    return step


BENCH = Benchmark(AccuracyOptions, run_accuracy_bench, row("accuracy", "spread", width=24))
