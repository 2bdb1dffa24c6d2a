"""How well a few evaluations tell what clients are worth: every method against the exact Shapley value, n = 10.

Clients that differ in what they have (examples, wrong labels, classes) train in this process; each round's 2^n models
are all evaluated once, and every method is shown what it asks for and no more. n clients, D parameters, U utilities.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from roughfed.codec.chain import ChainParams
from roughfed.codec.plan import plan_lanes
from roughfed.data import load
from roughfed.data.dataset import Dataset
from roughfed.deploy.speed.measure import machine
from roughfed.masked_round import code_rms, largest_group, sketch_of_update
from roughfed.params import Flat
from roughfed.rng import derive, generator
from roughfed.secagg.groups import colluders
from roughfed.secagg.terms import Terms
from roughfed.server.aggregate.weights import COUNT_CAP
from roughfed.server.defence import ROUNDING, View, view_of_arrays, view_of_claims
from roughfed.server.extensions.contribution import METHODS, NOTHING, Case, State
from roughfed.server.extensions.contribution.game import Known, played
from roughfed.server.extensions.contribution.method import Coalition, Values
from roughfed.server.extensions.contribution.utility import BALANCED, CLASSIFICATION, utilities_of
from tests.bench.command import Benchmark, Seeds, row
from tests.bench.harness.learners import DATA, Learners, LearningOptions
from tests.bench.plots.contribution_bars import contribution_svg

ORACLE = "shapley"
LABELS = (ORACLE, "gtg-shapley", "leave-one-out", "cgsv", "cgsv, sketches")
TAIL = (0, 1)
"""Classes that one client alone has."""

CHUNK = 64
"""Models that are evaluated at once."""

SKETCH = 128
"""Numbers of a sketch: `sketch.dim`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a client has.

    Attributes:
        examples: how many.
        wrong: share of them with a label drawn at random from the same classes.
        classes: of these classes; empty for all but TAIL.
        twin: it is the same in every bit as the first client.
    """

    examples: int
    wrong: float = 0.0
    classes: tuple[int, ...] = ()
    twin: bool = False


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "good": Kind(600),
        "good, twin": Kind(600, twin=True),
        "few": Kind(200),
        "very few": Kind(60),
        "noise 30 %": Kind(600, wrong=0.3),
        "noise 60 %": Kind(600, wrong=0.6),
        "noise 100 %": Kind(600, wrong=1.0),
        "four classes": Kind(600, classes=(2, 3, 4, 5)),
        "three classes": Kind(400, classes=(7, 8, 9)),
        "tail only": Kind(300, classes=TAIL),
    }
)


@dataclass(frozen=True, slots=True)
class ContributionOptions:
    """Which federations are scored."""

    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 10
    seeds: Seeds = (0, 1, 2)
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    examples: Annotated[int, typer.Option(min=10, help="Examples that coalitions are evaluated on.")] = 1000
    budget: Annotated[int, typer.Option(min=3, help="Models that a method may ask for in a round, of 1,024.")] = 51
    lr: Annotated[float, typer.Option(help="Local learning rate.")] = 0.05


@dataclass(frozen=True, slots=True)
class Round:
    """One round that was played.

    Attributes:
        number: from 1.
        deltas: of the clients, float32 [D] each, in the order of KINDS.
        weights: float64 [n].
        table: utilities of all coalitions in the order of CLASSIFICATION, float64 [2^n, U].
    """

    number: int
    deltas: Sequence[Flat]
    weights: Values
    table: NDArray[np.float64]


@dataclass
class Told:
    """What a method said of one federation.

    Attributes:
        states: after each round.
        single: its scores of each round.
        evaluations: of each round.
    """

    states: list[State] = field(default_factory=list[State])
    single: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    evaluations: list[int] = field(default_factory=list[int])

    def totals(self, label: str) -> dict[str, float]:
        """After the last round."""
        return dict(METHODS[row_of(label)].standing(self.states[-1]).totals)


def row_of(label: str) -> str:
    """The method behind a label of LABELS."""
    return label.partition(",")[0]


def run_contribution_bench(
    options: ContributionOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Hold every method against the exact Shapley value.

    Args:
        options: what to measure.
        say: gets each seed's name and figures as soon as they are there.

    Returns:
        the options; `methods`: label -> utility -> figures (over the seeds: `spearman`, `worst_spearman`, that of
        single rounds `round_spearman`, `evaluations` a round, `twins`, the largest difference between the two as a
        share of the largest total); `kinds`: client -> utility or "cosine" -> mean total; `evaluation_seconds`; the
        machine.
    """
    methods: dict[str, dict[str, list[dict[str, float]]]] = {
        label: {utility: [] for utility in CLASSIFICATION} for label in LABELS
    }
    kinds: list[dict[str, dict[str, float]]] = []
    seconds: list[float] = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            federation = Crowd(options, seed, Path(folder))
            told = judged(federation, options)
        for label in LABELS:
            for utility in CLASSIFICATION:
                methods[label][utility].append(against(told, label, utility))
        kinds.append(worth(told))
        seconds.append(federation.evaluation_seconds)
        say(f"seed {seed}", {label: methods[label][BALANCED][-1]["spearman"] for label in LABELS})
    return {
        "bench": "contribution",
        **asdict(options),
        "methods": {label: {u: over_seeds(runs) for u, runs in row.items()} for label, row in methods.items()},
        "kinds": {
            name: {column: float(np.mean([one[name][column] for one in kinds])) for column in kinds[0][name]}
            for name in KINDS
        },
        "evaluation_seconds": float(np.mean(seconds)),
        "machine": machine(),
    }


