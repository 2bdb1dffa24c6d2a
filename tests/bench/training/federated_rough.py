"""What a federation makes of rough data by sums: finished classifiers, and clients that doubt themselves.

Both protocols run in one process with the trainer's own loop, on Fashion-MNIST, tested on its 10,000 test images, and
without masks, which change no sum. 10 clients, Dirichlet(0.5), a perceptron of 256 units (203,530 parameters), batch
64, learning rate 0.05 * 0.98^r, momentum 0.9, 30 rounds.

* tail: 14,886 images, imbalance 100, classes reversed, one epoch a round; what the server finishes from sums
  (`trainer.calibrate`) beside what the training gave.
* noise: 6,000 images, half of the clients with 60 % of wrong labels, five epochs a round; clients hold their losses
  against the cohort's histograms, weigh themselves down, and follow the global model.

C classes.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from roughfed.data import Dataset, load
from roughfed.data.partition import PARTITIONERS
from roughfed.data.rough import long_tail, mislabelled
from roughfed.data.roughness import NOISE_MAPS
from roughfed.deploy.speed.measure import machine
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.rng import derive, generator
from roughfed.secagg.statistics import CLASS_LOSS_BUCKETS, add
from roughfed.server.extensions.calibration import HEAD, finishing_sums
from tests.bench.command import Benchmark, Seeds, names, row
from tests.bench.harness.federation import LocalFederation

if TYPE_CHECKING:
    from torch import nn

    from roughfed.client.trainer.training.classifier_sums import Classifier

DATA = "fashion-mnist"
CLIENTS, ALPHA, MIN_EXAMPLES = 10, 0.5, 10
IMBALANCE, NOISY_IMAGES, RATE, NOISY_EPOCHS = 100, 6000, 0.6, 5
WIDTH = 256
ROUNDS = 30
LEARNING: Mapping[str, object] = {"batch_size": 64, "lr": 0.05, "momentum": 0.9, "lr_decay": 0.98}

FEATURES = ("feature-count", "feature-sum", "feature-outer")
DOUBTED = "class-loss-histogram"


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the tables.

    Attributes:
        method: parts of the training.
        noise: kind of wrong labels; empty: the long tail.
        prior: local or global class shares.
        finish: what the server makes of the last version: ccvr or post-hoc.
        creff: whether it re-trains the classifier in every round.
        self_weight: whether clients may weigh themselves down.
        clean: the same clients without wrong labels.
    """

    method: str = "plain"
    noise: str = ""
    prior: str = "local"
    finish: tuple[str, ...] = ()
    creff: bool = False
    self_weight: bool = False
    clean: bool = False


DISTILLED = "global-distillation"

CONDITIONS: Mapping[str, Condition] = {
    "tail, plain": Condition(finish=("ccvr", "post-hoc")),
    "tail, plain, creff": Condition(creff=True),
    "tail, balanced-softmax, local prior": Condition("balanced-softmax", finish=("ccvr",)),
    "tail, balanced-softmax, global prior": Condition("balanced-softmax", prior="global", finish=("ccvr",)),
    "tail, balanced-softmax, global prior, creff": Condition("balanced-softmax", prior="global", creff=True),
    "clean labels, plain": Condition(noise="symmetric", clean=True),
    **{
        f"{kind}, {name}": replace(row, noise=kind)
        for kind in ("symmetric", "asymmetric")
        for name, row in {
            "plain": Condition(),
            "plain, self-weight": Condition(self_weight=True),
            "gce": Condition("gce"),
            "gce, self-weight": Condition("gce", self_weight=True),
            "global-distillation": Condition(DISTILLED),
            "global-distillation, self-weight": Condition(DISTILLED, self_weight=True),
            "gce+global-distillation, self-weight": Condition(f"gce+{DISTILLED}", self_weight=True),
        }.items()
    },
}


@dataclass(frozen=True, slots=True)
class FederatedRoughOptions:
    """Which federations of rough data learn."""

    seeds: Seeds = (0, 1, 2)
    conditions: Annotated[Sequence[str], names("Rows, or beginnings of their names.")] = ()
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = ROUNDS


Figures = dict[str, float]


@dataclass
class Scene:
    """One federation of a condition.

    Attributes:
        condition: of it.
        seed: of everything.
        shares: training data of each client.
        test: what it is tested on.
        noisy: clients with wrong labels.
        told: balanced, tail and worst recall, and so on, by what was finished how.
    """

    condition: Condition
    seed: int
    shares: list[Dataset]
    test: Dataset
    noisy: set[int]
    told: dict[str, Figures] = field(default_factory=dict[str, Figures])

    @property
    def counts(self) -> list[int]:
        """Training examples of each class."""
        return np.bincount(np.concatenate([s.labels for s in self.shares]), minlength=self.test.num_classes).tolist()

    @property
    def owners(self) -> list[int]:
        """Clients that have each class."""
        return np.sum(
            [np.bincount(s.labels, minlength=self.test.num_classes) > 0 for s in self.shares], axis=0
        ).tolist()


