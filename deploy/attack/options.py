"""The flags of `python -m roughfed.deploy.attack`, and which of them an attack has a use for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from roughfed.deploy.attack import ATTACKS, Attack
from roughfed.deploy.attack.collusion import PATIENCE_S, Meeting
from roughfed.deploy.attack.poison import Poison, times
from roughfed.deploy.attack.poison.labels import PARTS, SNEAKER, SOURCE, TARGET, LabelPoison
from roughfed.deploy.attack.updates import AttackPlan
from roughfed.errors import ConfigError

A_FIFTH = 5
"""n / f of an attacker that knows no better."""

HONEST = Poison("trains, and sends what came of it", "")
"""In place of the poison of whoever has none."""

Problem = tuple[str, object, str]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags, not yet held against one another."""
    return _parser().parse_args(arguments)


def check(given: argparse.Namespace, attack: Attack) -> None:
    """Refuse what this attack has no use for, and an attack that would be none.

    Raises:
        ConfigError: with key, cause and cure.
    """
    poison = attack.poison or HONEST
    if poison.colludes == "must" and given.colluders is None:
        cure = "--colluders SOCKET --of F, the same for all of them"
        raise ConfigError(f"{given.name} is nothing without others", key="--colluders", cure=cure)
    for key, wrong, cause in (*_without_use(given, attack, poison), *_out_of_range(given)):
        if wrong:
            raise ConfigError(cause, key=key, cure="leave it out")


def wrong_of(given: argparse.Namespace, attack: Attack) -> LabelPoison:
    """What is wrong with the data."""
    poison = attack.poison or HONEST
    source = given.source if given.source is not None else SNEAKER if poison.data == "edge" else SOURCE
    part = (given.part or 1) if poison.data == "part" else 0
    return LabelPoison(poison.data, source, TARGET if given.target is None else given.target, part)


def plot_of(given: argparse.Namespace, attack: Attack, poison: Poison) -> AttackPlan:
    """What the attacker has in mind.

    Raises:
        ConfigError: the colluders cannot meet where they want to.
    """
    if given.factor:
        size = abs(given.factor)
        poison = replace(poison, make=times(size if attack.factor > 0 else -size))
    attackers = given.of or 1
    meeting = None
    if given.colluders is not None:
        patience_s = given.patience or PATIENCE_S
        meeting = Meeting(given.colluders, str(given.dir.absolute()), of=attackers, patience_s=patience_s)
    clients = given.clients or A_FIFTH * attackers
    return AttackPlan(poison, clients, attackers, given.jitter, given.after, meeting)


def _without_use(given: argparse.Namespace, attack: Attack, poison: Poison) -> Iterator[Problem]:
    name, wrong_data = given.name, bool(poison.data)
    yield "--params", wrong_data and given.params, "a synthetic vector has no labels to flip"
    yield "--agree", given.agree and not given.params, "only synthetic vectors are made to agree: --params"
    yield "--pace", given.pace and not given.params, "only a synthetic training can take its time: --params"
    yield "--examples", given.examples and not given.params, "real data say how many examples they are: --params"
    yield "--factor", given.factor and not attack.factor, f"{name} multiplies by nothing that could be chosen"
    yield "--after", given.after and (wrong_data or attack.cut), f"{name} begins at once"
    yield "--after", given.after and not attack.hostile, f"{name} never begins"
    yield "--colluders", given.colluders is not None and not poison.colludes, f"{name} is done alone"
    yield "--jitter", given.jitter and not poison.colludes, f"{name} makes no copies that could differ"
    yield "--of", given.of and given.colluders is None and not poison.counts, f"{name} is the same for any number"
    yield "--clients", given.clients and not poison.counts, f"{name} is the same for any number"
    yield "--patience", given.patience and given.colluders is None, "nobody is waited for without --colluders"
    no_class = poison.data not in ("target", "edge")
    yield "--source", given.source is not None and no_class, f"{name} changes no one class"
    yield "--part", given.part and poison.data != "part", f"{name} paints no part of a patch"
    yield "--target", given.target is not None and not poison.names_a_class, f"{name} has no class in mind"
    wrong = wrong_of(given, attack)
    yield "--target", not no_class and wrong.source == wrong.target, f"class {wrong.target} is that already"


def _out_of_range(given: argparse.Namespace) -> Iterator[Problem]:
    yield "--of", given.colluders is not None and given.of < 2, "colluders are two at least"
    yield "--of", given.of < 0, "not below zero"
    yield "--clients", given.clients < 0 or 0 < given.clients < given.of, "no fewer than attackers"
    yield "--jitter", given.jitter < 0, "not below zero"
    yield "--after", given.after < 0, "not below zero"
    yield "--agree", not 0 <= given.agree <= 1, "a share, from 0 to 1"
    yield "--pace", given.pace < 0, "not below zero"
    yield "--examples", given.examples < 0, "not below zero"
    yield "--source", (given.source or 0) < 0, "classes count from 0"
    yield "--target", (given.target or 0) < 0, "classes count from 0"
    yield "--patience", given.patience < 0, "not below zero"
    yield "--part", not 0 <= given.part <= PARTS, f"quarters of the patch count from 1 to {PARTS}"


def _parser() -> argparse.ArgumentParser:
    attacks = "\n".join(f"  {name:18} {attack.about}" for name, attack in ATTACKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m roughfed.deploy.attack",
        description=f"A hostile client in a federation of one's own.\n\nattacks:\n{attacks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=ATTACKS, help="which one")
    parser.add_argument("--dir", type=Path, required=True, help="the client's directory")
    parser.add_argument("--after", type=int, default=0, help="rounds in which it is honest first")
    parser.add_argument("--factor", type=float, default=0.0, help="sign-flip, scale: size of the factor")
    parser.add_argument("--colluders", type=Path, metavar="SOCKET", help="where colluders on this machine meet")
    parser.add_argument("--of", type=int, default=0, metavar="F", help="how many attackers there are")
    parser.add_argument("--clients", type=int, default=0, metavar="N", help="how many clients there are (5 F)")
    parser.add_argument("--jitter", type=float, default=0.0, help="colluders: noise on each copy, part of its norm")
    parser.add_argument("--patience", type=float, default=0.0, help=f"colluders: seconds to wait ({PATIENCE_S:.0f})")
    rare = f"targeted-flip, edge-case: class that is mislabelled ({SOURCE}; {SNEAKER})"
    parser.add_argument("--source", type=int, help=rare)
    parser.add_argument("--target", type=int, help=f"targeted-flip and backdoors: class that is wanted ({TARGET})")
    parser.add_argument("--part", type=int, default=0, help=f"dba: quarter of the patch, 1 to {PARTS} (1)")
    parser.add_argument("--params", type=int, default=0, help="parameters of the synthetic vector")
    parser.add_argument("--agree", type=float, default=0.0, help="synthetic: part that all clients have in common, 0-1")
    parser.add_argument("--pace", type=float, default=0.0, help="synthetic: seconds that each training takes at least")
    parser.add_argument("--examples", type=int, default=0, help="synthetic: number of examples that it claims (1)")
    return parser
