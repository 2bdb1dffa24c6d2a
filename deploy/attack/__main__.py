"""`python -m roughfed.deploy.attack NAME --dir DIR`: a hostile client in a federation of one's own.

DIR is a client's directory, enrolled before (`roughfed join --no-run`) or now (a join line in $ROUGHFED_JOIN). It
trains what its client.toml says, or with `--params` what the bench trains: a synthetic vector, without torch.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from roughfed import logs
from roughfed.crypto import join_line
from roughfed.deploy.attack import ATTACKS, Attack
from roughfed.deploy.attack.options import check, parse, plot_of, wrong_of
from roughfed.errors import ConfigError, RoughfedError

if TYPE_CHECKING:
    from roughfed.client.local.trainer_process import LocalTrainer
    from roughfed.config.client import ClientConfig
    from roughfed.crypto.join_line import JoinLine


def main() -> int:
    """Run one client; prints why it ended."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before grpc is imported; our own errors say what it would print
    arguments = parse()
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
    from roughfed.client import runner
    from roughfed.client.connection.rpc import Connection
    from roughfed.client.context import fresh_secret
    from roughfed.client.setup import Setup
    from roughfed.deploy import agent
    from roughfed.deploy.attack.lying_client import Liar
    from roughfed.deploy.attack.short_uploads import CuttingConnection
    from roughfed.secagg.client import ClientRound

    place, config = agent.ClientFiles(arguments.dir), agent.load(arguments.dir, {})
    trainer = trainer_of(arguments, attack, config)
    if line is not None:
        await agent.join(arguments.dir, line, policy=config.policy.server_sees)
    machine = ClientRound if attack.lie is None else Liar(attack.lie, after=arguments.after)
    connection = CuttingConnection if attack.cut else Connection
    signers = agent.organisations(arguments.dir, config)
    setup = Setup(
        config,
        place.state,
        place.papers,
        trainer,
        fresh_secret,
        machine,
        connection,
        training_seed=lambda job: job.seed,  # it hides nothing from the server, and a test can make its update again
        organisations=signers,
    )
    return await runner.run(setup)


def trainer_of(arguments: argparse.Namespace, attack: Attack, config: ClientConfig) -> LocalTrainer:
    """Who trains, with what the attack changes of it.

    Raises:
        ConfigError: a flag makes no sense with this attack.
    """
    from roughfed.deploy.attack.updates import PoisoningTrainer

    check(arguments, attack)
    trainer = _synthetic(arguments) if arguments.params else _of_data(arguments, attack, config)
    if attack.poison is None or attack.cut:
        return trainer
    return PoisoningTrainer(trainer, plot_of(arguments, attack, attack.poison))


def _synthetic(arguments: argparse.Namespace) -> LocalTrainer:
    from roughfed.deploy.attack.correlated_updates import RelatedTrainer
    from roughfed.deploy.synthetic import SyntheticTrainer

    pace_s, examples = arguments.pace, arguments.examples or 1
    if arguments.agree:
        return RelatedTrainer(arguments.params, arguments.agree, pace_s=pace_s, examples=examples)
    return SyntheticTrainer(arguments.params, pace_s=pace_s, examples=examples)


def _of_data(arguments: argparse.Namespace, attack: Attack, config: ClientConfig) -> LocalTrainer:
    from roughfed.client.local.trainer_process import TrainerProcess
    from roughfed.deploy import agent
    from roughfed.deploy.attack.apps import poisoning_command
    from roughfed.deploy.cli.processes import client_command

    state, command = agent.ClientFiles(arguments.dir).state, client_command(arguments.dir, config)
    if (wrong := wrong_of(arguments, attack)).data:
        command = poisoning_command(command, state.absolute(), wrong)
    return TrainerProcess(command, state / "trainer.log")


if __name__ == "__main__":
    sys.exit(main())
