"""`roughfed bench live`: methods on rough data, in federations of real processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class LiveFlags:
    """Which federations are played."""

    protocol: Annotated[str, typer.Option(help="long-tail, noisy-symmetric, noisy-asymmetric, continual or rough.")] = (
        "long-tail"
    )
    conditions: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all]")] = ""
    methods: Annotated[str, typer.Option(help="Methods beside or instead, with semicolons between them.")] = ""
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each is played with.")] = 3
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    rounds: Annotated[int, typer.Option(min=0, help="Rounds; 0 = the protocol's.")] = 0


def bench_live(context: Context, flags: LiveFlags) -> Answer:
    """Train with several methods on the same rough Fashion-MNIST, in real processes with masks on.

    A federation takes 1 to 3 minutes on two cores.
    """
    from roughfed.deploy.bench.live import LiveOptions, run_live_bench

    def say(name: str, figures: Mapping[str, object]) -> None:
        known = [f"{key} {_shown(value)}" for key, value in figures.items() if value is not None]
        context.say(f"{name:<32} {', '.join(known)}")

    options = LiveOptions(
        flags.protocol,
        conditions=_names(flags.conditions),
        methods=_names(flags.methods),
        seeds=tuple(range(flags.seeds)),
        server_sees=flags.server_sees,
        rounds=flags.rounds,
    )
    return Answer(run_live_bench(options, say=say))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(";") if name.strip()]


def _shown(value: object) -> str:
    return f"{value['mean']:.3f}±{value['std']:.3f}" if isinstance(value, Mapping) else str(value)
