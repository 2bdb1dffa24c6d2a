"""Numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeGuard

Format = Callable[[float], str]

LARGEST = 1e100


def drawable(value: float | None) -> TypeGuard[float]:
    """Whether a value was measured, is finite, and is not so large that the paper would overflow."""
    return value is not None and abs(value) <= LARGEST


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that can be drawn."""
    return [v for v in values if drawable(v)]


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
