"""What each client of a federation holds: all compute one division from the seed and take their own share."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from roughfed.data import load
from roughfed.data.apportion import stratified_holdout
from roughfed.data.dataset import Dataset, Indices
from roughfed.data.partition import MIN_EXAMPLES, PARTITIONERS
from roughfed.errors import ConfigError, NotBuiltYet
from roughfed.registry import look_up
from roughfed.rng import generator

SCENARIOS = {  # name: what it waits for; None: it is built
    "clean": None,
    "long-tail": "the long-tail trainers",
    "noisy": "the noisy-label trainers",
    "continual": "the continual trainers",
    "poisoned": "the attacks and defences",
    "rough": "the trainers, attacks and defences",
}


class Options(TypedDict, total=False):
    """How the data are divided.

    partition: a row of PARTITIONERS; default "dirichlet".
    alpha: the skew, for the partitioners whose option it is; default 0.5.
    scenario: only "clean" is built; default "clean".
    data_dir: where the source's files lie; default None.
    test_fraction: the part of its share that a client holds out; default 0.2.
    """

    partition: str
    alpha: float
    scenario: str
    data_dir: Path | str | None
    test_fraction: float


def federate(name: str, *, clients: int, index: int, seed: int, **options: Unpack[Options]) -> tuple[Dataset, Dataset]:
    """The data of client `index`.

    Args:
        name: a row of SOURCES.
        clients: K, how many clients divide the data.
        index: which of them, 0..K-1.
        seed: the run's seed; the same seed gives everybody the same division.
        **options: see Options.

    Returns:
        (train, test): its own training examples, and its own held-out examples (at least one, the classes in
        proportion as far as whole numbers allow).

    Raises:
        ConfigError: unknown names, too many clients for the data, index out of range.
        NotBuiltYet: a scenario of a later version.
    """
    if not 0 <= index < clients:
        raise ConfigError(f"client {index} of {clients} does not exist", key="data.index", cure=f"0..{clients - 1}")
    whole, parts = _divide(name, clients, seed, options)
    share = whole.take(parts[index])
    fraction = options.get("test_fraction", 0.2)
    kept, held = stratified_holdout(share.labels, fraction, generator(seed, "data", name, "held-out", index))
    return share.take(kept), share.take(held)


def holdings(name: str, *, clients: int, seed: int, **options: Unpack[Options]) -> NDArray[np.int64]:
    """Who holds what: examples by client and class, training and held-out together, int64 [K, C]."""
    whole, parts = _divide(name, clients, seed, options)
    return np.stack([np.bincount(whole.labels[part], minlength=whole.num_classes) for part in parts])


def _divide(name: str, clients: int, seed: int, options: Options) -> tuple[Dataset, list[Indices]]:
    scenario = options.get("scenario", "clean")
    if waits_for := look_up(SCENARIOS, scenario, key="scenario"):
        cause = f"scenario {scenario!r} is not built yet: it needs {waits_for}"
        raise NotBuiltYet(cause, key="scenario", cure="use 'clean'")
    partition = options.get("partition", "dirichlet")
    row = look_up(PARTITIONERS, partition, key="data.partition")
    skew = {"alpha": options.get("alpha", 0.5)} if row.option == "alpha" else {}
    whole, _ = load(name, options.get("data_dir"), seed)
    rng = generator(seed, "data", name, "partition", partition)
    parts = row.split(whole.labels, clients, rng, min_examples=_fair_minimum(len(whole), clients), **skew)
    return whole, parts


def _fair_minimum(num_examples: int, clients: int) -> int:
    """10 examples each where there are plenty (so that a held-out part means something), else what there is."""
    return max(MIN_EXAMPLES, min(10, num_examples // (4 * clients)))
