"""Seeds derived from one run seed, so that every party can repeat its own randomness.

Nothing here is a secret: keys and masks come from the operating system (see `roughfed.crypto`).
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *labels: str | int) -> int:
    """Derive an independent seed.

    Args:
        seed: the run's seed, any non-negative integer.
        labels: what the seed is for, for example `"cohort", 7`; an integer and its decimal string differ.

    Returns:
        a 63-bit non-negative integer: SHA-256 over the length-prefixed parts.
    """
    digest = hashlib.sha256(b"roughfed seed v1")
    for label in (seed, *labels):
        part = repr(label).encode()
        digest.update(len(part).to_bytes(4, "big") + part)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """A numpy generator (Philox, the same on every platform) seeded by `derive`."""
    return np.random.Generator(np.random.Philox(derive(seed, *labels)))
