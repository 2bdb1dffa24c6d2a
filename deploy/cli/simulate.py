"""`roughfed simulate`: many virtual clients on this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command, plural, show
from roughfed.deploy.cli.settings import pairs
from roughfed.report.scale import percent

ABANDONED = 5
"""Exit code where round after round came to nothing: the trainers failed, or the settings ask too much."""

if TYPE_CHECKING:
    from roughfed.deploy.simulate.options import SimulateOptions
    from roughfed.deploy.simulate.rounds import Audience, SimulatedRound
    from roughfed.deploy.simulate.run import Simulated


@dataclass(frozen=True, slots=True)
class SimulateFlags:
    """How large a federation, of what, and who trains."""

    clients: Annotated[int, typer.Option("--clients", "-n", min=2, metavar="N", help="Virtual clients.")] = 100
    cohort: Annotated[int, typer.Option(min=0, metavar="M", help="Of them in a round; 0 = all.")] = 0
    rounds: Annotated[int, typer.Option(min=1, metavar="R", help="Rounds of the run.")] = 10
    app: Annotated[
        str,
        typer.Option(
            metavar="FILE:NAME",
            help="Function (index, clients) that gives the Client of one: the own model, its part of the own data.",
        ),
    ] = ""
    server_app: Annotated[
        str,
        typer.Option(
            metavar="FILE:NAME",
            help="With --app: a Client whose test data the server evaluates on. [default: client 0's model, no data]",
        ),
    ] = ""
    data: Annotated[
        str, typer.Option(help="Listed data: digits, fashion-mnist or mnist. [default: digits without --app]")
    ] = ""
    data_dir: Annotated[str, typer.Option(help="Folder of the data's files.")] = ""
    model: Annotated[str, typer.Option(help="Listed model. [default: by the data]")] = ""
    partition: Annotated[str, typer.Option(help="iid, dirichlet, shards or quantity-skew. [default: dirichlet]")] = ""
    alpha: Annotated[
        float | None, typer.Option(help="Concentration of the division; smaller = more skewed. [default: 0.5]")
    ] = None
    scenario: Annotated[
        str, typer.Option(help="What is rough: clean, long-tail, noisy, continual or rough. [default: clean]")
    ] = ""
    server_sees: Annotated[str, typer.Option(help="Of a single client: updates, sketches or sums.")] = "sketches"
    seed: Annotated[int, typer.Option(min=0, help="Of everything, secrets too.")] = 0
    workers: Annotated[int, typer.Option(min=1, help="Trainer processes, or Ray actors.")] = 2
    device: Annotated[
        str, typer.Option(help="Where trainer processes compute: cpu, cuda, cuda:N, mps or auto; they share it.")
    ] = "cpu"
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
            app=self.app,
            server_app=self.server_app,
            data=self.data,
            data_dir=self.data_dir,
            model=self.model,
            partition=self.partition,
            alpha=self.alpha,
            scenario=self.scenario,
            server_sees=self.server_sees,
            seed=self.seed,
            workers=self.workers,
            device=self.device,
            ray=self.ray,
            lose=self.lose,
            at=self.at,
            silent=self.silent,
            settings=pairs(self.settings),
            out=self.out,
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "simulate", flags=SimulateFlags, needs=("torch",))(run)


def run(context: CommandContext, flags: SimulateFlags) -> Answer:
    """Simulate a federation of many clients on this machine.

    The real server, agents, trainers, masks and journals in one process and a few trainer processes, without sockets.
    Everything follows from --seed, secrets too: the same command gives the same model, on a cluster as well.

    With --lose a share of every cohort vanishes, by the seed, and is back in the next round: how many rounds commit
    nevertheless, and what became of the others' updates, is told by stage. round.quorum is then 4 unless it is set, and
    a deadline that only the lost are waited for passes at once.
    """
    from roughfed import logs
    from roughfed.deploy.simulate.run import PAUSED, simulate
    from roughfed.server.round.run import LOST_ROUNDS

    logs.setup(level="DEBUG" if context.debug else "CRITICAL")  # rounds, and trainings that fail, are told in words

    with screen(context) as shown:
        found = simulate(flags.options(), shown)
    context.say(end_words(found))
    for at, figures in found.losses.items():
        context.say(stage_words(at, figures))
    if found.folder:
        context.say(f"roughfed report --dir {found.folder}/server")
    if found.ended == PAUSED and not flags.lose:
        context.warn(f"{LOST_ROUNDS} rounds in a row were abandoned, so the run ended early; --debug shows why")
        return Answer(found.plain(), exit_code=ABANDONED)
    return Answer(found.plain())


@contextmanager
def screen(context: CommandContext) -> Generator[Audience]:
    """Who tells a person how it goes; on a terminal with a line at the bottom that says where the simulation stands."""
    from roughfed.deploy.simulate.rounds import Audience

    console = context.console()
    live = console.is_terminal and not (context.json or context.debug)

    def tell(each: SimulatedRound) -> None:
        show(console, round_words(each))
        context.event({"round": asdict(each)})

    def warn(text: str) -> None:
        if live:  # the same console: another one would write into the line at the bottom
            show(console, f"warning: {text}", style="yellow")
        else:
            context.warn(text)

    if not live:
        yield Audience(round_over=tell, complain=warn)
        return
    with console.status("") as line:
        yield Audience(round_over=tell, progress=line.update, complain=warn)


def round_words(each: SimulatedRound) -> str:
    """A round in a line."""
    accuracy = ""
    if each.accuracy is not None:
        accuracy = f", accuracy {each.accuracy:.3f}"
    elif each.accuracy_before is not None:
        whose = " (the clients' own data)" if each.measured_by == "clients" else ""
        accuracy = f", accuracy before it {each.accuracy_before:.3f}{whose}"
    return (
        f"round {each.round} {each.outcome} in {each.seconds:.2f} s: {each.accepted} of {each.cohort} clients, "
        f"{each.upload_bytes / 1e6:.2f} MB up{accuracy}{lost_words(each) or missing_words(each)}"
    )


def missing_words(each: SimulatedRound) -> str:
    """Why some of a cohort do not count; nothing where all of them do."""
    named = ", ".join(f"{count} {why}" for why, count in sorted(each.missing.items()))
    return f"; not counted: {named}" if named else ""


def end_words(found: Simulated) -> str:
    """The run in a line."""
    accuracy, of = "", "" if found.accuracy_of == found.model_version else f" of version {found.accuracy_of}"
    if found.accuracy is not None:
        accuracy = f", accuracy{of} {found.accuracy:.3f}"
    failed = f"; {found.failed} trainings failed" if found.failed else ""
    played = f"{plural(found.clients, 'client')}, {plural(len(found.rounds), 'round')} in {found.seconds:.1f} s"
    version = f"version {found.model_version}{accuracy}, digest {found.model_digest[:16]}"
    return f"{played} ({found.ended}): {version}{failed}"


def lost_words(each: SimulatedRound) -> str:
    """What is said of a round's losses; nothing where nobody is lost."""
    if (found := each.losses) is None:
        return ""
    return f"; {found.lost} lost ({found.at}), {found.counted} of {found.survivors} others count"


def stage_words(at: str, figures: Mapping[str, object]) -> str:
    """The rounds of one stage in a line (`roughfed.deploy.simulate.dropout_outcomes.StageTally.plain`)."""
    kept, left_out, void = (percent(float(str(figures[f"{name}_share"]))) for name in ("counted", "excluded", "void"))
    return (
        f"lost at {at}: {figures['committed']} of {figures['rounds']} rounds committed; of the survivors' updates "
        f"{kept} counted, {left_out} were left out by the defence, {void} came into no sum "
        f"({figures['void_groups']} of {figures['groups']} groups void)"
    )
