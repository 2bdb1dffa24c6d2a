"""`roughfed bench fairness`: what the worst served clients gain by a fairness rule, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class FairnessFlags:
    """Which federations learn."""

    rows: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all]")] = ""
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each row is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the figures of the last 3 are averaged.")] = 25
    clients: Annotated[int, typer.Option(min=8, help="Clients, all in one process.")] = 20
    minority: Annotated[int, typer.Option(min=1, help="How many of them are unlike the others.")] = 3
    attackers: Annotated[float, typer.Option(help="Share of clients with flipped labels, where a row has such.")] = 0.2
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2


def bench_fairness(context: Context, flags: FairnessFlags) -> Answer:
    """Weigh clients by their loss, in the clear and as weight classes, on a split that a few clients suffer from.

    The real rules, training, defence, codec and sketches, in one process each and without the masks, which change no
    bit of a sum. A federation takes 10 seconds of a calm core; all rows with three seeds take a quarter of an hour of
    one.
    """
    from roughfed.deploy.bench.fairness import FairnessOptions, run_fairness_bench
    from roughfed.deploy.bench.skewed_clients import SkewOptions

    options = FairnessOptions(
        SkewOptions(clients=flags.clients, minority=flags.minority),
        rounds=flags.rounds,
        seeds=tuple(range(flags.seeds)),
        attackers=flags.attackers,
        rows=[name.strip() for name in flags.rows.split(";") if name.strip()],
        workers=flags.workers,
    )
    return Answer(run_fairness_bench(options, say=lambda name, figures: context.say(_line(name, figures))))


def _line(name: str, figures: Mapping[str, float]) -> str:
    shares = "  ".join(f"{key} {figures[key]:.3f}" for key in ("mean", "worst10", "best10", "std"))
    out = f"left out {figures['excluded_minority']:.0%} of the minority, {figures['excluded_hostile']:.0%} of the liars"
    return f"{name:<44} {shares}  weight {figures['weight']:.2f}  liar's {figures['hostile_weight']:.2f}  {out}"
