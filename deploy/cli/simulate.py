"""`roughfed simulate`: many virtual clients on this machine, or on a Ray cluster."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command
from roughfed.deploy.cli.settings import pairs

if TYPE_CHECKING:
    from roughfed.deploy.simulate.options import SimulateOptions
    from roughfed.deploy.simulate.run import Round


@dataclass(frozen=True, slots=True)
class Flags:
    """How large a federation, of what, and who trains."""

    clients: Annotated[int, typer.Option("--clients", "-n", min=2, metavar="N", help="Virtual clients.")] = 100
    cohort: Annotated[int, typer.Option(min=0, metavar="M", help="Of them in a round; 0 = all.")] = 0
    rounds: Annotated[int, typer.Option(min=1, metavar="R", help="Rounds of the run.")] = 10
    data: Annotated[str, typer.Option(help="Listed data: digits, fashion-mnist or mnist.")] = "digits"
    data_dir: Annotated[str, typer.Option(help="Folder of the data's files.")] = ""
    model: Annotated[str, typer.Option(help="Listed model. [default: by the data]")] = ""
    partition: Annotated[str, typer.Option(help="iid, dirichlet, shards or quantity-skew.")] = "dirichlet"
    alpha: Annotated[float, typer.Option(help="Concentration of the division; smaller = more skewed.")] = 0.5
    scenario: Annotated[str, typer.Option(help="What is rough: clean, long-tail, noisy, continual or rough.")] = "clean"
    server_sees: Annotated[str, typer.Option(help="Of a single client: updates, sketches or sums.")] = "sketches"
    seed: Annotated[int, typer.Option(min=0, help="Of everything, secrets too.")] = 0
    workers: Annotated[int, typer.Option(min=1, help="Trainer processes, or Ray actors.")] = 2
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help='Train on a Ray cluster (extra [ray]); "local" starts one here.')
    ] = ""
    settings: Annotated[
        list[str], typer.Option("--set", "-o", metavar="KEY=VALUE", help="Any other setting of fed.toml; repeatable.")
    ] = field(default_factory=list[str])
    out: Annotated[Path | None, typer.Option(help="Folder that keeps everything. [default: nothing is kept]")] = None

    def options(self) -> SimulateOptions:
        """The same without the command line's forms."""
        from roughfed.deploy.simulate.options import SimulateOptions

        return SimulateOptions(
            clients=self.clients,
            cohort=self.cohort,
            rounds=self.rounds,
            data=self.data,
            data_dir=self.data_dir,
            model=self.model,
            partition=self.partition,
            alpha=self.alpha,
            scenario=self.scenario,
            server_sees=self.server_sees,
            seed=self.seed,
            workers=self.workers,
            ray=self.ray,
            settings=pairs(self.settings),
            out=self.out,
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "simulate", flags=Flags)(run)


def run(context: Context, flags: Flags) -> Answer:
    """Simulate a federation of many clients on this machine.

    The real server, agents, trainers, masks and journals in one process and a few trainer processes, without sockets.
    Everything follows from --seed, secrets too: the same command gives the same model, on a cluster as well.
    """
    from roughfed import logs
    from roughfed.deploy.simulate.run import simulate

    logs.setup(level="DEBUG" if context.debug else "ERROR")

    def tell(each: Round) -> None:
        accuracy = "" if each.accuracy is None else f", accuracy {each.accuracy:.3f}"
        context.say(
            f"round {each.round} {each.outcome} in {each.seconds:.2f} s: {each.accepted} of {each.cohort} clients, "
            f"{each.upload_bytes / 1e6:.2f} MB up{accuracy}"
        )
        context.event({"round": asdict(each)})

    found = simulate(flags.options(), tell=tell)
    context.say(
        f"{found.clients} clients, {len(found.rounds)} rounds in {found.seconds:.1f} s ({found.ended}): version "
        f"{found.model_version}, digest {found.model_digest[:16]}"
    )
    if found.folder:
        context.say(f"roughfed report --dir {found.folder}/server")
    return Answer(found.plain())
