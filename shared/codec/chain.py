"""The codec of masked rounds: one client's update to integer codes, and the sum of many clients' codes to their mean.

    u = delta + residual -> clip -> times w -> strided Hadamard -> shared subset -> stochastic rounding -> codes
    mean of deltas <- cut to D <- inverse Hadamard <- zero the rest <- centre, scale <- sum of codes

The clip comes after the residual, so that what is sent never exceeds C, or the part of it that the round says. What the
clip cut off is not fed back (it would wind up). The residual belongs to the next round only if this one counted: a
client that was excluded, or whose group was void, keeps its old residual. Kept whole, its update would come back with
twice the norm and be excluded again.

w is the weight class of the client (docs/decisions/0011-weights.md): it puts w times its clipped update into the sum,
which is divided by the sum of the weights. The residual stays in the units of an update of weight 1, so it never
exceeds C either, and what was left unsaid is said with the weight of the round that says it.

D parameters, P padded, M sent. Memory of `encode`: one vector [P] that becomes the residual, and the codes [M]; of
`decode_sum`: one vector [P] that becomes the result. Inputs are read once, from front to back, and may be mapped files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.plan import ChainParams, Lanes, Summed
from roughfed.codec.rotation import rotate, rotate_back
from roughfed.codec.rounding import Codes, round_rows, spread_sums
from roughfed.codec.subset import kept_rows
from roughfed.errors import LocalProtocolError
from roughfed.kernel import kernel
from roughfed.tiers import loudness

Flat = NDArray[np.float32]

_PARTS = 16


@dataclass(frozen=True, slots=True)
class Encoded:
    """What one client sends, and what it keeps.

    Attributes:
        codes: 0..L-1 in the lane type, [M].
        residual: clip(u) - decode(codes) / w, float32 [D]: the next round's residual *if* this round counts.
        norm: L2 norm of u, before the clip.
        clipped: whether it was longer than may be sent (`ChainParams.longest`).
    """

    codes: Codes
    residual: Flat
    norm: float
    clipped: bool


def encode(
    delta: Flat,
    residual: Flat | None,
    params: ChainParams,
    *,
    secret: bytes,
    work: Flat | None = None,
    weight: float = 1.0,
) -> Encoded:
    """Encode an update.

    Args:
        delta: local minus global parameters, float32 [D]; not changed.
        residual: what earlier rounds did not say, float32 [D], or None at first; not changed.
        params: the round's codec.
        secret: 32 secret bytes for this encoding alone (derived from the client's secret, run and round).
        work: float32 [P] to work in, overwritten, for a caller that keeps it; the residual is a view of it.
        weight: w, above 0 and at most 1.

    Returns:
        codes and residual.

    Raises:
        LocalProtocolError: another shape or type, an update that is not finite, or a weight that is none.
    """
    work = np.empty(params.layout.padded, dtype=np.float32) if work is None else work
    codes, norm = _codes(delta, residual, params, work, secret=secret, weight=weight)
    rotate_back(work, params.layout, params.seed)
    if weight != 1.0:
        work *= np.float32(1 / weight)
    return Encoded(codes, work[: params.size], norm, norm > params.longest)


def codes_of(delta: Flat, params: ChainParams, *, secret: bytes) -> Codes:
    """The codes that `encode` makes of an update without a residual, for who keeps none."""
    work = np.empty(params.layout.padded, dtype=np.float32)
    return _codes(delta, None, params, work, secret=secret)[0]


def _codes(
    delta: Flat, residual: Flat | None, params: ChainParams, work: Flat, *, secret: bytes, weight: float = 1.0
) -> tuple[Codes, float]:
    """(codes, norm before the clip); leaves in `work` what the codes do not say, rotated and times w."""
    layout = params.layout
    if not 0 < weight <= 1:
        raise LocalProtocolError(f"a weight of {weight}, want one above 0 and at most 1")
    for name, vector, size in (("delta", delta, params.size), ("work", work, layout.padded)):
        _check(name, vector, size)
    if residual is not None:
        _check("residual", residual, params.size)
    second = delta if residual is None else residual
    sums = np.zeros(_PARTS)
    _add(delta, second, work, residual is not None, sums)
    norm = math.sqrt(sums[0])
    if not math.isfinite(norm):
        raise LocalProtocolError("the update is not finite: NaN, infinite or absurdly large values")
    scale = weight * (params.longest / norm if norm > params.longest else 1.0)
    rotate(work, layout, params.seed, scale=scale)
    return round_rows(work, kept_rows(params), params, secret=secret), norm


def decode_sum(code_sums: Codes, num_clients: int, params: ChainParams, *, weight: float | None = None) -> Flat:
    """The weighted mean of the clients' decoded updates.

    Args:
        code_sums: exact integer sums of the codes, any unsigned type, [M]; of one group, or of several together.
        num_clients: n, how many clients' codes are in each sum.
        params: the round's codec.
        weight: sum of the clients' weights; None where each has weight 1.

    Returns:
        mean delta, float32 [D]; with a subset its projection, without a factor.

    Raises:
        LocalProtocolError: no clients, or sums that are not unsigned.
        RemoteProtocolError: another number of sums.
    """
    mean = spread_sums(code_sums, kept_rows(params), params, num_clients=num_clients, weight=weight)
    rotate_back(mean, params.layout, params.seed)
    return mean[: params.size]


def decode_merged(base: Summed, subsets: Sequence[Summed]) -> Flat:
    """The mean of clients who sent every coordinate and of others who sent a shared random subset of them.

    What the few sent corrects the mean b of the others where it is known: b + sum_c (f W_c / W) (mean_c - b) in the
    rotated coordinates that class c sent. Over the draws of the subset that is the mean of all. What is scaled up is a
    difference of two means, which is small where the clients agree; nothing is left to be said later.

    Args:
        base: sum of those who sent everything.
        subsets: sums of the others; of the same size and rotation, their codecs may differ in lanes and C.

    Returns:
        mean delta, float32 [D].

    Raises:
        LocalProtocolError: a base that is a subset itself, or sums of different rotations.
    """
    params, layout = base.params, base.params.layout
    if params.keep_one_in != 1 or any((s.params.size, s.params.seed) != (params.size, params.seed) for s in subsets):
        raise LocalProtocolError("sums of different rotations, or a base that is a subset, cannot be merged")
    total = base.weight + sum(one.weight for one in subsets)
    known = _spread(base)
    mean = known.copy().reshape(layout.rows, layout.columns)
    known = known.reshape(layout.rows, layout.columns)
    for one in subsets:
        rows = kept_rows(one.params)
        factor = np.float32(loudness(one.params.keep_one_in, one.weight / total))
        mean[rows] += factor * (_spread(one).reshape(layout.rows, layout.columns)[rows] - known[rows])
    flat = mean.reshape(-1)
    rotate_back(flat, layout, params.seed)
    return flat[: params.size]


def _spread(one: Summed) -> Flat:
    return spread_sums(one.code_sums, kept_rows(one.params), one.params, num_clients=one.num_clients, weight=one.weight)


def warm(lanes: Lanes) -> None:
    """Load the kernels for these lanes, compiling what this machine has not compiled yet; for a moment of leisure.

    The first masked round on a machine costs some seconds of CPU, in a new process 0.04 s: spend them while the client
    trains, and in whatever starts many clients on one machine before it starts them.
    """
    params = ChainParams(64, lanes, 1.0, bytes(32))
    codes = encode(np.zeros(64, dtype=np.float32), None, params, secret=bytes(32)).codes
    decode_sum(codes, 1, params)


def _check(name: str, vector: Flat, size: int) -> None:
    if vector.dtype != np.float32 or vector.shape != (size,) or not vector.flags.c_contiguous:
        got = f"{vector.dtype} {vector.shape}"
        raise LocalProtocolError(f"{name} is {got}, want contiguous float32 ({size},)")


@kernel(writes=["work", "sums"])
def _add(delta: Flat, residual: Flat, work: Flat, both: bool, sums: NDArray[np.float64]) -> None:
    """Write delta + residual, zero from D on; in sums[0] the sum of squares, of sixteen interleaved partial sums.

    `sums` is zeros, float64 [16].
    """
    size = len(delta)
    whole = size - size % 16
    for at in range(0, whole, 16):
        for k in range(16):
            value = delta[at + k] + residual[at + k] if both else delta[at + k]
            work[at + k] = value
            sums[k] += np.float64(value) * np.float64(value)
    for at in range(whole, size):
        value = delta[at] + residual[at] if both else delta[at]
        work[at] = value
        sums[at - whole] += np.float64(value) * np.float64(value)
    for at in range(size, len(work)):
        work[at] = np.float32(0)
    for k in range(1, 16):
        sums[0] += sums[k]
