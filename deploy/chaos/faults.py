"""What a bad line does to the bytes of a connection, decided by a seed and by nothing else. No sockets, no clock.

A decision belongs to a connection, a direction and an offset in bytes, never to how much was read at once: the same
seed and the same bytes meet the same faults on a fast machine and on a slow one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from roughfed.errors import ConfigError

BLOCK = 16 * 1024
"""Bytes that share one draw of the jitter."""

End = Literal["", "cut", "half-open"]
Direction = Literal[0, 1]
"""0: from the one who connected, 1: to it."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the line is. 0 is never, or no limit.

    Attributes:
        latency_s: seconds that every byte takes one way.
        jitter_s: up to so many seconds more, uniform; bytes stay in order.
        bytes_per_s: of the line, each way, shared by its connections.
        cut_after: bytes, both ways together, after which every connection is cut (RST).
        cut_share: share of connections that are cut somewhere in their first `cut_within` bytes.
        cut_within: bytes; where a cut of `cut_share` may fall, uniform.
        half_open_share: share of connections that go silent there instead: both ends stay open, nothing passes.
        corrupt_every: mean bytes between flipped bits (geometric).
        refuse_share: share of connections that are closed before the first byte.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    cut_after: int = 0
    cut_share: float = 0.0
    cut_within: int = 1 << 20
    half_open_share: float = 0.0
    corrupt_every: float = 0.0
    refuse_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no line.

        Raises:
            ConfigError: a value is negative or not finite, or the shares add up to more than 1.
        """
        for name in self.__slots__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ConfigError(f"{value} cannot be", key=flag(name), cure="a number, 0 or more")
        if self.cut_share + self.half_open_share + self.refuse_share > 1:
            raise ConfigError(
                "more than all connections would fail",
                key=flag("cut_share"),
                cure="shares of cut, half-open and refused connections that add up to at most 1",
            )
        if 0 < self.corrupt_every < 1:
            raise ConfigError("there is no half of a byte", key=flag("corrupt_every"), cure="1 or more bytes")


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.removesuffix("_s").replace("_", "-")


class ConnectionFate:
    """What will happen to one connection as a whole."""

    def __init__(self, faults: Faults, *, seed: int, connection: int) -> None:
        """Draw it.

        Args:
            faults: of the line.
            seed: of everything.
            connection: number of the connection, from 0.
        """
        rng = np.random.default_rng([seed, connection])
        lot, where = float(rng.random()), int(rng.integers(1, max(2, faults.cut_within + 1)))
        self.refused = lot < faults.refuse_share
        lot -= faults.refuse_share
        self.end: End = ""
        self.end_at = math.inf
        if 0 <= lot < faults.cut_share:
            self.end, self.end_at = "cut", where
        elif 0 <= lot - faults.cut_share < faults.half_open_share:
            self.end, self.end_at = "half-open", where
        if faults.cut_after and faults.cut_after < self.end_at:
            self.end, self.end_at = "cut", faults.cut_after

    def left(self, passed: int) -> float:
        """Bytes that may still pass, after so many in both directions; infinite where nothing ends it."""
        return max(0.0, self.end_at - passed)


class Lane:
    """One direction of one connection: which bits flip, and how long its bytes take."""

    def __init__(self, faults: Faults, *, seed: int, connection: int, direction: Direction) -> None:
        """Draw what is needed as the bytes come; arguments as for `ConnectionFate`."""
        self._faults = faults
        self._flips, self._waits = np.random.default_rng([seed, connection, 1 + direction]).spawn(2)
        self._next_flip = self._gap()
        self._offset = 0
        self._blocks: list[float] = []

    def _gap(self) -> float:
        return float(self._flips.geometric(1 / self._faults.corrupt_every)) if self._faults.corrupt_every else math.inf

    def passes(self, data: bytes) -> tuple[bytes, int]:
        """The bytes as they arrive, and how many bits of them were flipped."""
        end, flipped = self._offset + len(data), 0
        if self._next_flip <= end:
            changed = bytearray(data)
            while self._next_flip <= end:
                changed[int(self._next_flip) - 1 - self._offset] ^= 1 << int(self._flips.integers(8))
                flipped += 1
                self._next_flip += self._gap()
            data = bytes(changed)
        self._offset = end
        return data, flipped

    def delay(self) -> float:
        """Seconds that the last byte that passed takes one way, without the time that the line's rate costs it."""
        if not self._faults.jitter_s:
            return self._faults.latency_s
        block = max(0, self._offset - 1) // BLOCK
        while len(self._blocks) <= block:
            self._blocks.append(float(self._waits.random()))
        return self._faults.latency_s + self._faults.jitter_s * self._blocks[block]
