"""`roughfed bench bad-network`: a federation whose clients have one bad line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.chaos import duration, size
from roughfed.deploy.cli.command import Answer, Context, command

if TYPE_CHECKING:
    from roughfed.deploy.chaos.faults import Faults


@dataclass(frozen=True, slots=True)
class BadNetworkFlags:
    """Who plays, and how bad the line is."""

    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 8
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 1_000_000
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that they play.")] = 4
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    latency: Annotated[str, typer.Option(help="That every byte takes one way.")] = "100ms"
    jitter: Annotated[str, typer.Option(help="Up to so much more, uniform.")] = ""
    rate: Annotated[
        str, typer.Option(metavar="SIZE", help="Of the line in a second and each way, for all clients together.")
    ] = "1000000"
    cut: Annotated[float, typer.Option(min=0, max=1, help="Share of connections that are cut somewhere.")] = 0.01
    within: Annotated[str, typer.Option(metavar="SIZE", help="First bytes of a connection in which that happens.")] = (
        "4 MiB"
    )
    cut_after: Annotated[str, typer.Option(metavar="SIZE", help="Cut every connection after so many bytes.")] = ""
    seed: Annotated[
        int, typer.Option(min=0, help="Of the line; with 25, one of the first two connections is of that 1 %.")
    ] = 25
    beside: Annotated[bool, typer.Option(help="Play the same over the line without its cuts, too.")] = True

    def faults(self) -> Faults:
        """How bad the line is."""
        from roughfed.deploy.chaos.faults import Faults

        return Faults(
            latency_s=duration("--latency", self.latency),
            jitter_s=duration("--jitter", self.jitter),
            bytes_per_s=size("--rate", self.rate),
            cut_after=size("--cut-after", self.cut_after),
            cut_share=self.cut,
            cut_within=size("--within", self.within),
        )


def register(group: typer.Typer) -> None:
    """Add the command to `roughfed bench`."""
    command(group, "bad-network", flags=BadNetworkFlags)(bench_bad_network)


def bench_bad_network(context: Context, flags: BadNetworkFlags) -> Answer:
    """Play rounds over one narrow, long line that is cut: every one must commit, and how full the line was."""
    from roughfed.deploy.bench.bad_network import BadNetworkOptions, run_bad_network_bench
    from roughfed.deploy.cli.bench import told

    options = BadNetworkOptions(
        flags.params,
        flags.clients,
        flags.rounds,
        flags.server_sees,
        flags.faults(),
        flags.seed,
        flags.beside,
    )
    return told(context, run_bad_network_bench(options))
