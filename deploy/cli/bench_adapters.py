"""`roughfed bench adapters`: low-rank adapters against training all of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class AdapterFlags:
    """Which federations learn."""

    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that every condition is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 20
    conditions: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all of them]")] = ""


def bench_adapters(context: Context, flags: AdapterFlags) -> Answer:
    """Let a federation learn new classes on a pretrained model: all of it, adapters, or its head, and their bytes.

    The trainer's own loop, ten clients in one process, Fashion-MNIST, sums without masks. All take about five minutes
    of one calm core.
    """
    from roughfed.deploy.bench.adapters import AdapterOptions, run_adapter_bench

    def say(name: str, figures: Mapping[str, object]) -> None:
        context.say(
            f"{name:<28} accuracy {figures['accuracy']:.4f}  from seed to seed {figures['spread']:.4f}  "
            f"{figures['upload_bytes']:,} bytes an update"
        )

    names = [name.strip() for name in flags.conditions.split(";") if name.strip()]
    options = AdapterOptions(seeds=tuple(range(flags.seeds)), rounds=flags.rounds, conditions=names)
    return Answer(run_adapter_bench(options, say=say))
