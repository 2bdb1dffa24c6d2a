"""A quarter of the clients at a sixteenth of the bytes: what it costs in accuracy, masks on.

Whole federations in one process, of the real parts. Every division plays the same rounds with the same data, weights
and seeds; only what the quarter sends, or trains, differs. K clients, D parameters.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from roughfed.codec.plan import Summed
from roughfed.deploy.speed.measure import machine
from roughfed.errors import ConfigError
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.rng import generator
from roughfed.secagg.groups import SMALLEST
from roughfed.server.masked.merging import mean_of_sums
from roughfed.tiers import Mean, Ranges, length_of, merged, ranges_of
from roughfed.types import Spec
from tests.bench.command import Benchmark, Seeds, names
from tests.bench.harness.learners import Learners, LearningOptions
from tests.bench.harness.rounds import MaskedPlan, MaskedRounds

SETTLED = 3
"""Rounds at the end whose mean accuracy counts."""

RARE = 2
"""Tiers of examples that the quarter holds most of, where it is chosen by them."""

WHOLE, THIN, HEADS, WITHOUT = "all", "thin", "heads", "without"
DIVISIONS = {
    WHOLE: "everybody sends everything",
    THIN: "a quarter sends one rotated coordinate in 16",
    HEADS: "a quarter trains and sends the classifier alone",
    WITHOUT: "the quarter takes no part",
}


@dataclass(frozen=True, slots=True)
class TiersOptions:
    """Who sends less, and of what."""

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(
            clients=28, examples=8000, model="cnn-strided", batch_size=32, lr_decay=0.93
        )
    )
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 3 are averaged.")] = 20
    seeds: Seeds = (0, 1, 2)
    divisions: Annotated[Sequence[str], names("Divisions.")] = ()
    rare: Annotated[bool, typer.Option("--rare", help="The quarter holds most of two tiers of examples.")] = False
    rule: Annotated[str, typer.Option(help="defence.rule, within each tier.")] = "none"


@dataclass
class Outcome:
    """What came of one federation.

    Attributes:
        accuracy: of the last rounds, 0..1.
        rare_recall: the same on the two tiers alone.
        upload_bytes: of a client of the quarter, and of one of the others, in a round.
        excluded: updates that did not count, over all rounds.
    """

    accuracy: float
    rare_recall: float
    upload_bytes: tuple[int, int]
    excluded: int


def run_tiers_bench(options: TiersOptions, *, say: Callable[[str, Mapping[str, object]], None]) -> dict[str, object]:
    """Play every division with every seed.

    Args:
        options: what to measure.
        say: gets each division's name and figures as soon as all its seeds are there.

    Returns:
        the options; `results`: division -> figures (means over the seeds; `points`: accuracy in points above `all`, and
        `each`: the same of each seed); the machine.

    Raises:
        ConfigError: an unknown division, or too few clients for a quarter of them to make a group.
    """
    names = [look_up({n: n for n in DIVISIONS}, name, key="--divisions") for name in options.divisions or DIVISIONS]
    if options.learning.clients // 4 < SMALLEST:
        cause = f"a quarter of {options.learning.clients} clients makes no group of {SMALLEST}"
        raise ConfigError(cause, key="--clients", cure=f"give {4 * SMALLEST} or more")
    results: dict[str, dict[str, object]] = {}
    runs: dict[str, list[Outcome]] = {}
    for name in names:
        runs[name] = [play(name, seed, options) for seed in options.seeds]
        results[name] = figures(runs[name], runs.get(WHOLE))
        say(name, results[name])
    return {"bench": "tiers", **asdict(options), "results": results, "machine": machine()}


def figures(runs: Sequence[Outcome], whole: Sequence[Outcome] | None) -> dict[str, object]:
    """Means over the seeds."""
    found: dict[str, object] = {
        "accuracy": statistics.fmean(run.accuracy for run in runs),
        "rare_recall": statistics.fmean(run.rare_recall for run in runs),
        "upload_bytes": list(runs[0].upload_bytes),
        "excluded": statistics.fmean(run.excluded for run in runs),
    }
    if whole is not None:
        each = [100 * (run.accuracy - other.accuracy) for run, other in zip(runs, whole, strict=True)]
        found |= {"points": statistics.fmean(each), "each": each}
    return found


def play(division: str, seed: int, options: TiersOptions) -> Outcome:
    """One federation, from the first round to the last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        learners = Learners(options.learning, seed=seed, folder=Path(folder))
        params = learners.params
        tiers = classes_of(division, quarter(learners, seed, rare=options.rare), learners.names, learners.spec)
        rounds = ClassRounds(tiers, len(params), rule=options.rule, seed=seed)
        measured: list[tuple[float, float]] = []
        for number in range(1, options.rounds + 1):
            learners.hand_out(params)
            deltas = {
                name: learners.update(learners.names.index(name), number, tensors=one.tensors)
                for one in tiers
                for name in one.names
            }
            params = params + rounds.play(deltas)
            if number > options.rounds - SETTLED:
                recall = learners.recalls(params)
                measured.append((learners.accuracy(params), float(np.mean(recall[:RARE]))))
    accuracy, rare = np.mean(measured, axis=0)
    sizes = rounds.upload_bytes
    return Outcome(float(accuracy), float(rare), (sizes[-1], sizes[0]), rounds.excluded)


