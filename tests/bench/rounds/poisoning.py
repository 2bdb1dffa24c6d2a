"""Attacks against defences: whole federations in one process, of the real parts, as a table and a heat map.

K clients, f of them hostile, D parameters. Every pair of attack and defence plays the same rounds with the same data,
weights and seeds. The attackers know everything: all honest updates of the round, n and f.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import typer

from roughfed.deploy.attack.poison import POISONS, Poison
from roughfed.deploy.speed.measure import machine
from roughfed.errors import ConfigError
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.secagg.groups import SMALLEST
from roughfed.server.aggregate.weights import COUNT_CAP
from roughfed.server.defence import PREVIOUS, ROOT
from roughfed.server.defence.plan import tolerated
from tests.bench.command import Benchmark, Seeds, names
from tests.bench.harness.games import played
from tests.bench.harness.hostile import Attackers, hostile_names
from tests.bench.harness.learners import Learners, LearningOptions
from tests.bench.harness.rounds import Downlink, MaskedPlan, MaskedRounds, PlainRounds
from tests.bench.harness.white_box import FORMS, Rehearsal, Stage, WhiteBox
from tests.bench.plots.attack_heat import poisoning_svg, render_poisoning


@dataclass(frozen=True, slots=True)
class Setting:
    """A defence as a federation has it.

    Attributes:
        rule: `defence.rule`.
        sketches: masked, judged by sketches; else by whole updates.
        root: with a root set of 100 examples.
    """

    rule: str
    sketches: bool = False
    root: bool = False


_OTHERS = ("multi-krum", "nnm", "median", "trimmed-mean", "geometric-median", "centered-clipping", "flame", "dnc")

DEFENCES: Mapping[str, Setting] = MappingProxyType(
    {
        "none": Setting("none"),
        "default": Setting("default"),
        "default, root": Setting("default", root=True),
        "none, masked": Setting("none", sketches=True),
        "default, sketches": Setting("default", sketches=True),
        "default, sketches, root": Setting("default", sketches=True, root=True),
        **{name: Setting(name) for name in (*_OTHERS, "norm-bound", "krum", "bulyan", "foolsgold")},
        "fltrust": Setting("fltrust", root=True),
        **{f"{name}, sketches": Setting(name, sketches=True) for name in ("multi-krum", "flame", "dnc")},
    }
)

CLEAN = "no attack"
UNDEFENDED, MASKED = "none", "none, masked"
LARGEST = 1e15
"""Value from which on the squares of an update do not add up in float32."""
SETTLED = 3
"""Rounds at the end whose mean accuracy counts."""

NOISE = "+noise"
NOISY = ("alie", "min-max", "min-sum")
JITTER = 0.5
"""Norm of the noise on colluders' copies, as a share of the update: their answer to a search for copies."""


@dataclass(frozen=True, slots=True)
class PoisoningOptions:
    """Which federations are attacked, and how."""

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(examples=8000, model="cnn-strided", batch_size=32, lr_decay=0.93)
    )
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 3 are averaged.")] = 20
    seeds: Seeds = (0, 1, 2)
    attackers: Annotated[float, typer.Option(help="Share of hostile clients, rounded down.")] = 0.2
    expected: Annotated[float, typer.Option(help="defence.f.")] = 0.2
    attacks: Annotated[
        Sequence[str],
        names('Attacks; with "+noise" for colluders that jitter. "white-box" and "white-box-late" by name alone.'),
    ] = ()
    defences: Annotated[Sequence[str], names("Defences.")] = ()
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


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
        asr: share of the test examples that an attack is about which are taken for its target; 0 without a goal.
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
    if [name for name in wanted if poison_of(name)[0] is not None or name in FORMS]:  # refused here, not elsewhere
        hostile_names([str(number) for number in range(clients)], options.attackers, 0)
    tolerated(options.expected, clients)
    defences = [look_up({n: n for n in DEFENCES}, name, key="--defences") for name in options.defences or DEFENCES]
    for attack, defence in product(FORMS.keys() & set(wanted), defences):
        if not DEFENCES[defence].sketches or DEFENCES[defence].root:
            cause = f"{attack} rehearses masked rounds without a root set, and {defence} is none"
            raise ConfigError(cause, key="--defences", cure='write "default, sketches;none, masked"')
    games = [Game(*one) for one in product(wanted, defences, options.seeds)]
    found: dict[str, dict[str, list[Outcome]]] = {attack: {name: [] for name in defences} for attack in wanted}
    for game, outcome in played(play, games, options):
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


def poison_of(attack: str) -> tuple[Poison | None, float]:
    """What an attack does, and how much noise its copies get.

    Raises:
        ConfigError: no such attack, or noise on what are no copies.
    """
    name = attack.removesuffix(NOISE)
    poison = look_up({CLEAN: None, **POISONS, **dict.fromkeys(FORMS)}, name, key="--attacks")
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
        attacked, form = game.attack != CLEAN, FORMS.get(game.attack)
        hostile = hostile_names(learners.names, options.attackers, game.seed) if attacked else set[str]()
        server = Server(DEFENCES[game.defence], learners, options.expected, game.seed)
        attackers = Attackers(poison, learners, hostile, seed=game.seed, jitter=jitter)
        if form is not None and server.setting.rule == "none":
            form = replace(form, together=math.inf)  # nobody is left out for pulling together
        seers = None if form is None else WhiteBox(form, learners, hostile, rounds=options.rounds, seed=game.seed)
        params = learners.params
        measured: list[tuple[float, float, float]] = []
        for number in range(1, options.rounds + 1):
            learners.hand_out(params)
            root = learners.root_update(number) if server.setting.root else None
            updates = attackers.updates(number, server.last_step)
            if seers is not None:
                updates = seers.updates(Stage(number, params, updates, server.rehearsal(params, hostile)))
            params = server.step(params, updates, root, attackers.claims, uncut=hostile if form else ())
            if number > options.rounds - SETTLED:
                measured.append(learners.measured(params, attackers.goal))
        return outcome_of(measured, server, hostile, len(learners.names))


