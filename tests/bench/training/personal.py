"""Models of one's own against the common one and against none: every method for every client, side by side.

K clients. One run without private tensors gives three rows: the common model, the same after fine-tuning, and what each
client trained without the others. Every row is what a client gets right of its own test part after the last round.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.speed.measure import machine
from roughfed.registry import look_up
from tests.bench.command import Benchmark, Seeds, names, numbers, row
from tests.bench.harness.games import played
from tests.bench.plots.personal_bars import personal_svg
from tests.bench.training.personal_clients import LocalOptions, PersonalClients

if TYPE_CHECKING:
    from torch import nn

GLOBAL, ALONE, TUNED = "FedAvg", "local only", "FedAvg + fine-tuning"
WORST = 0.1

HEAD, NORMS = "head", "norms"


@dataclass(frozen=True, slots=True)
class Row:
    """A method of the table.

    Attributes:
        method: `trainer.method`.
        private: which tensors stay with the clients: HEAD, NORMS, or none.
        more_epochs: local passes beyond everybody's.
    """

    method: str = "plain"
    private: str = ""
    more_epochs: int = 0


ROWS: Mapping[str, Row] = {
    GLOBAL: Row(),
    "FedPer": Row(private=HEAD),
    "FedRep": Row("fedrep", private=HEAD, more_epochs=1),
    "FedBN": Row(private=NORMS),
    "Ditto": Row("ditto(lambda=1.0)"),
    "Ditto, weak": Row("ditto(lambda=0.1)"),
    "FedALA": Row("adaptive-mixing"),
}
"""What is run; the first one gives the rows ALONE and TUNED as well."""


@dataclass(frozen=True, slots=True)
class PersonalOptions:
    """Which clients, and how unlike they are."""

    local: LocalOptions = field(default_factory=LocalOptions)
    alphas: Annotated[Sequence[float], numbers("Skews of the Dirichlet division; smaller is more skewed.")] = (0.1, 5.0)
    seeds: Seeds = (0, 1, 2)
    methods: Annotated[Sequence[str], names("Rows.")] = ()
    tuned: Annotated[int, typer.Option(min=1, help="Epochs of fine-tuning before the common model is used.")] = 3
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


Accuracies = dict[str, list[float]]
"""By row of the table: each client's, 0..1, in the clients' order."""

EXAMPLES = "test examples"
"""In the place of a row: how many each client has."""


def run_personal_bench(
    options: PersonalOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every method on every division with every seed.

    Args:
        options: what to measure.
        say: gets each federation's name and mean accuracies as soon as it is over.

    Returns:
        the options; `results`: alpha -> row -> figures over clients and seeds (`figures`); `clients`: the same by
        seed -> every client's accuracy; `left_out`: rows that this model cannot have, and why; the machine.

    Raises:
        ConfigError: an unknown method.
    """
    named = [look_up({n: n for n in ROWS}, name, key="--methods") for name in options.methods or ROWS]
    left_out = {} if norms_of(options.local) else {"FedBN": f"{options.local.model} has no normalisation layers"}
    games = [Game(*one) for one in product(options.alphas, options.seeds, [n for n in named if n not in left_out])]
    found: dict[float, dict[int, Accuracies]] = {a: {s: {} for s in options.seeds} for a in options.alphas}
    for game, accuracies in played(play, games, options):
        found[game.alpha][game.seed].update(accuracies)
        means = {row: statistics.fmean(values) for row, values in accuracies.items() if row != EXAMPLES}
        say(f"alpha {game.alpha:g}, seed {game.seed}, {game.row}", means)
    return {
        "bench": "personal",
        **asdict(options),
        "results": {f"{alpha:g}": table_of(by_seed) for alpha, by_seed in found.items()},
        "clients": {f"{alpha:g}": by_seed for alpha, by_seed in found.items()},
        "left_out": left_out,
        "machine": machine(),
    }


@dataclass(frozen=True, slots=True)
class Game:
    """One federation to be played."""

    alpha: float
    seed: int
    row: str


def play(game: Game, options: PersonalOptions) -> Accuracies:
    """One federation, from the first round to the last."""
    row = ROWS[game.row]
    local = replace(options.local, epochs=options.local.epochs + row.more_epochs)
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        clients = PersonalClients(
            local, lambda model: patterns(model, row.private), alpha=game.alpha, seed=game.seed, folder=Path(folder)
        )
        for number in range(1, local.rounds + 1):
            clients.round(number, row.method, alone=game.row == GLOBAL)
        after = local.rounds + 1
        found = {game.row: clients.accuracies(after, row.method)}
        found[EXAMPLES] = [float(test.num_examples) for test in clients.test.values()]
        if game.row == GLOBAL:
            found[TUNED] = clients.accuracies(after, f"fine-tune(epochs={options.tuned})")
            found[ALONE] = clients.alone()
        return found


def table_of(by_seed: Mapping[int, Accuracies]) -> dict[str, dict[str, float]]:
    """The figures of every row, means over the seeds."""
    rows = [row for row in next(iter(by_seed.values()), {}) if row != EXAMPLES]
    return {row: means([figures(row, found) for found in by_seed.values()]) for row in rows}


def figures(row: str, found: Accuracies) -> dict[str, float]:
    """Of one row and one seed.

    Returns:
        mean over the clients, pooled (over their test examples, as PFLlib counts), std, worst10 and best10 (means over
        a tenth of the clients), and worse_than_alone, the share of clients that got less right than with what they
        trained without the others; all 0..1.
    """
    accuracies, alone = found[row], found.get(ALONE)
    ranked = sorted(accuracies)
    tenth = max(1, round(WORST * len(ranked)))
    told = {
        "mean": statistics.fmean(ranked),
        "pooled": statistics.fmean(accuracies, weights=found[EXAMPLES]),
        "std": statistics.pstdev(ranked),
        "worst10": statistics.fmean(ranked[:tenth]),
        "best10": statistics.fmean(ranked[-tenth:]),
    }
    if alone is not None:
        told["worse_than_alone"] = statistics.fmean(a < b for a, b in zip(accuracies, alone, strict=True))
    return told


def means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over the seeds, and the spread of the mean: largest minus smallest."""
    middle = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
    every = [run["mean"] for run in runs]
    return {**middle, "spread": max(every) - min(every)}


def norms_of(local: LocalOptions) -> list[str]:
    """Patterns of a model's normalisation layers; none where it has none."""
    from roughfed import models

    return patterns(models.build(local.model, (1, 28, 28), 10, 0), NORMS)


def patterns(model: nn.Module, which: str) -> list[str]:
    """Patterns of the names of the last layer, or of all normalisation layers."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    kinds = {HEAD: (nn.Linear,), NORMS: (_BatchNorm, nn.GroupNorm, nn.LayerNorm)}.get(which, ())
    names = [f"{name}.*" for name, module in model.named_modules() if isinstance(module, kinds)]
    return names[-1:] if which == HEAD else names


BENCH = Benchmark(PersonalOptions, run_personal_bench, row(width=32), draw={".svg": personal_svg})