def quarter(learners: Learners, seed: int, *, rare: bool) -> list[str]:
    """The clients of whom less is asked."""
    count = len(learners.names) // 4
    if rare:
        held = [int((share.labels < RARE).sum()) for share in learners.shares]
        order = np.argsort(held, kind="stable")[::-1]
    else:
        order = generator(seed, "classes", "quarter").permutation(len(learners.names))
    return sorted(learners.names[at] for at in order[:count])


def classes_of(division: str, few: Sequence[str], names: Sequence[str], spec: Spec) -> list[Sends]:
    """Who sends what, the others first."""
    whole = ((0, spec.size),)
    others = [name for name in names if name not in few]
    if division == WHOLE:
        return [Sends(names, 1, whole)]
    if division == WITHOUT:
        return [Sends(others, 1, whole)]
    if division == THIN:
        return [Sends(others, 1, whole), Sends(few, 16, whole)]
    head = tuple(t.name for t in spec.tensors[-2:])  # weight and bias of the classifier
    return [Sends(others, 1, whole), Sends(few, 1, ranges_of(spec, head), head)]


@dataclass(frozen=True, slots=True)
class Sends:
    """One tier.

    Attributes:
        names: its clients, 4 or more.
        keep_one_in: one coordinate in so many is sent.
        ranges: coordinates of the model that they train.
        tensors: the same as patterns of names; none: all.
    """

    names: Sequence[str]
    keep_one_in: int
    ranges: Ranges
    tensors: tuple[str, ...] = ()


class ClassRounds:
    """Server and codec side of a federation of tiers; what a subset leaves unsaid is not said later."""

    def __init__(self, tiers: Sequence[Sends], size: int, *, rule: str, seed: int) -> None:
        """For D = `size` parameters; `rule` judges within each tier."""
        self._classes, self._size = tiers, size
        self._rounds = [
            MaskedRounds(
                length_of(one.ranges),
                len(one.names),
                MaskedPlan(keep_one_in=one.keep_one_in, rule=rule, feedback=one.keep_one_in == 1),
                seed=seed,  # the same: tiers of the same tensors share a rotation
            )
            for one in tiers
        ]
        self.excluded = 0

    @property
    def upload_bytes(self) -> list[int]:
        """Codes of one client and round, by tier."""
        return [rounds.upload_bytes for rounds in self._rounds]

    def play(self, deltas: Mapping[str, Flat]) -> Flat:
        """The next round.

        Args:
            deltas: name -> float32 [d] of its tier, of everybody.

        Returns:
            merged mean, float32 [D].
        """
        by_ranges: dict[Ranges, list[Summed]] = {}
        for one, rounds in zip(self._classes, self._rounds, strict=True):
            result = rounds.play({name: deltas[name] for name in one.names})
            self.excluded += len(one.names) - len(result.accepted)
            if result.summed is not None:
                by_ranges.setdefault(one.ranges, []).append(result.summed)
        parts = [
            (_reader(mean_of_sums(sums)), sum(one.weight for one in sums), ranges) for ranges, sums in by_ranges.items()
        ]
        return merged(parts, self._size)(0, self._size) if parts else np.zeros(self._size, dtype=np.float32)


def _reader(values: Flat) -> Mean:
    return lambda start, stop: values[start:stop]


def _line(name: str, found: Mapping[str, Any]) -> str:
    return (
        f"{name:<8} accuracy {found['accuracy']:.3f} ({found.get('points', float('nan')):+.2f} points), "
        f"recall of the two tiers {found['rare_recall']:.3f}, "
        f"bytes of the quarter and of the others {found['upload_bytes']}"
    )


BENCH = Benchmark(TiersOptions, run_tiers_bench, _line)
