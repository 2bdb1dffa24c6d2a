"""Attacks against defences: whole federations in one process, of the real parts, as a table and a heat map.

K clients, f of them hostile, D parameters. Every pair of attack and defence plays the same rounds with the same data,
weights and seeds. The attackers know everything: all honest updates of the round, n and f.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

from roughfed.deploy.attack.poison import POISONS, Poison
from roughfed.deploy.attack.poison.labels import TARGET
from roughfed.deploy.bench.hostile import Attackers, hostile_names
from roughfed.deploy.bench.learning import Learners, LearningOptions
from roughfed.deploy.bench.measure import machine
from roughfed.deploy.bench.poisoned_rounds import DEFENCES, Defended, defended
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.server.defence.plan import tolerated

CLEAN = "no attack"
UNDEFENDED, MASKED = "none", "none, masked"
SETTLED = 3
"""Rounds at the end whose mean accuracy counts."""

NOISE = "+noise"
NOISY = ("alie", "min-max", "min-sum")
JITTER = 0.5
"""Norm of the noise on colluders' copies, as a share of the update: their answer to a search for copies."""


@dataclass(frozen=True, slots=True)
class PoisoningOptions:
    """What to measure.

    Attributes:
        learning: data, model and local training.
        rounds: R.
        seeds: which seeds each pair is played with.
        attackers: share of hostile clients, rounded down.
        expected: `defence.f`.
        attacks: rows of POISONS, with "+noise" for colluders that jitter; empty for all that a round can show.
        defences: rows of DEFENCES; empty for all.
        workers: processes.
    """

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(examples=8000, model="cnn-strided", batch_size=32, lr_decay=0.93)
    )
    rounds: int = 20
    seeds: Sequence[int] = (0, 1, 2)
    attackers: float = 0.2
    expected: float = 0.2
    attacks: Sequence[str] = ()
    defences: Sequence[str] = ()
    workers: int = 2


@dataclass(frozen=True, slots=True)
class Game:
    """One federation to be played: an attack against a defence with a seed."""

    attack: str
    defence: str
    seed: int


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        accuracy: of the last rounds, 0..1.
        tail_accuracy: mean recall over the three classes with fewest examples, likewise.
        asr: share of the other classes' test examples that a patch turns into the target class; 0 without a backdoor.
        excluded_hostile: share of the hostile updates that was left out, over all rounds; 0 where nobody attacks.
        excluded_honest: share of the honest updates that was left out.
        rounds: rounds that gave a sum.
    """

    accuracy: float
    tail_accuracy: float
    asr: float
    excluded_hostile: float
    excluded_honest: float
    rounds: int


def attacks() -> list[str]:
    """All attacks that a round can show, and the noisy copies; what admission refuses is one row of them."""
    return [CLEAN, *(name for name in POISONS if name != "wrong-shape"), *(f"{name}{NOISE}" for name in NOISY)]


def run_poisoning_bench(
    options: PoisoningOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every pair with every seed.

    Args:
        options: what to measure.
        say: gets each pair's name and figures as soon as all its seeds are there.

    Returns:
        the options; `results`: attack -> defence -> figures (means over the seeds; `delta_clean` and
        `delta_undefended` in points); `clean`: defence -> figures without attackers; the machine.

    Raises:
        ConfigError: an unknown attack or defence, or shares of attackers that cannot be.
    """
    wanted = list(options.attacks or attacks())
    clients = options.learning.clients
    if [name for name in wanted if poison_of(name)[0] is not None]:  # refused here, not in another process
        hostile_names([str(number) for number in range(clients)], options.attackers, 0)
    tolerated(options.expected, clients)
    defences = [look_up({n: n for n in DEFENCES}, name, key="--defences") for name in options.defences or DEFENCES]
    games = [Game(*one) for one in product(wanted, defences, options.seeds)]
    found: dict[str, dict[str, list[Outcome]]] = {attack: {name: [] for name in defences} for attack in wanted}
    for game, outcome in played(games, options):
        runs = found[game.attack][game.defence]
        runs.append(outcome)
        if len(runs) == len(options.seeds):
            say(f"{game.attack} / {game.defence}", means(runs))
    table = {attack: {name: means(runs) for name, runs in row.items()} for attack, row in found.items()}
    compare(table)
    results = {attack: row for attack, row in table.items() if attack != CLEAN}
    return {
        "bench": "poisoning",
        **asdict(options),
        "results": results,
        "clean": table.get(CLEAN, {}),
        "machine": machine(),
    }


