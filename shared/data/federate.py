"""What each client of a federation holds: all compute one division from the seed and take their own share.

In this order: a long tail is cut out of the whole, the rest is divided, each client holds a part out, labels of the
others are made wrong, and these become a stream of tasks. So what is held out is always clean and of all tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from roughfed.data import load
from roughfed.data.apportion import stratified_holdout
from roughfed.data.dataset import Dataset, Indices, concatenate
from roughfed.data.partition import MIN_EXAMPLES, PARTITIONERS
from roughfed.data.rough import long_tail, mislabelled, task_classes
from roughfed.data.roughness import NOISE_MAPS, Roughness, roughness
from roughfed.data.stream import Tasks, tasks_of
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.rng import generator


class Options(TypedDict, total=False):
    """How the data are divided, and what is made rough about them.

    partition: a row of PARTITIONERS; default "dirichlet".
    alpha: the skew, for the partitioners whose option it is; default 0.5.
    data_dir: where the source's files lie; default None.
    test_fraction: the part of its share that a client holds out; default 0.2.
    scenario: a row of SCENARIOS; default "clean". The rest is explained in `roughness.Roughness`; what is 0 or empty is
        as the scenario has it, so that any of them can be mixed.
    """

    partition: str
    alpha: float
    data_dir: Path | str | None
    test_fraction: float
    scenario: str
    imbalance: float
    class_order: str
    noise: float
    noise_kind: str
    noisy_clients: float
    tasks: int
    rounds_per_task: int
    stagger: int


def federate(
    name: str, *, clients: int, index: int, seed: int, **options: Unpack[Options]
) -> tuple[Dataset | Tasks, Dataset]:
    """The data of client `index`.

    Args:
        name: a row of SOURCES.
        clients: K, how many clients divide the data.
        index: which of them, 0..K-1.
        seed: the run's seed; the same seed gives everybody the same division.
        **options: see Options.

    Returns:
        (train, test): its own training examples, as a stream where there is more than one task; and its own held-out
        examples (at least one, the classes in proportion as far as whole numbers allow), clean and of all tasks.

    Raises:
        ConfigError: unknown names, too many clients for the data, index or a setting out of range.
        NotBuiltYet: a scenario of a later version.
    """
    return divide(name, clients=clients, seed=seed, **options).client(index)


def share_of(name: str, *, clients: int, index: int, seed: int, **options: Unpack[Options]) -> tuple[Dataset, Dataset]:
    """The same with all training examples at once, whatever their task: for measuring."""
    return divide(name, clients=clients, seed=seed, **options).share(index)


def holdings(name: str, *, clients: int, seed: int, **options: Unpack[Options]) -> NDArray[np.int64]:
    """Who holds what: examples by client and true class, training and held-out together, int64 [K, C]."""
    division = divide(name, clients=clients, seed=seed, **options)
    whole = division.whole
    return np.stack([np.bincount(whole.labels[part], minlength=whole.num_classes) for part in division.parts])


def planted_wrong(name: str, *, clients: int, seed: int, **options: Unpack[Options]) -> Dataset:
    """Every training example of the federation whose label was made wrong, with that label; `true_y` has the right one.

    The accuracy of a model on it is the share of wrong labels that the model reproduces.

    Args:
        name: a row of SOURCES.
        clients: K.
        seed: the run's seed.
        **options: those of the clients.

    Returns:
        the examples in the order of the clients; none where no noise is asked for.

    Raises:
        ConfigError: as `federate`.
    """
    division = divide(name, clients=clients, seed=seed, **options)
    wrong = [division.whole.take(np.arange(0))]
    for index in sorted(division.noisy):
        train, _ = division.share(index)
        wrong.append(train.take(np.flatnonzero(train.labels != train.true_y)))
    return concatenate(wrong)


@dataclass(frozen=True, slots=True)
class Division:
    """One data set, dealt out.

    Attributes:
        name: of the source.
        whole: what is dealt out, after the tail was cut.
        parts: int64 indices into `whole`, one array for each client.
        rough: what is done to the shares.
        seed: the run's seed.
        fraction: of a share that is held out.
    """

    name: str
    whole: Dataset
    parts: list[Indices]
    rough: Roughness
    seed: int
    fraction: float

    @property
    def noisy(self) -> frozenset[int]:
        """The clients with wrong labels."""
        if not self.rough.noise:
            return frozenset()
        count = max(1, round(self.rough.noisy_clients * len(self.parts)))
        order = self._generator("noisy-clients").permutation(len(self.parts))
        return frozenset(order[:count].tolist())

    def client(self, index: int) -> tuple[Dataset | Tasks, Dataset]:
        """What `federate` gives client `index`."""
        train, test = self.share(index)
        return self.stream(index, train), test

    def share(self, index: int) -> tuple[Dataset, Dataset]:
        """(all training examples of a client, with their wrong labels; what it holds out).

        Raises:
            ConfigError: there is no such client.
        """
        clients = len(self.parts)
        if not 0 <= index < clients:
            raise ConfigError(f"client {index} of {clients} does not exist", key="data.index", cure=f"0..{clients - 1}")
        share = self.whole.take(self.parts[index])
        kept, held = stratified_holdout(share.labels, self.fraction, self._generator("held-out", index))
        train = share.take(kept)
        if index in self.noisy:
            rng = self._generator("noise", index)
            train = mislabelled(train, self.rough.noise_kind, self.rough.noise, rng, NOISE_MAPS.get(self.name))
        return train, share.take(held)

    def stream(self, index: int, train: Dataset) -> Dataset | Tasks:
        """A client's training examples as they arrive."""
        rough = self.rough
        if rough.tasks == 1:
            return train
        groups = task_classes(self.whole.num_classes, rough.tasks)
        place = int(self._generator("stagger").permutation(len(self.parts))[index])
        delay = place * (rough.stagger + 1) // len(self.parts)  # 0..stagger, as evenly as whole numbers allow
        return tasks_of(train, [g.tolist() for g in groups], rounds_per_task=rough.rounds_per_task, delay=delay)

    def _generator(self, *what: str | int) -> np.random.Generator:
        return generator(self.seed, "data", self.name, *what)


