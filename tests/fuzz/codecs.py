"""Payloads of the codecs and of the way down: refused before anything is allocated by their size, or decoded."""

from __future__ import annotations

import numpy as np

from roughfed.codec import CODECS, downlink
from roughfed.errors import LocalProtocolError, RoughfedError

RUNS = 4000
SIZES = (1, 31, 128, 300, 1000)
"""Values of the vectors that the server expects: its own word, never the peer's."""

NAMES = sorted(CODECS)


def fuzz(data: bytes) -> None:
    if len(data) < 2:
        return
    size, payload = SIZES[data[1] % len(SIZES)], data[2:]
    number = data[0] % (len(NAMES) + 1)
    try:
        if number == len(NAMES):
            params = np.ones(size, dtype=np.float32)
            downlink.apply(payload, params)
            return
        codec = CODECS[NAMES[number]]
        codec.check(payload, size)
    except LocalProtocolError:
        raise
    except RoughfedError:
        return
    assert len(payload) <= codec.max_bytes(size)
    whole = codec.decode(payload, 0, size, size=size)
    assert whole.shape == (size,)
    assert np.isfinite(whole).all()
    half = size // 2
    parts = codec.decode(payload, 0, half, size=size), codec.decode(payload, half, size, size=size)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def seeds() -> list[bytes]:
    found: list[bytes] = []
    for place, size in enumerate(SIZES):
        vector = np.random.default_rng(size).normal(size=size).astype(np.float32)
        found += [bytes([n, place]) + CODECS[name].encode(vector) for n, name in enumerate(NAMES)]
        found.append(bytes([len(NAMES), place]) + downlink.quantise(vector.copy(), np.zeros_like(vector)))
    return found