def played(games: Sequence[Game], options: PoisoningOptions) -> Iterator[tuple[Game, Outcome]]:
    """Every game with its outcome, in order."""
    if options.workers == 1:
        yield from ((game, play(game, options)) for game in games)
        return
    with ProcessPoolExecutor(options.workers) as pool:
        yield from zip(games, pool.map(play, games, [options] * len(games)), strict=True)


def poison_of(attack: str) -> tuple[Poison | None, float]:
    """What an attack does, and how much noise its copies get.

    Raises:
        ConfigError: no such attack, or noise on what are no copies.
    """
    name = attack.removesuffix(NOISE)
    poison = look_up({CLEAN: None, **POISONS}, name, key="--attacks")
    if name == attack:
        return poison, 0.0
    if poison is None or not poison.colludes:
        raise ConfigError(f"{attack}: {name} makes no copies that could differ", key="--attacks", cure=name)
    return poison, JITTER


def means(runs: Sequence[Outcome]) -> dict[str, float]:
    """Means over the seeds, and the spread of the accuracy: largest minus smallest."""
    figures = {name: statistics.fmean(getattr(run, name) for run in runs) for name in asdict(runs[0])}
    settled = [run.accuracy for run in runs]
    return {**figures, "spread": max(settled) - min(settled), "lowest": min(settled)}


def compare(table: Mapping[str, dict[str, dict[str, float]]]) -> None:
    """Add to each cell how far it is from the undefended model without an attack, and from that under the same one.

    The second is the masked one for defences on sketches where it was played, so that the codec is in neither.
    """
    clean = table.get(CLEAN, {}).get(UNDEFENDED)
    for row in table.values():
        for label, cell in row.items():
            undefended = row.get(MASKED if "sketches" in label and MASKED in row else UNDEFENDED)
            for name, other in (("delta_clean", clean), ("delta_undefended", undefended)):
                if other is not None:
                    cell[name] = 100 * (cell["accuracy"] - other["accuracy"])


def play(game: Game, options: PoisoningOptions) -> Outcome:
    """One federation, from the first round to the last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        learners = Learners(options.learning, seed=game.seed, folder=Path(folder))
        poison, jitter = poison_of(game.attack)
        hostile = hostile_names(learners.names, options.attackers, game.seed) if poison is not None else set[str]()
        server = defended(game.defence, learners, options.expected, game.seed)
        attackers = Attackers(poison, learners, hostile, seed=game.seed, jitter=jitter)
        params = learners.initial()
        measured: list[tuple[float, float, float]] = []
        for number in range(1, options.rounds + 1):
            learners.hand_out(params)
            root = learners.root_delta(number) if server.wants_root else None
            params = server.step(params, attackers.updates(number, server.last_step), root, attackers.claims)
            if number > options.rounds - SETTLED:
                measured.append(learners.measured(params, attackers.trigger))
        return outcome_of(measured, server, hostile, len(learners.names))


def outcome_of(
    measured: Sequence[tuple[float, float, float]], server: Defended, hostile: set[str], clients: int
) -> Outcome:
    """Means of the last rounds, and how many were left out."""
    accuracy, tail, asr = (statistics.fmean(column) for column in zip(*measured, strict=True))
    excluded = [name for names in server.excluded for name in names]
    caught = sum(name in hostile for name in excluded)
    rounds = len(server.excluded)
    from_hostile, from_honest = rounds * len(hostile), rounds * (clients - len(hostile))
    shares = caught / from_hostile if hostile else 0.0, (len(excluded) - caught) / from_honest
    return Outcome(accuracy, tail, asr, *shares, server.rounds)


__all__ = ["CLEAN", "TARGET", "PoisoningOptions", "attacks", "run_poisoning_bench"]
