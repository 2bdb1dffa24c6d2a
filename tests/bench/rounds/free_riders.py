"""Free-riders among honest clients: after how many rounds each is flagged, and who else is.

K clients, D parameters: the real tests on the rows that a server sees, real training, the real codec. Three of the
honest ones have nothing but one rare class each, two of them the same one. Nobody is left out: a flag is a note.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from roughfed.data import load
from roughfed.deploy.attack.poison import POISONS, PoisonContext
from roughfed.deploy.attack.poison.scene import noise, norm
from roughfed.deploy.speed.measure import machine
from roughfed.errors import ConfigError, LocalProtocolError
from roughfed.params import Flat
from roughfed.rng import generator
from roughfed.server.defence import PREVIOUS, view_of_arrays
from roughfed.server.defence.passes import marked
from roughfed.server.defence.verdict import State
from roughfed.server.defence.view import View, reader
from roughfed.server.extensions.free_riders.detection import FreeRiderFinding
from roughfed.server.extensions.free_riders.extension import MARKS, SEED, look
from tests.bench.command import Benchmark, Seeds, names, numbers
from tests.bench.harness.games import played
from tests.bench.harness.learners import DATA, TAIL, Learners, LearningOptions
from tests.bench.harness.rounds import Downlink, MaskedPlan, MaskedRounds

Mode = Literal["updates", "sketches"]

KINDS = ("free-zero", "free-noise", "free-replay-global", "free-replay-own", "free-copy")
NOISY = "free-copy+noise"
"""A copy with noise of a tenth of its length on it; for information: it is another update then."""

RIDERS = (*KINDS, NOISY)
NOISE = 0.1
TAIL_ONLY = (40, 80, 120)
"""Examples of the three clients with a single rare class: two of the rarest, one of the next."""

IN_TIME = 3
"""Rounds within which a free-rider is to be flagged."""


@dataclass(frozen=True, slots=True)
class FreeRiderOptions:
    """Which federations are played."""

    learning: LearningOptions = field(
        default_factory=lambda: LearningOptions(
            examples=8000, imbalance=10.0, model="cnn-strided", batch_size=32, lr_decay=0.97
        )
    )
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 50
    seeds: Seeds = (0, 1, 2)
    alphas: Annotated[Sequence[float], numbers("Skews of the Dirichlet division, in place of --alpha.")] = (0.5, 0.1)
    modes: Annotated[Sequence[Mode], names("What the server sees: updates, sketches.")] = ("updates", "sketches")
    dim: Annotated[int, typer.Option(min=64, help="sketch.dim.")] = 128
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


@dataclass(frozen=True, slots=True)
class Game:
    """One federation."""

    mode: Mode
    alpha: float
    seed: int


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        flagged: kind of rider -> round in which it was first flagged; 0 = never. Its first ride is in round 1, but an
            own old update is first sent in round 2.
        rounds: kind of rider -> rounds in which it was flagged.
        false: honest client -> rounds in which it was.
        closest: the most evidence that there ever was against an honest client, in units of what flags.
        accuracy: of the last model.
    """

    flagged: dict[str, int]
    rounds: dict[str, int]
    false: dict[str, int]
    closest: float
    accuracy: float


