"""Which rule a setting names, how many attackers it is to hold against, and how many rows that takes."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from roughfed.config.values import ServerSees
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.server.defence import RULES, Rows, Rule
from roughfed.server.defence.plugins import KEY, brought, load, refuse_clash

ROWS: dict[ServerSees, Rows] = {"sums": "groups", "sketches": "sketches", "updates": "updates"}
"""What a row is in each mode."""


def rule_of(name: str) -> Rule:
    """A row of the table, or what an installed package brings under that name.

    Raises:
        ConfigError: no such rule; a package's that cannot be used; or one that bears the name of a row of the table.
    """
    point = brought(name)
    if point is None:
        return look_up(RULES, name, key=KEY)
    if name in RULES:
        refuse_clash(point)
    return load(point)


def tolerated(f: float, n: int) -> int:
    """The attackers to tolerate among n clients: a number as it stands, or a share of them, rounded down.

    Worked out anew in every round from the clients that were admitted. A share is taken as written: 0.29 of 100 is 29,
    which floating point alone would make 28.

    Args:
        f: `defence.f`, a share in [0, 0.5) or a whole number.
        n: admitted clients.

    Raises:
        ConfigError: a share outside of its range.
    """
    if isinstance(f, int):
        return f
    if not 0 <= f < 0.5:
        raise ConfigError(
            f"a share of {f} attackers",
            key="defence.f",
            cure="choose a number from 0 to below 0.5: no rule holds against half of the clients",
        )
    return math.floor(_as_written(f) * n)


@lru_cache(maxsize=16)
def _as_written(share: float) -> Fraction:
    return Fraction(str(share))


def rows_needed(rule: Rule, f: int) -> int:
    """Fewest rows with which a rule is asked at all: as many as it needs itself, and more than twice the attackers."""
    return max(rule.min_rows(f), 2 * f + 1 if f else 1)