def divide(name: str, *, clients: int, seed: int, **options: Unpack[Options]) -> Division:
    """The whole division, for who plays many clients; arguments and errors as of `federate`."""
    rough = roughness(name, options.get("scenario", "clean"), options)
    partition = options.get("partition", "dirichlet")
    row = look_up(PARTITIONERS, partition, key="data.partition")
    skew = {"alpha": options.get("alpha", 0.5)} if row.option == "alpha" else {}
    whole, _ = load(name, options.get("data_dir"), seed)
    whole = _tailed(whole, rough, seed)
    rng = generator(seed, "data", name, "partition", partition)
    parts = row.split(whole.labels, clients, rng, min_examples=_fair_minimum(len(whole), clients), **skew)
    return Division(name, whole, parts, rough, seed, options.get("test_fraction", 0.2))


def _tailed(whole: Dataset, rough: Roughness, seed: int) -> Dataset:
    if rough.imbalance == 1:
        return whole
    order = np.arange(whole.num_classes)
    if rough.class_order == "random":
        order = generator(seed, "data", whole.name, "class-order").permutation(order)
    elif rough.reversed_for(whole.name):
        order = order[::-1]
    rng = generator(seed, "data", whole.name, "long-tail")
    return whole.take(long_tail(whole.labels, rough.imbalance, rng, order.tolist()))


def _fair_minimum(num_examples: int, clients: int) -> int:
    """10 examples each where there are plenty (so that a held-out part means something), else what there is."""
    return max(MIN_EXAMPLES, min(10, num_examples // (4 * clients)))
