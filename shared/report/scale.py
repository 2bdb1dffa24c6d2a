"""From values to positions on paper: round tick marks, and numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

Format = Callable[[float], str]

LARGEST = 1e100
SMALLEST_SPAN = 1e-9  # of the values themselves; what differs by less is drawn as equal


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from values `low..high` to positions `start..end` (`end` may be the smaller one)."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Position of a value; values outside are drawn at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def drawable(value: float | None) -> TypeGuard[float]:
    """Whether a value was measured, is finite, and is not so large that the paper would overflow."""
    return value is not None and abs(value) <= LARGEST


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that can be drawn."""
    return [v for v in values if drawable(v)]


def ticks(low: float, high: float, *, about: int = 5, step_of: Sequence[float] = (1, 2, 2.5, 5, 10)) -> list[float]:
    """Evenly spaced round numbers that cover `low..high`, near `about` of them; at least two.

    Bounds that are equal, not finite or too far apart give an axis of length 1 from `low`.
    """
    span = high - low
    if not (drawable(span) and span > SMALLEST_SPAN * max(1.0, abs(low), abs(high))):
        low = low if abs(low) < 1e9 else 0.0
        high, span = low + 1, 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (*step_of, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def byte_ticks(high: float, *, about: int = 5) -> list[float]:
    """Ticks from 0 that are round in the binary unit in which they are written."""
    unit = 1024.0 ** _unit_power(high)
    return [t * unit for t in ticks(0.0, max(high, 1.0) / unit, about=about)]


def number(value: float) -> str:
    """A plain number, short: 12,500 or 0.034 or 1.2e-07."""
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def alike(high: float) -> Format:
    """How to write values up to `high` with the same digits: two where they are largest."""
    digits = max(0, 1 - math.floor(math.log10(high))) if drawable(high) and high > 0 else 0
    return lambda value: number(float(f"{value:.{digits}f}")) if digits == 0 else f"{value:.{min(digits, 12)}f}"


def percent(value: float) -> str:
    """A share of 1 as per cent, one decimal where it says something."""
    return f"{value * 100:.1f}".removesuffix(".0") + " %"


def size(value: float) -> str:
    """Bytes in binary units."""
    power = _unit_power(value)
    scaled = value / 1024.0**power
    digits = f"{scaled:.0f}" if power == 0 or scaled >= 100 else f"{scaled:.1f}".removesuffix(".0")
    return f"{digits} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def seconds(value: float) -> str:
    """A duration, in the unit in which it is read: 0.4 ms, 1.25 s, 3 min 20 s, 2 h 5 min."""
    if value < 0.9995:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    if value < 60:
        return f"{value:.3g} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def _unit_power(value: float) -> int:
    return min(int(math.log(value, 1024) + 1e-9), 4) if value >= 1024 else 0
