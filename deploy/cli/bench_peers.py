"""`roughfed bench peers`: this project beside Flower and NVFlare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class PeersFlags:
    """What is played, and where the others are."""

    flower: Annotated[
        str, typer.Option(envvar="ROUGHFED_FLOWER_PYTHON", help="Python of an environment with flwr.")
    ] = ""
    nvflare: Annotated[
        str, typer.Option(envvar="ROUGHFED_NVFLARE_PYTHON", help="Python of an environment with nvflare.")
    ] = ""
    clients: Annotated[int, typer.Option(min=4, help="Clients, each a process of its own.")] = 4
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model, float32.")] = 100_000
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; the first one warms up and does not count.")] = 3
    systems: Annotated[
        str, typer.Option(help="flower, flower-secagg, nvflare, with commas between them. [default: all]")
    ] = ""
    timeout: Annotated[float, typer.Option(min=10, help="Seconds that one system's run may take.")] = 1800.0


def bench_peers(context: Context, flags: PeersFlags) -> Answer:
    """Play the same rounds with this project, masks on, and with Flower and NVFlare: one table with ratios.

    Nothing is trained. Flower plays twice, in the clear and with SecAgg+, each as it comes. Who has no Python named is
    left out; with all of them it takes about 10 minutes on two cores.
    """
    from roughfed.deploy.bench.peers.compare import PeersOptions, run_peers_bench
    from roughfed.deploy.bench.peers.peer import Work
    from roughfed.deploy.bench.peers.table import lines

    work = Work(clients=flags.clients, params=flags.params, rounds=flags.rounds, timeout_s=flags.timeout)
    systems = tuple(name.strip() for name in flags.systems.split(",") if name.strip())
    outcome = run_peers_bench(PeersOptions(work, flags.flower, flags.nvflare, systems), say=context.note)
    for line in lines(outcome.rows[0], outcome.rows[1:]):
        context.say(line)
    for system, why in outcome.left_out.items():
        context.say(f"{system} is left out: {why}")
    for system, why in outcome.failed.items():
        context.warn(f"{system} failed: {why}")
    return Answer(outcome.figures(), exit_code=1 if outcome.failed else 0)