class Server:
    """The server's half of a federation; nobody tells it who attacks.

    Attributes:
        setting: its defence.
        last_step: what the last round moved the model by; None before there was one.
        excluded: names that were left out, by round.
        rounds: rounds that gave a sum.
    """

    def __init__(self, setting: Setting, learners: Learners, f: float, seed: int) -> None:
        """`f`: of [defence]."""
        size, clients = len(learners.params), len(learners.names)
        self.setting, self.rounds = setting, 0
        self.last_step: Flat | None = None
        self.excluded: list[set[str]] = []
        self._counts = {name: len(share) for name, share in zip(learners.names, learners.shares, strict=True)}
        self._plain = PlainRounds(size, setting.rule, f, seed=seed)
        self._masked = MaskedRounds(size, clients, MaskedPlan(rule=setting.rule, attackers=f), seed=seed)
        self._down = Downlink(size)

    def rehearsal(self, params: Flat, uncut: Collection[str]) -> Rehearsal:
        """What would come of the next rounds, masked, with other secrets of the server's; nothing is changed by it."""

        def played(deltas: Mapping[str, Flat], rounds: int) -> tuple[set[str], Flat | None]:
            copied = self._masked.rehearsal(0)
            first, out = None, set[str]()
            for number in range(rounds):
                result = copied.play(deltas, uncut=uncut)
                out |= result.excluded.keys()
                if number == 0 and result.mean is not None:
                    first = params + result.mean
                if out & set(uncut):
                    break
            return out, first

        return played

    def step(
        self,
        params: Flat,
        deltas: Mapping[str, Flat],
        root: Flat | None,
        claims: Mapping[str, int],
        *,
        uncut: Collection[str] = (),
    ) -> Flat:
        """The next parameters, float32 [D].

        Args:
            params: those that the round begins with.
            deltas: the updates by name.
            root: of the server's own examples.
            claims: false numbers of examples (not masked).
            uncut: who cuts its update to C alone, not to the part of it that is asked for (masked).
        """
        own = {} if root is None else {ROOT: root}
        after = (
            self._on_sketches(params, deltas, own, uncut)
            if self.setting.sketches
            else self._on_updates(params, deltas, own, claims)
        )
        if after is None:
            return params
        self.rounds += 1
        return after

    def _on_updates(
        self, params: Flat, deltas: Mapping[str, Flat], own: Mapping[str, Flat], claims: Mapping[str, int]
    ) -> Flat | None:
        counts = {**self._counts, **claims}

        def weigh(names: Sequence[str]) -> Sequence[float]:
            each = [counts[name] for name in names]
            return np.minimum(each, COUNT_CAP * np.median(each)).tolist()

        last = {} if self.last_step is None else {PREVIOUS: self.last_step}
        result = self._plain.play(deltas, {**own, **last}, weigh=weigh)
        self.excluded.append(set(result.excluded))
        if result.mean is None:
            return None
        self.last_step = result.mean
        return params + result.mean

    def _on_sketches(
        self, params: Flat, deltas: Mapping[str, Flat], own: Mapping[str, Flat], uncut: Collection[str]
    ) -> Flat | None:
        fine = {name: delta for name, delta in deltas.items() if len(delta) == len(params) and _sendable(delta)}
        if len(fine) < SMALLEST:
            self.excluded.append(set(deltas))
            return None
        result = self._masked.play(fine, own, uncut=uncut)
        self.excluded.append((deltas.keys() - fine.keys()) | result.excluded.keys())
        if result.mean is None:
            return None
        after = self._down.after(params, result.mean)
        self.last_step = after - params
        return after


def _sendable(delta: Flat) -> bool:
    """Whether a client could encode it; where a model is ruined, trainings diverge."""
    return bool(np.isfinite(delta).all()) and float(np.abs(delta).max()) < LARGEST


def outcome_of(
    measured: Sequence[tuple[float, float, float]], server: Server, hostile: set[str], clients: int
) -> Outcome:
    """Means of the last rounds, and how many were left out."""
    accuracy, tail, asr = (statistics.fmean(column) for column in zip(*measured, strict=True))
    excluded = [name for names in server.excluded for name in names]
    caught = sum(name in hostile for name in excluded)
    rounds = len(server.excluded)
    from_hostile, from_honest = rounds * len(hostile), rounds * (clients - len(hostile))
    shares = caught / from_hostile if hostile else 0.0, (len(excluded) - caught) / from_honest
    return Outcome(accuracy, tail, asr, *shares, server.rounds)


def _line(name: str, figures: Mapping[str, float]) -> str:
    left_out = f"{figures['excluded_hostile']:.0%} of hostile, {figures['excluded_honest']:.1%} of honest updates"
    accuracy = f"accuracy {figures['accuracy']:.3f} (spread {figures['spread']:.3f})"
    tail = f"tail {figures['tail_accuracy']:.3f}, backdoor {figures['asr']:.2f}"
    return f"{name:<44} {accuracy}, {tail}, left out: {left_out}"


BENCH = Benchmark(PoisoningOptions, run_poisoning_bench, _line, draw={".svg": poisoning_svg, ".html": render_poisoning})
