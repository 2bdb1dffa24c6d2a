"""Rounds whose clients have one bad line, and how much of its rate is put to use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from roughfed.codec.downlink import payload_bytes
from roughfed.config.federation import CodecSettings
from roughfed.deploy.chaos.faults import Faults
from roughfed.deploy.chaos.proxy import Counts
from roughfed.deploy.chaos.threaded_proxy import bad_line
from roughfed.deploy.speed.federation import HOST, Bench, prepare, running, wait_for_end
from roughfed.deploy.speed.measure import Sampler, machine
from roughfed.deploy.speed.round import (
    PlayedRound,
    RoundBenchOptions,
    expected_digests,
    read_journal,
    received_bytes,
    start_all,
)
from roughfed.errors import ConfigError, RoughfedError
from roughfed.server.app import Ports
from tests.bench.command import Benchmark
from tests.bench.load.spans import covered, phases, spans

LINE = Faults(latency_s=0.1, bytes_per_s=1e6, cut_share=0.01, cut_within=4 << 20)
"""200 ms there and back, 1 MB/s each way for all clients together, one connection in a hundred cut."""

EVERYBODY_COUNTS = '[defence]\nrule = "none"\n'
"""Updates that are drawn at random may look odd to a defence, which is no fault of the line."""


@dataclass(frozen=True, slots=True)
class BadNetworkOptions:
    """Who plays, and how bad the line is."""

    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 1_000_000
    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 8
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that they play.")] = 4
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    faults: Faults = field(default_factory=lambda: LINE)
    seed: Annotated[
        int, typer.Option(min=0, help="Of the line; with 25, one of the first two connections is of that 1 %.")
    ] = 25
    beside: Annotated[bool, typer.Option(help="Play the same over the line without its cuts, too.")] = True
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one run may take.")] = 900.0


def run_bad_network_bench(options: BadNetworkOptions) -> dict[str, object]:
    """Play the rounds over the line.

    Returns:
        the figures. Goodput of a direction: the bytes that the rounds needed (each client's model, or what leads to it,
        and each client's update, once) by the seconds in which at least one client was at such a transfer, as a share
        of the line's rate. A client is at it from when it wants it until it has it all, or the receipt: asking, turns,
        lost connections and tries again are in it.

    Raises:
        ConfigError: the line has no rate, or the federation is none.
        RoughfedError: a round did not commit with every client, or to another model than the seeds say.
    """
    if not options.faults.bytes_per_s:
        raise ConfigError("there is no share of a line without a rate", key="--rate", cure='for example "1 MiB"')
    figures: dict[str, object] = {
        "bench": "bad-network",
        **{name: getattr(options, name) for name in ("params", "clients", "rounds", "server_sees", "seed")},
        **{name: value for name, value in asdict(options.faults).items() if value},
        **one_run(options),
    }
    if options.beside:
        whole = replace(options.faults, cut_after=0, cut_share=0.0, half_open_share=0.0, refuse_share=0.0)
        beside = one_run(replace(options, faults=whole))
        figures |= {f"uncut_{name}": beside[name] for name in ("seconds", "up_goodput", "down_goodput")}
    return figures | {"machine": machine()}


def one_run(options: BadNetworkOptions) -> dict[str, object]:
    """The rounds over one line."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        bench = prepare(
            Path(temporary),
            params=options.params,
            clients=options.clients,
            rounds=options.rounds,
            server_sees=options.server_sees,
        )
        with (bench.server_folder / "fed.toml").open("a") as settings:
            settings.write(EVERYBODY_COUNTS)
        bench.client_log = "DEBUG"
        with Sampler() as sampler, running(bench) as ports, lines(options, ports) as (bench.ways, counts):
            start_all(bench, options.clients, sampler)
            wait_for_end(bench, timeout_s=options.timeout_s)
        journal = bench.server_folder / "state" / "journal.db"
        played, received = read_journal(journal), received_bytes(journal)
        check(options, played)
        useful = {"down": downloaded(options), "up": received}
        times = busy(bench)
    figures: dict[str, object] = {
        "connections": counts.connections,
        "cut": counts.cut,
        "refused": counts.refused,
        "half_open": counts.half_open,
        "seconds": played[-1].closed_at - played[0].opened_at,
    }
    for side, line in (("up", counts.bytes[0]), ("down", counts.bytes[1])):
        figures |= {
            f"{side}_useful_bytes": useful[side],
            f"{side}_seconds": times[side],
            f"{side}_goodput": useful[side] / times[side] / options.faults.bytes_per_s,
            f"{side}_line_bytes_per_useful": line / useful[side],
        }
    return figures


@contextmanager
def lines(options: BadNetworkOptions, ports: Ports) -> Iterator[tuple[Ports, Counts]]:
    """The line to the federation port, and one just as bad to the enrolment port."""
    with (
        bad_line((HOST, ports.enrolment), options.faults, seed=options.seed + 1) as (enrolment, _),
        bad_line((HOST, ports.federation), options.faults, seed=options.seed) as (federation, counts),
    ):
        yield replace(ports, federation=federation, enrolment=enrolment), counts


def check(options: BadNetworkOptions, played: Sequence[PlayedRound]) -> None:
    """Every round must have committed, with every client, to the model that the seeds say."""
    if len(played) != options.rounds:
        raise RoughfedError(f"{len(played)} of {options.rounds} rounds were committed")
    if lost := {r.number: len(r.accepted) for r in played if len(r.accepted) != options.clients}:
        raise RoughfedError(f"of {options.clients} clients, only so many counted in these rounds: {lost}")
    same = RoundBenchOptions(options.params, options.clients, options.rounds, options.server_sees)
    if expected_digests(same, played) != [r.model_digest for r in played]:
        raise RoughfedError("the models are not those that the clients' seeds give")


def downloaded(options: BadNetworkOptions) -> int:
    """Bytes that the clients needed: the first model whole, then what leads from each to the next."""
    quantised = CodecSettings().downlink_of(options.server_sees) == "int8"
    later = payload_bytes(options.params) if quantised else 4 * options.params
    return options.clients * (4 * options.params + (options.rounds - 1) * later)


def busy(bench: Bench) -> dict[str, float]:
    """Seconds in which at least one client was at a download, and at an upload."""
    told = [phases(bench.folder / name / "log") for name in bench.clients]
    sides = {"down": "downloading", "up": "uploading"}
    return {side: covered(chain.from_iterable(spans(each, what) for each in told)) for side, what in sides.items()}


BENCH = Benchmark(BadNetworkOptions, run_bad_network_bench)