class Crowd:
    """Ten clients that learn, and the worth of all their coalitions."""

    def __init__(self, options: ContributionOptions, seed: int, folder: Path) -> None:
        """Deal out the data; `folder`: for the trainer's files."""
        learning = LearningOptions(clients=len(KINDS), model=options.model, lr=options.lr)
        self._learners = Learners(learning, seed=seed, folder=folder)
        self._learners.shares = dealt(seed)
        self._options, self._seed = options, seed
        self.evaluation_seconds = 0.0
        """Mean time of one evaluation so far."""

    def rounds(self) -> Iterator[Round]:
        """Play them."""
        params = self._learners.params
        counts = np.array([kind.examples for kind in KINDS.values()], dtype=np.float64)
        weights = np.minimum(counts, COUNT_CAP * np.median(counts))
        weights /= weights.sum()
        spent: list[float] = []
        for number in range(1, self._options.rounds + 1):
            self._learners.hand_out(params)
            deltas = [self._learners.update(at, number) for at in range(len(KINDS))]
            deltas = [deltas[0] if kind.twin else one for kind, one in zip(KINDS.values(), deltas, strict=True)]
            began = time.perf_counter()
            table = self._table(params, np.stack(deltas), weights)
            spent.append((time.perf_counter() - began) / len(table))
            self.evaluation_seconds = float(np.mean(spent))
            yield Round(number, deltas, weights, table)
            params = params + np.average(deltas, axis=0, weights=weights).astype(np.float32)

    def _table(self, params: Flat, rows: Flat, weights: Values) -> NDArray[np.float64]:
        """Utilities of all coalitions, float64 [2^n, U]; `rows` [n, D]."""
        found: list[Values] = []
        for start in range(0, 1 << len(rows), CHUNK):
            shares = np.stack([share_of(coalition, weights) for coalition in range(start, start + CHUNK)])
            models = (params + shares @ rows).astype(np.float32)  # [CHUNK, D]
            found += [
                utilities_of(sums, CLASSIFICATION) for sums in self._learners.sums(models, self._options.examples)
            ]
        return np.stack(found)

    def view(self, label: str, round_: Round) -> View:
        """The rows that a method may compare: updates, or sketches of them."""
        rows = dict(zip(KINDS, round_.deltas, strict=True))
        if label.endswith("sketches"):
            return sketched(rows, derive(self._seed, "contribution", "sketch", round_.number))
        return view_of_arrays(rows, kind="updates")


def share_of(coalition: Coalition, weights: Values) -> Values:
    """The weights of a coalition's members, as in the aggregate of all, [n]."""
    return np.array([weight if coalition >> at & 1 else 0.0 for at, weight in enumerate(weights)])


def dealt(seed: int) -> list[Dataset]:
    """What each client has; no example is in two hands but the twins'."""
    whole, _ = load(DATA)
    rng = generator(seed, "contribution", "dealt")
    left = rng.permutation(len(whole))
    shares: list[Dataset] = []
    for kind in KINDS.values():
        if kind.twin:
            shares.append(shares[0])
            continue
        wanted = kind.classes or tuple(c for c in range(whole.num_classes) if c not in TAIL)
        fits = np.isin(whole.labels[left], wanted)
        mine = left[fits][: kind.examples]
        left = left[~np.isin(left, mine)]
        share = whole.take(mine)
        labels = np.where(rng.random(len(mine)) < kind.wrong, rng.choice(wanted, size=len(mine)), share.labels)
        shares.append(replace(share, y=labels))
    return shares


