"""`python -m roughfed.deploy.attack NAME --dir DIR`: a hostile client in a federation of one's own.

DIR is a client's directory, enrolled before (`roughfed join --no-run`) or now (a join line in $ROUGHFED_JOIN). It
trains what its client.toml says, or with `--params` what the bench trains: a synthetic vector, without torch.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy.attack import ATTACKS, Attack
from roughfed.errors import ConfigError, RoughfedError

if TYPE_CHECKING:
    from roughfed.client.session import LocalTrainer
    from roughfed.config.client import ClientConfig
    from roughfed.crypto.join_line import JoinLine


def main() -> int:
    """Run one client; prints why it ended."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported; our own errors say what it would print
    arguments = _parser().parse_args()
    logs.setup(level=os.environ.get("ROUGHFED_LOG", "INFO"), json=True)
    try:
        line = join_line.parse(text) if (text := os.environ.pop(join_line.VARIABLE, "")) else None
        end = asyncio.run(run(arguments, ATTACKS[arguments.name], line))
    except RoughfedError as error:
        print(f"error: {error.reason}: {error}", file=sys.stderr)
        if isinstance(error, ConfigError) and error.cure:
            print(f"cure: {error.cure}", file=sys.stderr)
        return error.exit_code
    print(end, flush=True)
    return 0


async def run(arguments: argparse.Namespace, attack: Attack, line: JoinLine | None) -> str:
    """Enrol if there is a line, then take part; returns why it ended.

    Raises:
        RoughfedError: a flag makes no sense with this attack, or the agent's reasons.
    """
    from roughfed.client import app
    from roughfed.client.session import fresh_secret
    from roughfed.deploy import agent
    from roughfed.deploy.attack.lying import Liar
    from roughfed.secagg.client import ClientRound

    place, config = agent.Place(arguments.dir), agent.load(arguments.dir, {})
    trainer = trainer_of(arguments, attack, config)
    if line is not None:
        await agent.join(arguments.dir, line)
    machine = ClientRound if attack.lie is None else Liar(attack.lie, after=arguments.after)
    return await app.run(app.Setup(config, place.state, place.papers, trainer, fresh_secret, machine))


def trainer_of(arguments: argparse.Namespace, attack: Attack, config: ClientConfig) -> LocalTrainer:
    """Who trains, with what the attack changes of it.

    Raises:
        ConfigError: a flag makes no sense with this attack.
    """
    from roughfed.client.local import TrainerProcess
    from roughfed.deploy import agent
    from roughfed.deploy.attack.apps import flipping_command
    from roughfed.deploy.attack.related import RelatedTrainer
    from roughfed.deploy.attack.updates import MultiplyingTrainer
    from roughfed.deploy.bench.synthetic import SyntheticTrainer
    from roughfed.deploy.cli.processes import client_command

    _check(arguments, attack)
    pace = {"pace_s": arguments.pace, "examples": arguments.examples}
    trainer: LocalTrainer
    if arguments.params and arguments.agree:
        trainer = RelatedTrainer(arguments.params, arguments.agree, **pace)
    elif arguments.params:
        trainer = SyntheticTrainer(arguments.params, **pace)
    else:
        state, command = agent.Place(arguments.dir).state, client_command(arguments.dir, config)
        if attack.flips_labels:
            command = flipping_command(command, state.absolute())
        trainer = TrainerProcess(command, state / "trainer.log")
    if attack.factor != 1.0:
        size = abs(arguments.factor or attack.factor)
        return MultiplyingTrainer(trainer, size if attack.factor > 0 else -size, after=arguments.after)
    return trainer


def _check(arguments: argparse.Namespace, attack: Attack) -> None:
    problems = (
        ("--params", attack.flips_labels and arguments.params, "a synthetic vector has no labels to flip"),
        ("--factor", attack.factor == 1.0 and arguments.factor, f"{arguments.name} multiplies nothing"),
        ("--after", attack.flips_labels and arguments.after, "labels are flipped from the start"),
        ("--agree", arguments.agree and not arguments.params, "only synthetic vectors are made to agree: --params"),
    )
    for key, wrong, cause in problems:
        if wrong:
            raise ConfigError(cause, key=key, cure="leave it out")


def _parser() -> argparse.ArgumentParser:
    attacks = "\n".join(f"  {name:18} {attack.about}" for name, attack in ATTACKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m roughfed.deploy.attack",
        description=f"{__doc__}\nattacks:\n{attacks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=ATTACKS, help="which one")
    parser.add_argument("--dir", type=Path, required=True, help="the client's directory")
    parser.add_argument("--after", type=int, default=0, help="rounds in which it is honest first")
    parser.add_argument("--factor", type=float, default=0.0, help="sign-flip, scale: size of the factor")
    parser.add_argument("--params", type=int, default=0, help="parameters of the synthetic vector")
    parser.add_argument("--agree", type=float, default=0.0, help="synthetic: part that all clients have in common, 0-1")
    parser.add_argument("--pace", type=float, default=0.0, help="synthetic: seconds that each training takes at least")
    parser.add_argument("--examples", type=int, default=1, help="synthetic: number of examples that it claims")
    return parser


if __name__ == "__main__":
    sys.exit(main())