def run_federated_rough_bench(
    options: FederatedRoughOptions, *, say: Callable[[str, Mapping[str, object]], None]
) -> dict[str, object]:
    """Play every condition with every seed.

    Args:
        options: what to measure.
        say: gets each row's name and figures as soon as they are there.

    Returns:
        `results`: row -> means over the seeds and `by_seed`; the seeds, the rounds and the machine.

    Raises:
        ConfigError: Fashion-MNIST is not here, or no such condition.
    """
    found: dict[str, object] = {}
    for name in chosen(options.conditions):
        runs = [play(CONDITIONS[name], seed=seed, rounds=options.rounds) for seed in options.seeds]
        for finished in runs[0]:
            row = f"{name}, {finished}" if finished else name
            each = [run[finished] for run in runs]
            means = {key: statistics.fmean(one[key] for one in each) for key in each[0]}
            found[row] = one = {**means, "by_seed": each}
            say(row, one)
    return {
        "bench": "federated-rough",
        "seeds": list(options.seeds),
        "rounds": options.rounds,
        "results": found,
        "machine": machine(),
    }


def chosen(wanted: Sequence[str]) -> list[str]:
    """The rows that are named, or whose names begin so."""
    if not wanted:
        return list(CONDITIONS)
    found = [name for name in CONDITIONS if any(name.startswith(want) for want in wanted)]
    if not found:
        look_up(CONDITIONS, wanted[0], key="conditions")  # refused by name
    return found


def play(condition: Condition, *, seed: int, rounds: int = ROUNDS) -> dict[str, Figures]:
    """One federation: what it learnt, by what was finished how ("" is the training alone)."""
    scene = noise_scene(condition, seed) if condition.noise else tail_scene(condition, seed)
    settings = {
        **LEARNING,
        "method": condition.method,
        "prior": condition.prior,
        "self_weight": condition.self_weight,
        "epochs": NOISY_EPOCHS if condition.noise else 1,
    }
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as folder:
        federation = LocalFederation(
            lambda: build(scene),
            scene.shares,
            Path(folder),
            num_classes=scene.test.num_classes,
            seed=seed,
            settings=settings,
        )
        driver = (Doubting if condition.noise else Finishing)(federation, scene, rounds)
        federation.run(rounds, after=driver.after, weigh=condition.self_weight)
        scene.told[""] = {**measured(federation, scene), **scene.told.get("", {})}
        driver.end()
    return scene.told


def tail_scene(condition: Condition, seed: int) -> Scene:
    """The long tail, divided."""
    whole, test = load(DATA)
    order = list(reversed(range(whole.num_classes)))
    train = whole.take(long_tail(whole.labels, IMBALANCE, generator(seed, "long-tail", "examples"), order))
    return Scene(condition, seed, divided(train, generator(seed, "long-tail", "partition")), test, set())


