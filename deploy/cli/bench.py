"""`roughfed bench ...`: how fast the federation itself is on this machine."""

from __future__ import annotations

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.speed.options import PeersOptions, RoundBenchOptions, UploadsBenchOptions


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Measure the framework itself.")
    command(group, "round", flags=RoundBenchOptions)(bench_round)
    command(group, "uploads", flags=UploadsBenchOptions)(bench_uploads)
    command(group, "peers", flags=PeersOptions, needs=("torch",))(bench_peers)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Measure the framework itself."""


def bench_round(context: CommandContext, options: RoundBenchOptions) -> Answer:
    """Measure rounds in which nothing is trained.

    The real server and agents over mutual TLS, beside a bare gRPC stream of the same bytes.
    """
    from roughfed.deploy.speed.round import run_round_bench

    return told(context, run_round_bench(options))


def bench_uploads(context: CommandContext, options: UploadsBenchOptions) -> Answer:
    """Let few, few of many that are connected, and many clients upload at once: seconds, and the server's memory."""
    if options.masked:
        from roughfed.deploy.speed.masked_uploads import run_masked_uploads_bench

        return told(context, run_masked_uploads_bench(options))
    from roughfed.deploy.speed.uploads import run_uploads_bench

    return told(context, run_uploads_bench(options))


def bench_peers(context: CommandContext, options: PeersOptions) -> Answer:
    """Play the same rounds with this project, masks on, and with Flower and NVFlare: one table with ratios.

    Nothing is trained. Flower plays twice, in the clear and with SecAgg+, each as it comes. Who has no Python named is
    left out; with all of them it takes about 10 minutes on two cores.
    """
    from roughfed.deploy.speed.peers.compare import run_peers_bench
    from roughfed.deploy.speed.peers.table import lines

    outcome = run_peers_bench(options, say=context.note)
    for line in lines(outcome.rows[0], outcome.rows[1:]):
        context.say(line)
    for system, why in outcome.left_out.items():
        context.say(f"{system} is left out: {why}")
    for system, why in outcome.failed.items():
        context.warn(f"{system} failed: {why}")
    return Answer(outcome.figures(), exit_code=1 if outcome.failed else 0)


def told(context: CommandContext, figures: dict[str, object]) -> Answer:
    """Show the figures one a line, and answer with them."""
    for name, value in figures.items():
        context.say(f"{name:<34} {shown(value)}")
    return Answer(figures)


def shown(value: object) -> str:
    """A figure for people."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
