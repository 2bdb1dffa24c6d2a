"""`roughfed bench free-riders`: who trains nothing, and after how many rounds it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class FreeRiderFlags:
    """Which federations are played."""

    clients: Annotated[int, typer.Option(min=14, help="Clients, six of them free-riders, three of one rare class.")] = (
        20
    )
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 50
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that each federation is played with.")] = 3
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them.")] = 0
    alphas: Annotated[str, typer.Option(help="Skews of the Dirichlet division, with commas between them.")] = "0.5,0.1"
    modes: Annotated[str, typer.Option(help="updates, sketches, or both.")] = "updates,sketches"
    examples: Annotated[int, typer.Option(min=1000, help="Training images in all, of Fashion-MNIST's 60,000.")] = 8000
    dim: Annotated[int, typer.Option(min=64, help="sketch.dim.")] = 128
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


def bench_free_riders(context: Context, flags: FreeRiderFlags) -> Answer:
    """Measure after how many rounds free-riders are flagged, and whether anybody honest is.

    Fashion-MNIST with a long tail; honest clients with nothing but one rare class among the others. The real tests,
    codec, sketches and training, in one process for each federation. A federation takes a minute of a core.
    """
    from dataclasses import replace

    from roughfed.deploy.bench.free_riders import FreeRiderOptions, Mode, run_free_rider_bench
    from roughfed.errors import ConfigError

    modes = [name.strip() for name in flags.modes.split(",") if name.strip()]
    try:
        alphas = tuple(float(text) for text in flags.alphas.split(","))
    except ValueError:
        raise ConfigError(f"{flags.alphas!r} is no list of numbers", key="--alphas", cure="0.5,0.1") from None
    if not modes or set(modes) - {"updates", "sketches"}:
        raise ConfigError(f"{flags.modes!r} is no list of modes", key="--modes", cure="updates,sketches")
    options = FreeRiderOptions(
        rounds=flags.rounds,
        seeds=tuple(range(flags.first_seed, flags.first_seed + flags.seeds)),
        alphas=alphas,
        modes=cast("list[Mode]", modes),
        dim=flags.dim,
        workers=flags.workers,
    )
    options = replace(options, learning=replace(options.learning, clients=flags.clients, examples=flags.examples))
    return Answer(run_free_rider_bench(options, say=lambda name, found: context.say(_line(name, found))))


def _line(name: str, found: Mapping[str, Any]) -> str:
    after = ", ".join(f"{kind} {number or 'never'}" for kind, number in found["flagged"].items())
    honest = ", ".join(f"{client} in {rounds}" for client, rounds in found["false"].items()) or "nobody"
    return f"{name}: {after}; honest: {honest} (closest {found['closest']:.2f}); accuracy {found['accuracy']:.3f}"
