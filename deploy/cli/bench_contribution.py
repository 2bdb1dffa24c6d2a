"""`roughfed bench contribution`: how well a few evaluations tell what clients are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class ContributionFlags:
    """Which federations are scored."""

    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each federation.")] = 10
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ...")] = 3
    budget: Annotated[int, typer.Option(min=3, help="Models that a method may ask for in a round, of 1,024.")] = 51
    examples: Annotated[int, typer.Option(min=10, help="Examples that they are evaluated on.")] = 1000
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    svg: Annotated[Path | None, typer.Option(help="Write a plot.")] = None
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None


def bench_contribution(context: Context, flags: ContributionFlags) -> Answer:
    """Hold every method against the exact Shapley value of ten clients of Fashion-MNIST.

    They differ in what they have: few examples, wrong labels, some classes only, classes that nobody else has; two are
    the same. The real training, weights, methods and sketches, in one process. A federation of ten rounds takes three
    minutes of a calm core, nearly all of it for the exact value.
    """
    from roughfed.deploy.bench.contribution import ContributionOptions, run_contribution_bench
    from roughfed.report.contribution_bars import contribution_svg

    options = ContributionOptions(
        rounds=flags.rounds,
        seeds=tuple(range(flags.seeds)),
        model=flags.model,
        examples=flags.examples,
        budget=flags.budget,
    )
    result = run_contribution_bench(options, say=lambda name, figures: context.say(_line(name, figures)))
    for path, text in ((flags.out, json.dumps(result, indent=1)), (flags.svg, contribution_svg(result))):
        if path is not None:
            path.write_text(text, encoding="utf-8")
            context.say(f"written: {path}")
    return Answer(result)


def _line(name: str, figures: Mapping[str, object]) -> str:
    return f"{name}: " + "  ".join(f"{method} {float(str(value)):.3f}" for method, value in figures.items())