def run_free_rider_bench(
    options: FreeRiderOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every federation.

    Args:
        options: what to measure.
        say: gets the name and the outcome of each federation as soon as it is played.

    Returns:
        the options; `results`: mode -> kind of rider -> rounds until it was flagged, the median and the most over all
        federations of the mode (0 = never, in one of them at least), and the share in which it was flagged in time;
        honest clients that were flagged, rounds of honest clients in all, the most evidence against one; each
        federation's outcome; the machine.

    Raises:
        ConfigError: fewer clients than riders and tail-only ones.
    """
    if options.learning.clients < len(RIDERS) + len(TAIL_ONLY) + 5:
        cure = f"give {len(RIDERS) + len(TAIL_ONLY) + 5} or more"
        raise ConfigError(f"{options.learning.clients} clients are too few", key="--clients", cure=cure)
    games = [Game(*one) for one in product(options.modes, options.alphas, options.seeds)]
    found: dict[str, list[Outcome]] = {mode: [] for mode in options.modes}
    each: list[dict[str, object]] = []
    for game, outcome in played(play, games, options):
        found[game.mode].append(outcome)
        each.append(asdict(game) | asdict(outcome))
        say(f"{game.mode}, Dirichlet {game.alpha:g}, seed {game.seed}", asdict(outcome))
    honest = options.learning.clients - len(RIDERS)
    results = {mode: _together(outcomes, honest * options.rounds) for mode, outcomes in found.items()}
    return {"bench": "free-riders", **asdict(options), "results": results, "games": each, "machine": machine()}


def _together(outcomes: Sequence[Outcome], honest_rounds: int) -> dict[str, object]:
    riders: dict[str, object] = {}
    for kind in RIDERS:
        after = [outcome.flagged[kind] for outcome in outcomes]
        told = [number for number in after if number]
        riders[kind] = {
            "median": statistics.median(told) if told else 0,
            "most": max(after) if len(told) == len(after) else 0,
            "flagged": len(told) / len(after),
            "in_time": sum(0 < number <= IN_TIME for number in after) / len(after),
        }
    return {
        "riders": riders,
        "false": sum(len(outcome.false) for outcome in outcomes),
        "honest_rounds": honest_rounds * len(outcomes),
        "closest": max(outcome.closest for outcome in outcomes),
    }


def play(game: Game, options: FreeRiderOptions) -> Outcome:
    """One federation, from the first round to the last."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        learners = Learners(replace(options.learning, alpha=game.alpha), seed=game.seed, folder=Path(folder))
        crowd = Crowd(learners, game.seed)
        server = (Masked if game.mode == "sketches" else Clear)(learners, game.seed, options.dim)
        outcome = Outcome(dict.fromkeys(RIDERS, 0), dict.fromkeys(RIDERS, 0), {}, 0.0, 0.0)
        for number in range(1, options.rounds + 1):
            learners.hand_out(server.params)
            found = server.round(crowd.updates(number, server.last_step), crowd.arrival, number)
            _note(outcome, found, crowd.riders, number)
        outcome.accuracy = learners.accuracy(server.params)
        return outcome


def _note(outcome: Outcome, found: FreeRiderFinding, riders: Mapping[str, str], number: int) -> None:
    for name in found.flags:
        if (kind := riders.get(name)) is None:
            outcome.false[name] = outcome.false.get(name, 0) + 1
        else:
            outcome.flagged[kind] = outcome.flagged[kind] or number
            outcome.rounds[kind] += 1
    honest = [max(row.values()) for name, row in found.evidence.items() if name not in riders]
    outcome.closest = max([outcome.closest, *honest])


class Crowd:
    """Who rides, who has one class alone, and what everybody sends."""

    def __init__(self, learners: Learners, seed: int) -> None:
        """Deal out the parts; the tail-only clients get data of their own."""
        rng = generator(seed, "riders")
        order = [learners.names[int(at)] for at in rng.permutation(len(learners.names))]
        self.riders = dict(zip(order, RIDERS, strict=False))
        self.tail_only = order[len(RIDERS) : len(RIDERS) + len(TAIL_ONLY)]
        self._victim = order[len(RIDERS) + len(TAIL_ONLY)]
        self.arrival = {name: place for place, name in enumerate([*reversed(order)])}  # who copies comes later
        self._learners, self._seed, self._first = learners, seed, dict[str, Flat]()
        whole, _ = load(DATA)
        counts = np.bincount(np.concatenate([share.labels for share in learners.shares]), minlength=whole.num_classes)
        rare = [int(c) for c in np.argsort(counts, kind="stable")[:TAIL]]
        for name, classes, size in zip(self.tail_only, (rare[0], rare[0], rare[1]), TAIL_ONLY, strict=True):
            places = rng.choice(np.flatnonzero(whole.labels == classes), size, replace=False)
            learners.shares[learners.names.index(name)] = whole.take(np.sort(places))

    def updates(self, number: int, last_step: Flat | None) -> dict[str, Flat]:
        """What everybody sends in a round, float32 [D] by name."""
        trained = {
            name: self._learners.update(at, number)
            for at, name in enumerate(self._learners.names)
            if name not in self.riders or (self.riders[name] == "free-replay-own" and number == 1)
        }
        honest = np.stack([delta for name, delta in trained.items() if name not in self.riders])
        sent = dict(trained)
        for name, kind in self.riders.items():
            rng = generator(self._seed, "rider", name, number)
            sent[name] = self._ridden(name, kind, (honest, trained, last_step), rng)
        return {name: sent[name] for name in self._learners.names}

    def _ridden(
        self, name: str, kind: str, known: tuple[Flat, Mapping[str, Flat], Flat | None], rng: np.random.Generator
    ) -> Flat:
        honest, trained, last_step = known
        if kind.startswith("free-copy"):
            copy = trained[self._victim].copy()
            return copy + noise(len(copy), NOISE * norm(copy), rng) if kind == NOISY else copy
        own = trained.get(name, np.zeros(honest.shape[1], dtype=np.float32))
        scene = PoisonContext(
            honest, own, len(self._learners.names), len(RIDERS), rng, last_step, last_own=self._first.get(name)
        )
        made = POISONS[kind].craft(scene)
        self._first.setdefault(name, made)
        return made


class Clear:
    """A server that sees updates: their weighted mean is the step."""

    def __init__(self, learners: Learners, seed: int, dim: int) -> None:
        """`dim` is of sketches."""
        del dim
        self.params = learners.params
        self.last_step: Flat | None = None
        self._counts = {name: len(share) for name, share in zip(learners.names, learners.shares, strict=True)}
        self._state: State = {SEED: np.array([float(seed)])}

    def round(self, updates: Mapping[str, Flat], arrival: Mapping[str, int], number: int) -> FreeRiderFinding:
        """Look for free-riders, and add up."""
        extras = {} if self.last_step is None else {PREVIOUS: self.last_step}
        view = view_of_arrays(updates, kind="updates", extras=extras)
        rows = [reader(updates[name]) for name in view.names]
        marks = marked(rows, len(self.params), MARKS, int(self._state[SEED][0]))
        found = self._look(view, marks, arrival, number)
        cap = 3 * np.median(list(self._counts.values()))
        weights = [min(self._counts[name], cap) for name in updates]
        self._move(np.average(list(updates.values()), axis=0, weights=weights).astype(np.float32))
        return found

    def _look(self, view: View, marks: np.ndarray | None, arrival: Mapping[str, int], number: int) -> FreeRiderFinding:
        places = np.array([arrival[name] for name in view.names])
        found, self._state = look(view, marks, places, self._state, number)
        return found

    def _move(self, step: Flat) -> None:
        self.last_step, self.params = step, self.params + step


class Masked(Clear):
    """A server that sees sketches, and the sum."""

    def __init__(self, learners: Learners, seed: int, dim: int) -> None:
        """`dim`: numbers of a sketch."""
        super().__init__(learners, seed, dim)
        self._rounds = MaskedRounds(len(self.params), len(learners.names), MaskedPlan(dim=dim), seed=seed)
        self._down = Downlink(len(self.params))

    def round(self, updates: Mapping[str, Flat], arrival: Mapping[str, int], number: int) -> FreeRiderFinding:
        """See Clear."""
        own = {} if self.last_step is None else {PREVIOUS: self.last_step}
        result = self._rounds.play(updates, own)
        view = self._rounds.view
        if view is None:
            raise LocalProtocolError("a round was played, and its rows are not there")
        found = self._look(view, None, arrival, number)
        if result.mean is not None:
            after = self._down.after(self.params, result.mean)
            self.last_step, self.params = after - self.params, after
        return found


def _line(name: str, found: Mapping[str, Any]) -> str:
    after = ", ".join(f"{kind} {number or 'never'}" for kind, number in found["flagged"].items())
    honest = ", ".join(f"{client} in {rounds}" for client, rounds in found["false"].items()) or "nobody"
    return f"{name}: {after}; honest: {honest} (closest {found['closest']:.2f}); accuracy {found['accuracy']:.3f}"


BENCH = Benchmark(FreeRiderOptions, run_free_rider_bench, _line)