def noise_scene(condition: Condition, seed: int) -> Scene:
    """A sample, divided, and half of the clients with wrong labels."""
    whole, test = load(DATA)
    order = generator(seed, "federated-noise", "examples").permutation(len(whole))
    train = whole.take(np.sort(order[:NOISY_IMAGES]))
    shares = divided(train, generator(seed, "federated-noise", "partition"))
    noisy = set(generator(seed, "federated-noise", "clients").permutation(CLIENTS)[: CLIENTS // 2].tolist())
    for index in set[int]() if condition.clean else noisy:
        rng = generator(seed, "federated-noise", index)
        shares[index] = mislabelled(shares[index], condition.noise, RATE, rng, NOISE_MAPS.get(DATA))
    return Scene(condition, seed, shares, test, noisy)


def divided(train: Dataset, rng: np.random.Generator) -> list[Dataset]:
    """What each client holds."""
    parts = PARTITIONERS["dirichlet"].split(train.labels, CLIENTS, rng, min_examples=MIN_EXAMPLES, alpha=ALPHA)
    return [train.take(part) for part in parts]


def build(scene: Scene) -> nn.Module:
    """The network of the protocols, with seeded weights."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scene.seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, WIDTH), nn.ReLU(), nn.Linear(WIDTH, scene.test.num_classes))


def measured(federation: LocalFederation, scene: Scene, params: Flat | None = None) -> Figures:
    """Recalls on the test part, 0..1; of the long tail by groups: 3 head, 4 medium and 3 tail classes."""
    table = federation.confusion(scene.test, params)
    recall = table.diagonal() / table.sum(axis=1)
    found = {"balanced": float(recall.mean()), "worst": float(recall.min())}
    if not scene.condition.noise:
        found |= {"head": recall[7:].mean(), "medium": recall[3:7].mean(), "tail": recall[:3].mean()}
    return {name: float(value) for name, value in found.items()}


class Finishing:
    """The server's side of the long tail: asks for sums, and makes classifiers of them."""

    def __init__(self, federation: LocalFederation, scene: Scene, rounds: int) -> None:
        """Before the first round."""
        self._federation, self._scene, self._rounds = federation, scene, rounds
        counts = scene.counts
        self._facts: dict[str, Sequence[float]] = {"class-prior": [n / sum(counts) for n in counts]}
        self._at = self._made = self._classifier()
        self._kept: dict[str, Any] = {}
        self._ask(1)

    def after(self, number: int) -> None:
        """After a round."""
        if self._scene.condition.creff:
            self._made = self._finished("creff", number)
            self._facts[HEAD] = self._made.flat()
            self._at = self._made
        self._ask(number + 1)

    def end(self) -> None:
        """After the last round."""
        made = {how: self._finished(how, 0) for how in self._scene.condition.finish}
        made |= {"creff": self._made} if self._scene.condition.creff else {}
        for how, classifier in made.items():
            self._scene.told[how] = measured(self._federation, self._scene, self._with(classifier))

    def _ask(self, number: int) -> None:
        federation, condition = self._federation, self._scene.condition
        features = FEATURES if number == self._rounds and "ccvr" in condition.finish else ()
        federation.facts, federation.wanted = self._facts, (("head-gradient",) if condition.creff else features)

    def _finished(self, how: str, number: int) -> Classifier:
        import torch

        from roughfed.client.trainer.calibrate import FINISHERS
        from roughfed.client.trainer.training.classifier_sums import CohortSums

        told = [client.last.statistics for client in self._federation.clients if client.last is not None]
        sums = {**add(told), "trained": (len(told),), "class-count": tuple(self._scene.counts)}
        real = finishing_sums(how, sums, self._scene.owners)
        draws = torch.Generator().manual_seed(derive(self._scene.seed, "calibrate", number))
        return FINISHERS[how](CohortSums(self._classifier(), real, draws, self._at, self._kept))

    def _classifier(self) -> Classifier:
        import torch

        from roughfed.client.trainer.training.classifier_sums import Classifier

        flat, classes = self._federation.params, self._scene.test.num_classes
        end = torch.from_numpy(flat[-(WIDTH + 1) * classes :])
        return Classifier(end[:-classes].reshape(classes, WIDTH).clone(), end[-classes:].clone())

    def _with(self, classifier: Classifier) -> Flat:
        """The parameters with another classifier: it is what they end in."""
        flat = self._federation.params.copy()
        made = np.array(classifier.flat(), dtype=np.float32)
        flat[-len(made) :] = made
        return flat


class Doubting:
    """The server's side of noise: asks for histograms as often as a run may, and makes their sum known."""

    def __init__(self, federation: LocalFederation, scene: Scene, rounds: int) -> None:
        """Before the first round."""
        self._federation, self._scene = federation, scene
        self._due = (
            {max(2, round(rounds * at / 11)) for at in range(1, 11)} if rounds > 10 else set(range(1, rounds + 1))
        )
        self._ask(1)

    def after(self, number: int) -> None:
        """After a round."""
        if number in self._due:
            told = [client.last.statistics for client in self._federation.clients if client.last is not None]
            total = np.array(add(told)[DOUBTED]).reshape(-1, CLASS_LOSS_BUCKETS)
            total[[c for c, n in enumerate(self._scene.owners) if n < 4]] = 0  # as the server suppresses them
            self._federation.facts = {DOUBTED: total.reshape(-1).tolist()}
        self._ask(number + 1)

    def end(self) -> None:
        """After the last round: how well the clients' own scores tell noisy from clean."""
        scores = [self._score(client.remembered) for client in self._federation.clients]
        noisy = [s for at, s in enumerate(scores) if at in self._scene.noisy]
        clean = [s for at, s in enumerate(scores) if at not in self._scene.noisy]
        weights = [1.0 if client.last is None else client.last.weight for client in self._federation.clients]
        told = self._scene.told[""]
        told["auc"] = float(np.mean([(n > c) + (n == c) / 2 for n in noisy for c in clean]))
        told["weight_noisy"] = statistics.fmean(w for at, w in enumerate(weights) if at in self._scene.noisy)
        told["weight_clean"] = statistics.fmean(w for at, w in enumerate(weights) if at not in self._scene.noisy)

    def _ask(self, number: int) -> None:
        self._federation.wanted = (DOUBTED,) if number in self._due else ()

    @staticmethod
    def _score(remembered: Mapping[str, Any]) -> float:
        from roughfed.client.trainer.labels.label_quality import FOUND, STATE

        found = remembered.get(STATE, {}).get(FOUND)
        return 0.0 if found is None else float(found[1] / found[2])


BENCH = Benchmark(FederatedRoughOptions, run_federated_rough_bench, row(width=56))
