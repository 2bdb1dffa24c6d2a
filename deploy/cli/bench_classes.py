"""`roughfed bench classes`: a quarter of the clients sends less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context


@dataclass(frozen=True, slots=True)
class ClassesFlags:
    """Who sends less, and of what."""

    divisions: Annotated[str, typer.Option(help="Names, with commas between them. [default: all]")] = ""
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each division is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 3 are averaged.")] = 20
    examples: Annotated[int, typer.Option(min=100, help="Training images in all, of Fashion-MNIST's 60,000.")] = 8000
    clients: Annotated[int, typer.Option(min=16, help="Clients, all in one process.")] = 28
    alpha: Annotated[float, typer.Option(help="Skew of the Dirichlet division; smaller is more skewed.")] = 0.5
    rare: Annotated[bool, typer.Option(help="The quarter holds most of two classes of examples.")] = False
    rule: Annotated[str, typer.Option(help="defence.rule, within each class.")] = "none"


def bench_classes(context: Context, flags: ClassesFlags) -> Answer:
    """Let a quarter of the clients send a sixteenth, or train the classifier alone, masks on, on Fashion-MNIST.

    The real codec, sums and training, in one process and without the masks, which change no bit of a sum. A federation
    takes half a minute of a core.
    """
    from roughfed.deploy.bench.classes import ClassesOptions, run_classes_bench
    from roughfed.deploy.bench.learning import LearningOptions

    learning = LearningOptions(
        clients=flags.clients,
        examples=flags.examples,
        alpha=flags.alpha,
        model="cnn-strided",
        batch_size=32,
        lr_decay=0.93,
    )
    options = ClassesOptions(
        learning,
        rounds=flags.rounds,
        seeds=tuple(range(flags.seeds)),
        divisions=[name.strip() for name in flags.divisions.split(",") if name.strip()],
        rare=flags.rare,
        rule=flags.rule,
    )
    return Answer(run_classes_bench(options, say=lambda name, found: context.say(_line(name, found))))


def _line(name: str, found: Mapping[str, object]) -> str:
    shown = {key: float(str(found.get(key, "nan"))) for key in ("accuracy", "rare_recall", "points")}
    return (
        f"{name:<8} accuracy {shown['accuracy']:.3f} ({shown['points']:+.2f} points), recall of the two classes "
        f"{shown['rare_recall']:.3f}, bytes of the quarter and of the others {found['upload_bytes']}"
    )
