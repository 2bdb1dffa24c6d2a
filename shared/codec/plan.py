"""What a round's codes look like: lanes that cannot overflow, the layout of the rotation, the step between codes.

g largest group, L levels, w bits of a lane, D parameters, P padded length = H rows x S columns, M sent coordinates,
C clip norm. Nothing here is compiled: the server's settings and a client's checks need no more than arithmetic.

Lanes are native unsigned integers and a group's sum must fit: g (L - 1) <= 2^w - 1. So nothing ever carries, masks are
added lane by lane, and the sum of the codes is exact in any order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError, RemoteProtocolError

BITS = (8, 16, 32)
MIN_LEVELS = 4
GOOD_LEVELS = 8  # below it the rounding costs more than 7 % of an update: the planner takes wider lanes
MAX_LEVELS = 1 << 16  # float32 holds a code and a byte of dither; beyond it nothing is gained
KEEP_ONE_IN = (1, 2, 4, 8, 16)
BLOCK_ROWS = 4096
SEED_BYTES = 32

# Range in standard deviations of a rotated coordinate with the least error of rounding and saturation together.
CLIP_SIGMAS: Mapping[int, float] = MappingProxyType(
    {4: 1.2, 8: 1.8, 16: 2.4, 32: 2.8, 64: 3.2, 128: 3.4, 256: 3.8, 512: 4.1, 1024: 4.4, 2048: 4.6}
    | {4096: 4.9, 8192: 5.1, 16384: 5.4, 32768: 5.6, 65536: 5.8}
)

_MIN_BLOCK_ROWS = 512
_DTYPES: Mapping[int, np.dtype[np.unsignedinteger[Any]]] = MappingProxyType(
    {8: np.dtype("<u1"), 16: np.dtype("<u2"), 32: np.dtype("<u4")}
)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Codes 0..L-1 in unsigned integers of w bits; code L//2 is exactly zero, so codes stand for -(L//2)..L-1-L//2."""

    bits: int
    levels: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """Type of a lane, little-endian: on the wire as in memory."""
        return _DTYPES[self.bits]

    @property
    def zero(self) -> int:
        """The code of zero, L//2: an integer, so that sketches of centred codes are exact."""
        return self.levels // 2

    @property
    def largest_group(self) -> int:
        """How many clients' codes a lane can hold."""
        return ((1 << self.bits) - 1) // (self.levels - 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """The vector as H rows x S columns, row-major: block j of the rotation is column j, every S-th coordinate.

    Attributes:
        size: D.
        rows: H, a power of two.
        columns: S.
    """

    size: int
    rows: int
    columns: int

    @property
    def padded(self) -> int:
        """P = H S >= D; coordinates from D on are zero."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class ChainParams:
    """Everything public that `chain.encode` and `chain.decode_sum` must agree on; both ends build it from the header.

    Attributes:
        size: D.
        lanes: the codes.
        clip_norm: C, the largest L2 norm that the codes can show.
        seed: 32 public bytes, fresh every round: signs of the rotation and the subset.
        keep_one_in: 1, 2, 4, 8 or 16: the part of the rotated coordinates that is sent.
        clip_share: an update is cut to this part of C, above 0 and at most 1 (`clip_schedule.clip_share`).
    """

    size: int
    lanes: Lanes
    clip_norm: float
    seed: bytes
    keep_one_in: int = 1
    clip_share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no header may say.

        Raises:
            RemoteProtocolError: a value out of its range.
        """
        problems = (
            (self.size < 1, f"{self.size} parameters, want 1 or more"),
            (not 0 < self.clip_norm < math.inf, f"clip norm {self.clip_norm}, want a positive number"),
            (len(self.seed) != SEED_BYTES, f"a seed of {len(self.seed)} bytes, want {SEED_BYTES}"),
            (not 0 < self.clip_share <= 1, f"updates cut to {self.clip_share} of the clip norm, want 0 to 1"),
            (self.keep_one_in not in KEEP_ONE_IN, f"one coordinate in {self.keep_one_in}, want one of {KEEP_ONE_IN}"),
        )
        for wrong, sentence in problems:
            if wrong:
                raise RemoteProtocolError(sentence, reason="codec")

    @property
    def layout(self) -> Layout:
        """Rows and columns of the rotation."""
        return layout_of(self.size)

    @property
    def longest(self) -> float:
        """The largest L2 norm of what an honest client sends."""
        return self.clip_share * self.clip_norm

    @property
    def kept_rows(self) -> int:
        """Rows of the layout that are sent."""
        return max(1, self.layout.rows // self.keep_one_in)

    @property
    def sent(self) -> int:
        """M, the length of the codes."""
        return self.kept_rows * self.layout.columns

    @property
    def sent_bytes(self) -> int:
        """Bytes of the codes, masked or not."""
        return self.sent * self.lanes.dtype.itemsize

    @property
    def step(self) -> float:
        """Distance between two codes: the range is CLIP_SIGMAS deviations, C / sqrt(P) each, to either side."""
        sigma = self.clip_norm / math.sqrt(self.layout.padded)
        return 2 * clip_sigmas(self.lanes.levels) * sigma / (self.lanes.levels - 1)


@dataclass(frozen=True, slots=True)
class Summed:
    """The sum of the codes of some clients, who all sent the same rows.

    Attributes:
        code_sums: exact integer sums, any unsigned type, [M].
        num_clients: n, how many clients' codes are in each sum.
        weight: sum of their weights.
        params: their codec.
    """

    code_sums: NDArray[np.unsignedinteger[Any]]
    num_clients: int
    weight: float
    params: ChainParams


def plan_lanes(largest_group: int, *, bits: int | None = None) -> Lanes:
    """Choose lanes for groups of up to `largest_group` clients.

    Args:
        largest_group: g, the most clients whose codes are ever added.
        bits: a wish for w; without it the narrowest lanes that leave 8 levels or more.

    Returns:
        the lanes with the most levels, an even number, that cannot overflow: g = 4, 5, 8, 10, 16 get 64, 52, 32, 26
        and 16 levels in 8 bits.

    Raises:
        ConfigError: no group, lanes of another width, or a group too large for them.
    """
    if largest_group < 1:
        raise ConfigError(f"a group of {largest_group} clients", key="codec", cure="plan for at least one client")
    if bits is not None and bits not in BITS:
        cure = "use 8, 16 or 32, or leave it out"
        raise ConfigError(f"lanes of {bits} bits do not exist", key="codec.lane_bits", cure=cure)
    wanted = GOOD_LEVELS if bits is None else MIN_LEVELS
    for width in BITS if bits is None else (bits,):
        if (levels := _most_levels(largest_group, width)) >= wanted:
            return Lanes(width, levels)
    raise ConfigError(
        f"the sum of {largest_group} clients' codes could overflow lanes of {bits or max(BITS)} bits",
        key="codec.lane_bits" if bits else "codec",
        cure="smaller groups or wider lanes",
    )


def plan_subset(fraction: float) -> int:
    """One coordinate in how many is sent, for a fraction of 1, 1/2, 1/4, 1/8 or 1/16.

    Raises:
        ConfigError: another fraction.
    """
    for keep_one_in in KEEP_ONE_IN:
        if fraction == 1 / keep_one_in:
            return keep_one_in
    cure = "use 1, 0.5, 0.25, 0.125 or 0.0625"
    raise ConfigError(f"{fraction} of the coordinates cannot be sent", key="codec.fraction", cure=cure)


def check_lanes(largest_group: int, levels: int, bits: int) -> Lanes:
    """A client's check of a header: lanes that its group's sum cannot overflow.

    Raises:
        RemoteProtocolError: lanes of another width, too few or too many levels, or a sum that could overflow.
    """
    if bits in BITS and MIN_LEVELS <= levels <= MAX_LEVELS:
        lanes = Lanes(bits, levels)
        if 1 <= largest_group <= lanes.largest_group:
            return lanes
    message = f"a group of {largest_group} with {levels} levels in lanes of {bits} bits"
    raise RemoteProtocolError(f"{message}: could overflow or cannot be", reason="codec")


def clip_sigmas(levels: int) -> float:
    """The range for L levels: the table, linear in between (plain arithmetic: the same on every machine)."""
    if levels in CLIP_SIGMAS:
        return CLIP_SIGMAS[levels]
    below = max(known for known in CLIP_SIGMAS if known < levels)
    above = min(known for known in CLIP_SIGMAS if known > levels)
    part = (levels - below) / (above - below)
    return CLIP_SIGMAS[below] + part * (CLIP_SIGMAS[above] - CLIP_SIGMAS[below])


def layout_of(size: int) -> Layout:
    """Rows and columns for D parameters.

    Blocks of 4096, or of the next power of two when D is smaller. Where 4096 rows would pad by more than D / 64 (a
    model of a few ten thousand parameters), shorter blocks keep the upload small.
    """
    if size < BLOCK_ROWS:
        return Layout(size, 1 << (size - 1).bit_length(), 1)
    rows = BLOCK_ROWS
    while rows > _MIN_BLOCK_ROWS and rows * -(-size // rows) > size + size // 64:
        rows //= 2
    return Layout(size, rows, -(-size // rows))


def _most_levels(group: int, bits: int) -> int:
    """The largest even L <= MAX_LEVELS with g (L - 1) <= 2^w - 1."""
    return min(MAX_LEVELS, ((1 << bits) - 1) // group + 1) // 2 * 2
