"""Who attacks in a poisoned demo, and how: names, the attack's flags, and what the attackers want."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from roughfed.deploy.attack import ATTACKS, Attack
from roughfed.deploy.attack.poison.labels import PARTS
from roughfed.errors import ConfigError
from roughfed.registry import look_up

if TYPE_CHECKING:
    from roughfed.config.values import ServerSees
    from roughfed.deploy.attack.poison import Data

NAMES = {name: attack for name, attack in ATTACKS.items() if name != "none"}


@dataclass(frozen=True, slots=True)
class Attackers:
    """The hostile clients of a demo.

    Attributes:
        attack: name of a row of ATTACKS.
        names: of the clients.
        flags: of `python -m roughfed.deploy.attack`, beside the directory and the place where colluders meet.
        meet: whether they show one another what they trained.
    """

    attack: str
    names: tuple[str, ...]
    flags: tuple[str, ...]
    meet: bool

    @property
    def row(self) -> Attack:
        """What they do."""
        return ATTACKS[self.attack]

    @property
    def goal(self) -> Data:
        """What is wrong with their data, where they want certain examples to be taken for something else; else ""."""
        poison = self.row.poison
        return poison.data if poison is not None and poison.names_a_class else ""

    def flags_of(self, name: str) -> tuple[str, ...]:
        """Of one of them: `flags`, and which part of a patch it has where each has its own."""
        part = str(1 + self.names.index(name) % PARTS)
        return (*self.flags, "--part", part) if self.goal == "part" else self.flags


def how_many(share: float, clients: int) -> int:
    """The attackers among so many clients, rounded down, one at least; a share of 0.29 of 100 is 29.

    Raises:
        ConfigError: none, or a half of them or more.
    """
    if not 0 < share < 0.5:
        cause = f"{share:g} of the clients as attackers"
        raise ConfigError(
            cause, key="--attackers", cure="give a share above 0 and below 0.5: no rule holds against half"
        )
    count = max(1, math.floor(Fraction(str(share)) * clients))
    if 2 * count >= clients:
        raise ConfigError(
            f"{count} attacker of {clients} clients", key="--clients", cure=f"give {2 * count + 1} or more"
        )
    return count


def attackers_of(attack: str, count: int, names: Sequence[str], server_sees: ServerSees) -> Attackers:
    """The last clients attack, so many of them.

    Raises:
        ConfigError: no such attack, or one that makes no sense with these settings.
    """
    row = look_up(NAMES, attack, key="--attack")
    poison = row.poison
    if poison is not None and poison.colludes == "must" and count < 2:
        least = Fraction(2, len(names))
        cure = f"give --attackers {float(least):.2g}" if least < Fraction(1, 2) else "give more --clients"
        raise ConfigError(f"{attack} needs two who know of one another, here is {count}", key="--attackers", cure=cure)
    if row.lie is not None and server_sees != "sketches":
        cause = f"{attack} is a lie about sketches, and with server_sees = {server_sees} nobody sends any"
        raise ConfigError(cause, key="--attack", cure="leave --server-sees at sketches, or choose another attack")
    meet = poison is not None and bool(poison.colludes) and count > 1
    flags = [attack]
    if poison is not None and (meet or poison.counts):
        flags += ["--of", str(count)]
    if poison is not None and poison.counts:
        flags += ["--clients", str(len(names))]
    return Attackers(attack, tuple(names[-count:]), tuple(flags), meet)
