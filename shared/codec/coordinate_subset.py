"""A shared random subset of the coordinates as they are, for tiers of clients that are seen in the clear.

One coordinate of each f neighbours is sent, which one follows from the round's public seed: random sampling (Konecny et
al., 2016, https://arxiv.org/abs/1610.05492, section 3). Masked, the subset is one of rotated coordinates (`subset`).
Every client of the tier sends the same ones, so that their updates compare.

d coordinates, one in f of them sent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.keystream import Keystream

Places = NDArray[np.int64]


def picked_places(size: int, keep_one_in: int, seed: bytes) -> Places:
    """Which coordinates are sent.

    Args:
        size: d.
        keep_one_in: f, a power of two.
        seed: 32 public bytes, fresh every round.

    Returns:
        int64, ascending; each coordinate is among them with probability 1 / f, so in the last, shorter block there may
        be none.
    """
    blocks = -(-size // keep_one_in)
    draws = np.empty(blocks, dtype=np.uint8)
    Keystream(seed, "subset").fill(draws.data)
    places = np.arange(blocks, dtype=np.int64) * keep_one_in + draws % keep_one_in
    return places[places < size]
