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

import numpy as np

from roughfed.classes import ranges_of
from roughfed.deploy.bench.class_rounds import ClassRounds, Sends
from roughfed.deploy.bench.learning import Learners, LearningOptions
from roughfed.deploy.bench.measure import machine
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.rng import generator
from roughfed.secagg.groups import SMALLEST
from roughfed.types import Spec

SETTLED = 3
"""Rounds at the end whose mean accuracy counts."""

RARE = 2
"""Classes of examples that the quarter holds most of, where it is chosen by them."""

WHOLE, THIN, HEADS, WITHOUT = "all", "thin", "heads", "without"
DIVISIONS = {
    WHOLE: "everybody sends everything",
    THIN: "a quarter sends one rotated coordinate in 16",
    HEADS: "a quarter trains and sends the classifier alone",
    WITHOUT: "the quarter takes no part",
}


@dataclass(frozen=True, slots=True)
class ClassesOptions:
    """What to measure.

    Attributes:
        learning: data, model and local training.
        rounds: R.
        seeds: which seeds each division is played with.
        divisions: rows of DIVISIONS; empty for all.
        rare: the quarter are the clients that hold most of the first two classes; otherwise it is drawn.
        rule: defence.rule, within each class.
    """

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(
            clients=28, examples=8000, model="cnn-strided", batch_size=32, lr_decay=0.93
        )
    )
    rounds: int = 20
    seeds: Sequence[int] = (0, 1, 2)
    divisions: Sequence[str] = ()
    rare: bool = False
    rule: str = "none"


@dataclass
class Outcome:
    """What came of one federation.

    Attributes:
        accuracy: of the last rounds, 0..1.
        rare_recall: the same on the two classes alone.
        upload_bytes: of a client of the quarter, and of one of the others, in a round.
        excluded: updates that did not count, over all rounds.
    """

    accuracy: float
    rare_recall: float
    upload_bytes: tuple[int, int]
    excluded: int


def run_classes_bench(
    options: ClassesOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
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
    return {"bench": "classes", **asdict(options), "results": results, "machine": machine()}


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


def play(division: str, seed: int, options: ClassesOptions) -> Outcome:
    """One federation, from the first round to the last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        learners = Learners(options.learning, seed=seed, folder=Path(folder))
        params = learners.initial()
        classes = classes_of(division, quarter(learners, seed, rare=options.rare), learners.names, learners.spec)
        rounds = ClassRounds(classes, len(params), rule=options.rule, seed=seed)
        measured: list[tuple[float, float]] = []
        for number in range(1, options.rounds + 1):
            learners.hand_out(params)
            deltas = {
                name: learners.delta(learners.names.index(name), number, tensors=one.tensors)
                for one in classes
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
