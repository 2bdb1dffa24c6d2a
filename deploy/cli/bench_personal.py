"""`roughfed bench personal`: models of one's own against the common one and against none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class PersonalFlags:
    """Which clients, and how unlike they are."""

    methods: Annotated[str, typer.Option(help="Names, with commas between them. [default: all]")] = ""
    alphas: Annotated[str, typer.Option(help="Skews of the Dirichlet division; smaller is more skewed.")] = "0.1,5"
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each method is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; what counts are the models after the last one.")] = 8
    examples: Annotated[int, typer.Option(min=1000, help="Images in all, of Fashion-MNIST's 70,000.")] = 50_000
    clients: Annotated[int, typer.Option(min=2, help="Clients, all in one process.")] = 20
    model: Annotated[str, typer.Option(help="A listed model.")] = "mlp"
    epochs: Annotated[int, typer.Option(min=1, help="Local passes in a round.")] = 1
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 32
    lr: Annotated[float, typer.Option(help="Local learning rate.")] = 0.03
    momentum: Annotated[float, typer.Option(help="Of the local steps.")] = 0.9
    tuned: Annotated[int, typer.Option(min=1, help="Epochs of fine-tuning.")] = 3
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2
    svg: Annotated[Path | None, typer.Option(help="Write the plot.")] = None
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON, to be drawn again with --drawn.")] = None
    drawn: Annotated[Path | None, typer.Option(help="Measure nothing: draw this JSON.")] = None


def bench_personal(context: Context, flags: PersonalFlags) -> Answer:
    """Compare personal models on clients whose data differ, each on a test part of its own distribution.

    The real training, state and parts, in one process each; the server is a mean weighted by examples.
    """
    from roughfed.deploy.bench.personal import PersonalOptions, run_personal_bench
    from roughfed.deploy.bench.personal_clients import LocalOptions
    from roughfed.deploy.cli.bench_poisoning import read_result
    from roughfed.report.personal_bench import personal_svg

    if flags.drawn is not None:
        result = read_result(flags.drawn, "personal")
    else:
        local = LocalOptions(
            clients=flags.clients,
            examples=flags.examples,
            model=flags.model,
            epochs=flags.epochs,
            batch_size=flags.batch_size,
            lr=flags.lr,
            momentum=flags.momentum,
            rounds=flags.rounds,
        )
        options = PersonalOptions(
            local,
            alphas=tuple(float(alpha) for alpha in flags.alphas.split(",")),
            seeds=tuple(range(flags.seeds)),
            methods=[name.strip() for name in flags.methods.split(",") if name.strip()],
            tuned=flags.tuned,
            workers=flags.workers,
        )
        result = run_personal_bench(options, say=lambda name, means: context.say(_line(name, means)))
    for path, text in (
        (flags.out, lambda: json.dumps(result, indent=1)),
        (flags.svg, lambda: personal_svg(result)),
    ):
        if path is not None:
            path.write_text(text(), encoding="utf-8")
            context.say(f"written: {path}")
    return Answer(result)


def _line(name: str, means: Mapping[str, object]) -> str:
    shown = ", ".join(f"{row} {float(str(mean)):.4f}" for row, mean in means.items())
    return f"{name:<32} {shown}"
