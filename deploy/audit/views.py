"""Exactly what the server sees of one small group of clients, by the real codec and the real sketch.

D parameters, K clients in the group, dim numbers in a sketch. An update is one SGD step with learning rate 1, so it is
minus the gradient; C is the largest norm in the group, so that nothing is clipped and the codes are as fine as they
get.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.chain import decode_sum, encode
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.codec.rotation import rotate_back
from roughfed.rng import derive
from roughfed.secagg.groups import colluders
from roughfed.sketch.buckets import Sketcher, bucket_sizes

Flat = NDArray[np.float32]

MODES = ("updates", "updates, coded", "one sketch", "sketches", "sums")


@dataclass(frozen=True, slots=True)
class ClientView:
    """What is known of the updates of `clients` clients, the attacked one first.

    Attributes:
        clients: how many clients' images are looked for.
        sketches: what each one's sketch says, float32 [clients, dim], and the public linear map from updates to that,
            float32 [dim, D]; None when no sketch is seen.
        mean: the mean of their updates, float32 [D]; None when it is not looked at.
    """

    clients: int
    sketches: tuple[Flat, Flat] | None = None
    mean: Flat | None = None

    @property
    def numbers(self) -> int:
        """How many numbers are seen."""
        claims = 0 if self.sketches is None else self.sketches[0].size
        return claims + (0 if self.mean is None else self.mean.size)


def group_views(deltas: Flat, dim: int, *, seed: int, entropy: Callable[[int], bytes]) -> dict[str, ClientView]:
    """What each mode shows of a group's round.

    Args:
        deltas: the updates, float32 [K, D].
        dim: numbers in a sketch.
        seed: of rotation and sketch, public.
        entropy: the clients' secrets: number of bytes -> bytes.

    Returns:
        a view for each of MODES: the first client's update as it is, as codes, and as a sketch alone; all sketches of
        the group and its sum; the sum alone.
    """
    count = len(deltas)
    norm = float(np.linalg.norm(deltas, axis=1).max())
    params = chain_params(deltas.shape[1], count, norm, seed)
    codes = [encode(delta, None, params, secret=entropy(32)).codes for delta in deltas]
    sketcher = make_sketcher(params, dim, count, seed)
    claims = np.array([sketcher.claim(sketcher.of_codes(c)) for c in codes], dtype=np.float32)  # [K, dim]
    sums = np.add.reduce(np.array(codes), axis=0, dtype=np.uint32)  # [D]
    mean = decode_sum(sums, count, params)
    by_sketch = sketch_map(sketcher, params)
    return {
        "updates": ClientView(1, mean=deltas[0]),
        "updates, coded": ClientView(1, mean=decode_sum(codes[0], 1, params)),
        "one sketch": ClientView(1, (claims[:1], by_sketch)),
        "sketches": ClientView(count, (claims, by_sketch), mean),
        "sums": ClientView(count, mean=mean),
    }


def chain_params(size: int, clients: int, clip_norm: float, seed: int) -> ChainParams:
    """The codec of a round of one group at its full rate."""
    public = hashlib.sha256(derive(seed, "audit", "chain").to_bytes(8, "big")).digest()
    return ChainParams(size, plan_lanes(clients), clip_norm, public)


def make_sketcher(params: ChainParams, dim: int, clients: int, seed: int) -> Sketcher:
    """S for a round of one group, its buckets sized as in a real one."""
    rms = params.clip_norm / math.sqrt(params.layout.padded) / params.step
    sizes = bucket_sizes(params.sent, dim, bits=params.lanes.bits, code_rms=rms, colluders=colluders(clients))
    public = hashlib.sha256(derive(seed, "audit", "sketch").to_bytes(8, "big")).digest()
    return Sketcher(public, params.sent, dim, sizes=sizes, dtype=params.lanes.dtype, zero=params.lanes.zero)


def sketch_map(sketcher: Sketcher, params: ChainParams) -> Flat:
    """The linear map from an update to its claim, but for rounding: float32 [dim, D], at the codec's full rate.

    Read off the sketch itself: the sketch of the codes 0, 1 at one sampled place is that place's bucket and sign.
    """
    rows = np.zeros((sketcher.dim, params.layout.padded), dtype=np.float32)
    buckets = np.repeat(np.arange(sketcher.dim), sketcher.counts)
    signs = _signs(sketcher, params)
    rows[buckets, sketcher.positions] = signs / np.sqrt(sketcher.counts[buckets]) / params.step
    for row in rows:
        rotate_back(row, params.layout, params.seed)
    return np.ascontiguousarray(rows[:, : params.size])


def _signs(sketcher: Sketcher, params: ChainParams) -> NDArray[np.float64]:
    """The sign of each sample, read off one sketch a place in the buckets: 1.0 or -1.0 [samples]."""
    signs = np.empty(len(sketcher.positions))
    starts = np.concatenate([[0], np.cumsum(sketcher.counts)[:-1]])  # [dim]
    codes = np.full(sketcher.length, params.lanes.zero, dtype=params.lanes.dtype)
    for place in range(int(sketcher.counts.max())):
        there = sketcher.counts > place
        samples = starts[there] + place
        codes[sketcher.positions[samples]] += 1
        claim = sketcher.claim(sketcher.of_codes(codes))
        codes[sketcher.positions[samples]] -= 1
        signs[samples] = np.sign(claim[there])
    return signs