def sketched(rows: Mapping[str, Flat], seed: int) -> View:
    """The rows as a server sees them behind masks: clipped, rounded, sketched."""
    size = len(next(iter(rows.values())))
    clip = 1.2 * float(np.median([np.linalg.norm(row) for row in rows.values()]))
    lanes, digest = plan_lanes(largest_group(len(rows)), bits=None), hashlib.sha256(str(seed).encode()).digest()
    params = ChainParams(size, lanes, clip, digest, 1)
    unit, blank = code_rms(lanes), bytes(32)
    terms = Terms(
        header_digest=digest,
        previous_header_digest=blank,
        nonce_commitment=blank,
        server_key=blank,
        length=params.sent,
        bits=lanes.bits,
        levels=lanes.levels,
        code_rms=unit,
        dim=SKETCH,
    )
    sketcher = terms.sketcher(digest, colluders(len(rows)))
    claims = {name: sketch_of_update(row, params, sketcher) for name, row in rows.items()}
    return view_of_claims(claims, length=params.sent, norm_unit=terms.norm_unit, rounding=ROUNDING)


def judged(crowd: Crowd, options: ContributionOptions) -> dict[tuple[str, str], Told]:
    """(label, utility) -> what the method said, scoring by that utility."""
    told = {(label, utility): Told() for label in LABELS for utility in CLASSIFICATION}
    for round_ in crowd.rounds():
        for label in LABELS:
            view = crowd.view(label, round_)
            for at, utility in enumerate(CLASSIFICATION):
                note(told[label, utility], label, view, round_, (at, options.budget))
    return told


def note(told: Told, label: str, view: View, round_: Round, how: tuple[int, int]) -> None:
    """Let a method judge a round; `how`: place of the utility in CLASSIFICATION, and the budget."""
    first, budget = how
    columns = [first, *(at for at in range(len(CLASSIFICATION)) if at != first)]
    order = [list(KINDS).index(name) for name in view.names]  # rows are sorted by name
    twin = [
        view.names.index("good") if KINDS[name].twin else at for at, name in enumerate(view.names)
    ]  # "good" is first
    case = Case(
        view.names,
        round_.weights[order],
        view.gram,
        tuple(CLASSIFICATION[at] for at in columns),
        budget,
        round_.number,
        tuple(twin),
    )

    def evaluate(coalitions: Sequence[Coalition]) -> list[Values]:
        moved = [sum(1 << order[at] for at in range(len(order)) if one >> at & 1) for one in coalitions]
        return [round_.table[one][columns] for one in moved]

    row, known = METHODS[row_of(label)], Known(case.twins)
    found = played(row.judge(case), evaluate, known)
    told.states.append(row.fold(told.states[-1] if told.states else NOTHING, found))
    told.single.append({name: parts["round"] for name, parts in found.items()})
    told.evaluations.append(known.evaluations)


def against(told: Mapping[tuple[str, str], Told], label: str, utility: str) -> dict[str, float]:
    """The figures of a method in one federation."""
    mine, exact = told[label, utility], told[ORACLE, utility]
    totals = mine.totals(label)
    single = [spearman(ours, theirs) for ours, theirs in zip(mine.single, exact.single, strict=True)]
    return {
        "spearman": spearman(totals, exact.totals(ORACLE)),
        "round_spearman": float(np.mean(single)),
        "evaluations": float(np.mean(mine.evaluations)),
        "most_evaluations": float(max(mine.evaluations)),
        "twins": abs(totals["good"] - totals["good, twin"]) / max(1e-12, *map(abs, totals.values())),
    }


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the seeds, and the worst ones."""
    return {
        **{name: float(np.mean([run[name] for run in runs])) for name in runs[0]},
        "worst_spearman": min(run["spearman"] for run in runs),
        "most_evaluations": max(run["most_evaluations"] for run in runs),
        "twins": max(run["twins"] for run in runs),
    }


def worth(told: Mapping[tuple[str, str], Told]) -> dict[str, dict[str, float]]:
    """Client -> its exact total by utility, and its CGSV."""
    exact = {utility: told[ORACLE, utility].totals(ORACLE) for utility in CLASSIFICATION}
    cosine = told["cgsv", BALANCED].totals("cgsv")
    return {name: {**{u: exact[u][name] for u in CLASSIFICATION}, "cosine": cosine[name]} for name in KINDS}


def spearman(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    """Rank correlation over the names; equal values share the mean of their ranks."""
    names = sorted(ours)
    a, b = (ranks([values[name] for name in names]) for values in (ours, theirs))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def ranks(values: Sequence[float]) -> Values:
    """Ranks from 0, float64."""
    _, inverse, counts = np.unique(np.array(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]


BENCH = Benchmark(ContributionOptions, run_contribution_bench, row(), draw={".svg": contribution_svg})
