"""Ways to deal one data set out to clients.

N examples, K clients, C classes. Every function takes `(labels, num_clients, rng)` and the option that its row names,
and returns K sorted int64 index arrays: disjoint, covering 0..N-1, each with at least `min_examples`. They are
deterministic in the state of `rng`; a client that would get too little is topped up from the largest, never by drawing
again until luck helps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.data.apportion import apportion
from roughfed.data.dataset import Indices, Labels
from roughfed.errors import ConfigError

MIN_EXAMPLES = 2  # one to train on, one to hold out


def iid(
    labels: Labels, num_clients: int, rng: np.random.Generator, *, min_examples: int = MIN_EXAMPLES
) -> list[Indices]:
    """Everybody draws from the same distribution; sizes differ by at most one."""
    _check_enough(len(labels), num_clients, min_examples)
    return [np.sort(part) for part in np.array_split(rng.permutation(len(labels)), num_clients)]


def dirichlet(
    labels: Labels,
    num_clients: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    min_examples: int = MIN_EXAMPLES,
) -> list[Indices]:
    """Label skew: each class is split over the clients by Dirichlet(alpha) (Yurochkin et al., ICML 2019, section 4).

    Small alpha: a class sits with few clients; large alpha: near-uniform.
    Differs: the usual code draws again until the smallest client is large enough, which may never end; here single
    examples move from the largest client (from its most frequent class) to the ones that are short.
    """
    _check_positive(alpha)
    _check_enough(len(labels), num_clients, min_examples)
    class_count = np.bincount(labels)  # [C]
    shares = rng.dirichlet(np.full(num_clients, alpha), size=len(class_count))  # [C, K]
    held = np.stack([apportion(int(n), p) for n, p in zip(class_count, shares, strict=True)], axis=1)  # [K, C]
    _top_up(held, min_examples)
    parts: list[list[Indices]] = [[] for _ in range(num_clients)]
    for label in range(len(class_count)):
        order = rng.permutation(np.flatnonzero(labels == label))
        for part, piece in zip(parts, np.split(order, np.cumsum(held[:, label])[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def shards(
    labels: Labels,
    num_clients: int,
    rng: np.random.Generator,
    *,
    shards_per_client: int = 2,
    min_examples: int = MIN_EXAMPLES,
) -> list[Indices]:
    """Few classes each: sort by label, cut into shards, deal them out (McMahan et al., AISTATS 2017, section 3)."""
    num_shards = num_clients * shards_per_client
    if shards_per_client < 1 or len(labels) // max(num_shards, 1) * shards_per_client < min_examples:
        raise ConfigError(
            f"{len(labels)} examples cannot be cut into {num_clients} x {shards_per_client} shards",
            key="data.shards_per_client",
            cure="use fewer clients, or fewer shards for each",
        )
    shuffled = rng.permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    pieces = np.array_split(by_label, num_shards)
    dealt = rng.permutation(num_shards)
    hands = np.split(dealt, num_clients)  # K arrays of shards_per_client numbers
    return [np.sort(np.concatenate([pieces[int(i)] for i in hand])) for hand in hands]


def quantity_skew(
    labels: Labels,
    num_clients: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    min_examples: int = MIN_EXAMPLES,
) -> list[Indices]:
    """Same distribution, unequal sizes: sizes by Dirichlet(alpha) (Li et al., ICDE 2022, section 4.3)."""
    _check_positive(alpha)
    _check_enough(len(labels), num_clients, min_examples)
    sizes = apportion(len(labels), rng.dirichlet(np.full(num_clients, alpha)))[:, None]  # [K, 1]
    _top_up(sizes, min_examples)
    return [np.sort(p) for p in np.split(rng.permutation(len(labels)), np.cumsum(sizes)[:-1])]


@dataclass(frozen=True, slots=True)
class Partitioner:
    """A row: the function, and the name of the option that sets its skew (None: it has none)."""

    split: Callable[..., list[Indices]]
    option: str | None


PARTITIONERS: Mapping[str, Partitioner] = {
    "iid": Partitioner(iid, None),
    "dirichlet": Partitioner(dirichlet, "alpha"),
    "shards": Partitioner(shards, "shards_per_client"),
    "quantity-skew": Partitioner(quantity_skew, "alpha"),
}


def _check_positive(alpha: float) -> None:
    if not (alpha > 0 and np.isfinite(alpha)):
        raise ConfigError(f"{alpha} is not a positive number", key="data.alpha")


def _check_enough(num_examples: int, num_clients: int, min_examples: int) -> None:
    if num_clients < 1 or num_clients * min_examples > num_examples:
        raise ConfigError(
            f"{num_examples} examples cannot give {num_clients} clients {min_examples} each",
            key="clients",
            cure="use fewer clients or a larger data set",
        )


def _top_up(held: NDArray[np.int64], min_examples: int) -> None:
    """Move single examples, in place, from the largest client to those below the minimum; held is int64 [K, C]."""
    size = held.sum(axis=1)  # [K]
    for short in np.flatnonzero(size < min_examples):
        while size[short] < min_examples:
            rich = int(size.argmax())
            label = int(held[rich].argmax())
            held[rich, label] -= 1
            held[short, label] += 1
            size[rich] -= 1
            size[short] += 1
