"""`roughfed simulate`: many virtual clients on this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
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
    lose: Annotated[float, typer.Option(metavar="SHARE", help="Of each cohort, lost in every round; 0 = nobody.")] = 0.0
    at: Annotated[
        str,
        typer.Option(
            metavar="STAGE",
            help="Before which message: advertise, shares, upload, sketch, consistency or unmask; each (a round each, "
            "in turn); random (a stage for each lost client). [default: random]",
        ),
    ] = ""
    silent: Annotated[
        bool, typer.Option("--silent", help="Lost clients keep their session and say nothing; deadlines decide.")
    ] = False
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
            lose=self.lose,
            at=self.at,
            silent=self.silent,
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

    With --lose a share of every cohort vanishes, by the seed, and is back in the next round: how many rounds commit
    nevertheless, and what became of the others' updates, is told by stage. round.quorum is then 4 unless it is set, and
    a deadline that only the lost are waited for passes at once.
    """
    from roughfed import logs
    from roughfed.deploy.simulate.run import simulate

    level = "CRITICAL" if flags.lose else "ERROR"  # that a group cannot go on is no error where clients are lost
    logs.setup(level="DEBUG" if context.debug else level)

    def tell(each: Round) -> None:
        accuracy = "" if each.accuracy is None else f", accuracy {each.accuracy:.3f}"
        context.say(
            f"round {each.round} {each.outcome} in {each.seconds:.2f} s: {each.accepted} of {each.cohort} clients, "
            f"{each.upload_bytes / 1e6:.2f} MB up{accuracy}{lost_words(each)}"
        )
        context.event({"round": asdict(each)})

    found = simulate(flags.options(), tell=tell)
    context.say(
        f"{found.clients} clients, {len(found.rounds)} rounds in {found.seconds:.1f} s ({found.ended}): version "
        f"{found.model_version}, digest {found.model_digest[:16]}"
    )
    for at, figures in found.losses.items():
        context.say(stage_words(at, figures))
    if found.folder:
        context.say(f"roughfed report --dir {found.folder}/server")
    return Answer(found.plain())


def lost_words(each: Round) -> str:
    """What is said of a round's losses; nothing where nobody is lost."""
    if (found := each.losses) is None:
        return ""
    return f"; {found.lost} lost ({found.at}), {found.counted} of {found.survivors} others count"


def stage_words(at: str, figures: Mapping[str, object]) -> str:
    """The rounds of one stage in a line (`roughfed.deploy.simulate.losses.Tally.plain`)."""
    kept, left_out, void = (f"{figures[f'{name}_share']:.1%}" for name in ("counted", "excluded", "void"))
    return (
        f"lost at {at}: {figures['committed']} of {figures['rounds']} rounds committed; of the survivors' updates "
        f"{kept} counted, {left_out} were left out by the defence, {void} had no group that could be unmasked "
        f"({figures['void_groups']} of {figures['groups']} groups void)"
    )
