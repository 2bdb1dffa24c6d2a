"""`roughfed bench clusters`: planted clusters, found from sketches or by choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class ClusterFlags:
    """Which federations are played."""

    plants: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all]")] = ""
    methods: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all]")] = ""
    rules: Annotated[str, typer.Option(help="defence.rule: none, default. [default: both]")] = ""
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=4, help="Rounds of each cluster; the last 3 are averaged.")] = 20
    examples: Annotated[int, typer.Option(min=100, help="Training images in all, of Fashion-MNIST's 60,000.")] = 5000
    clients: Annotated[int, typer.Option(min=14, help="Clients, all in one process.")] = 20
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 1


def bench_clusters(context: Context, flags: ClusterFlags) -> Answer:
    """Plant clients whose labels are permuted among others, and see who finds them, and what it gains.

    Real codec, sketches, defence and training on Fashion-MNIST, in one process and without the masks, which change no
    bit of a sum. A federation takes half a minute of a core.
    """
    from roughfed.deploy.bench.clusters import RULES, ClusterOptions, run_clusters_bench
    from roughfed.deploy.bench.learning import LearningOptions

    learning = LearningOptions(
        clients=flags.clients, examples=flags.examples, model="mlp", batch_size=32, lr_decay=0.97
    )
    options = ClusterOptions(
        learning,
        rounds=flags.rounds,
        seeds=tuple(range(flags.seeds)),
        plants=_names(flags.plants),
        methods=_names(flags.methods),
        rules=_names(flags.rules) or RULES,
        workers=flags.workers,
    )
    return Answer(run_clusters_bench(options, say=lambda name, figures: context.say(_line(name, figures))))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(";") if name.strip()]


def _line(name: str, figures: Mapping[str, object]) -> str:
    shown = {key: float(str(value)) for key, value in figures.items()}
    split = f", split after {shown['split_after']:.1f} rounds" if shown["split_after"] >= 0 else ""
    return (
        f"{name:<34} accuracy {shown['accuracy']:.3f} (second law {shown['second']:.3f}), "
        f"clusters {shown['clusters']:.1f}, recovered {shown['recovered']:.0f}{split}, left out {shown['excluded']:.1%}"
    )
