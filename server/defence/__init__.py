"""Step 9: a view of the round becomes a verdict for each client. A rule is one file and one row.

A row says what the server must see of single clients for the rule to work, and how many clients it needs; `select`
names whom it leaves out and why. Everybody else counts in full: under secure aggregation a verdict is yes or no.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.server.defence import multi_krum
from roughfed.server.defence.view import View, view_of_claims, view_of_files

if TYPE_CHECKING:
    from roughfed.config.values import ServerSees

__all__ = ["RULES", "Rule", "View", "check_rule", "tolerated", "view_of_claims", "view_of_files"]

STRENGTH: dict[ServerSees, int] = {"sums": 0, "sketches": 1, "updates": 2}
"""What shows more of a single client has the higher number, and serves every rule that needs less."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the room's table.

    Attributes:
        needs: the weakest `privacy.server_sees` that the rule works with.
        min_clients: f -> fewest rows that it can judge with f attackers among them.
        select: (view, f) -> name -> reason of everybody left out; raises TooFewClients below `min_clients`.
    """

    needs: ServerSees
    min_clients: Callable[[int], int]
    select: Callable[[View, int], dict[str, str]]


def _nobody(_view: View, _f: int) -> dict[str, str]:
    return {}


RULES: dict[str, Rule] = {
    "none": Rule("sums", lambda _f: 1, _nobody),
    "multi-krum": Rule("sketches", multi_krum.min_clients, multi_krum.select),
}


def check_rule(rule: str, server_sees: ServerSees) -> None:
    """Refuse, before the first round, a rule that cannot work with what the server sees.

    Raises:
        ConfigError: an unknown rule, or one that needs to see more.
    """
    row = look_up(RULES, rule, key="defence.rule")
    if STRENGTH[server_sees] >= STRENGTH[row.needs]:
        return
    enough = " or ".join(f'"{sees}"' for sees in STRENGTH if STRENGTH[sees] >= STRENGTH[row.needs])
    shown = "sums of groups" if server_sees == "sums" else server_sees
    works = " or ".join(f'"{name}"' for name in RULES if STRENGTH[RULES[name].needs] <= STRENGTH[server_sees])
    raise ConfigError(
        f'"{rule}" judges single clients by their {row.needs}, but with privacy.server_sees = "{server_sees}" '
        f"the server sees only {shown}",
        key="defence.rule",
        cure=f"set privacy.server_sees to {enough}, or defence.rule to {works}",
    )


def tolerated(attackers_share: float, n: int) -> int:
    """f, the attackers to tolerate among n rows: the share of them, rounded down.

    Worked out anew in every round from the rows that were admitted. The share is taken as written: 0.29 of 100 is 29,
    which floating point alone would make 28.

    Args:
        attackers_share: `defence.attackers`, in [0, 0.5).
        n: admitted rows.

    Raises:
        ConfigError: a share outside of its range.
    """
    if not 0 <= attackers_share < 0.5:
        raise ConfigError(
            f"a share of {attackers_share} attackers",
            key="defence.attackers",
            cure="choose a number from 0 to below 0.5: no rule holds against half of the clients",
        )
    return math.floor(Fraction(str(attackers_share)) * n)
