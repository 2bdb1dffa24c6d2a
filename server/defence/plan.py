"""Which rule works with what the server sees, and how many attackers it is to hold against: asked before round 1."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.server.defence import RULES, Rows, Rule

if TYPE_CHECKING:
    from roughfed.config.values import ServerSees

ROWS: dict[ServerSees, Rows] = {"sums": "groups", "sketches": "sketches", "updates": "updates"}
"""What a row is in each mode."""


def rule_of(name: str) -> Rule:
    """A row of the table.

    Raises:
        ConfigError: no such rule.
    """
    return look_up(RULES, name, key="defence.rule")


def check_rule(rule: str, server_sees: ServerSees) -> None:
    """Refuse, before the first round, a rule that cannot work with what the server sees.

    Raises:
        ConfigError: an unknown rule, or one that needs to see more.
    """
    row = rule_of(rule)
    if ROWS[server_sees] in row.sees:
        return
    enough = " or ".join(f'"{sees}"' for sees, rows in ROWS.items() if rows in row.sees)
    shown = "sums of groups" if server_sees == "sums" else server_sees
    works = " or ".join(f'"{name}"' for name, other in RULES.items() if ROWS[server_sees] in other.sees)
    raise ConfigError(
        f'"{rule}" cannot judge what privacy.server_sees = "{server_sees}" shows of an update: {shown}',
        key="defence.rule",
        cure=f"set privacy.server_sees to {enough}, or defence.rule to {works}",
    )


def tolerated(f: float, n: int) -> int:
    """The attackers to tolerate among n rows: a number as it stands, or a share of them, rounded down.

    Worked out anew in every round from the rows that were admitted. A share is taken as written: 0.29 of 100 is 29,
    which floating point alone would make 28.

    Args:
        f: `defence.f`, a share in [0, 0.5) or a whole number.
        n: admitted rows.

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
    return math.floor(Fraction(str(f)) * n)
