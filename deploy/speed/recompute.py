"""The models that a bench's run must have committed, computed again from the clients' seeds.

Only the seeds, the order of the names and float32 arithmetic go in; none of the server's code for sums does. Slices are
the outer loop and rounds the inner one, so a model of any size is checked in a few MiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from roughfed.deploy.synthetic import SLICE, pieces
from roughfed.digest import hasher
from roughfed.rng import derive


def model_digests(params: int, rounds: Mapping[int, Sequence[str]], *, seed: int) -> dict[int, bytes]:
    """Digest of the model after each round.

    Args:
        params: D.
        rounds: number -> accepted clients, for every committed round from the model of zeros on.
        seed: the federation's.

    Returns:
        number -> 32 bytes.
    """
    hashes = {number: hasher() for number in rounds}
    streams = {
        number: [pieces(params, derive(seed, "client", name, number)) for name in sorted(names)]
        for number, names in rounds.items()
    }
    for start in range(0, params, SLICE):
        model = np.zeros(min(SLICE, params - start), dtype=np.float32)
        for number in sorted(rounds):
            model = model + _mean(streams[number], len(model))
            hashes[number].update(memoryview(model).cast("B"))
    return {number: known.digest() for number, known in hashes.items()}


def _mean(streams: Sequence[Iterator[np.ndarray]], size: int) -> np.ndarray:
    """The next slice of each stream: float32 sum in the order given, divided by their number."""
    total = np.zeros(size, dtype=np.float32)
    for stream in streams:
        total += next(stream)
    return total / np.float32(len(streams))
