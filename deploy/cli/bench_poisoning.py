"""`roughfed bench poisoning`: attacks against defences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from roughfed.deploy.cli.command import Answer, Context
from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class PoisoningFlags:
    """Which federations are attacked, and how."""

    attacks: Annotated[str, typer.Option(help="Names, with commas between them. [default: all]")] = ""
    defences: Annotated[str, typer.Option(help="Names, with semicolons between them. [default: all]")] = ""
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, ... that each pair is played with.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the accuracies of the last 3 are averaged.")] = 20
    examples: Annotated[int, typer.Option(min=100, help="Training images in all, of Fashion-MNIST's 60,000.")] = 8000
    clients: Annotated[int, typer.Option(min=4, help="Clients, all in one process.")] = 20
    alpha: Annotated[float, typer.Option(help="Skew of the Dirichlet division; smaller is more skewed.")] = 0.5
    imbalance: Annotated[float, typer.Option(min=1, help="Of the classes; 100 is a long tail.")] = 1.0
    attackers: Annotated[float, typer.Option(help="Share of hostile clients.")] = 0.2
    expected: Annotated[float, typer.Option(help="defence.f.")] = 0.2
    workers: Annotated[int, typer.Option(min=1, help="Federations that are played at once, a core each.")] = 2
    html: Annotated[Path | None, typer.Option(help="Write a page with the heat map.")] = None
    svg: Annotated[Path | None, typer.Option(help="Write the heat map alone.")] = None
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON, to be drawn again with --drawn.")] = None
    drawn: Annotated[Path | None, typer.Option(help="Measure nothing: draw this JSON.")] = None


def bench_poisoning(context: Context, flags: PoisoningFlags) -> Answer:
    """Play attacks against defences on Fashion-MNIST, the attackers knowing everything, and draw a heat map.

    The real rules, codec, sketches and training, in one process each and without the masks, which change no bit of a
    sum. A federation takes 20 seconds of a core; all attacks with a defence and three seeds take half an hour.
    """
    from roughfed.deploy.bench.learning import LearningOptions
    from roughfed.deploy.bench.poisoning import PoisoningOptions, run_poisoning_bench
    from roughfed.report.attack_heat import poisoning_svg, render_poisoning

    if flags.drawn is not None:
        result = read_result(flags.drawn, "poisoning")
    else:
        learning = LearningOptions(
            clients=flags.clients,
            examples=flags.examples,
            alpha=flags.alpha,
            imbalance=flags.imbalance,
            model="cnn-strided",
            batch_size=32,
            lr_decay=0.93,
        )
        options = PoisoningOptions(
            learning,
            rounds=flags.rounds,
            seeds=tuple(range(flags.seeds)),
            attackers=flags.attackers,
            expected=flags.expected,
            attacks=_names(flags.attacks, ","),
            defences=_names(flags.defences, ";"),
            workers=flags.workers,
        )
        result = run_poisoning_bench(options, say=lambda name, figures: context.say(_line(name, figures)))
    for path, text in (
        (flags.out, lambda: json.dumps(result, indent=1)),
        (flags.html, lambda: render_poisoning(result)),
        (flags.svg, lambda: poisoning_svg(result)),
    ):
        if path is not None:
            path.write_text(text(), encoding="utf-8")
            context.say(f"written: {path}")
    return Answer(result)


def read_result(path: Path, bench: str) -> dict[str, object]:
    """What a bench wrote with --out.

    Raises:
        ConfigError: it is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        cure = f"give what roughfed bench {bench} --out wrote"
        raise ConfigError(f"{path} holds no result of a bench", key="--drawn", cure=cure)
    return cast("dict[str, object]", found)


def _names(text: str, between: str) -> list[str]:
    return [name.strip() for name in text.split(between) if name.strip()]


def _line(name: str, figures: Mapping[str, object]) -> str:
    shown = {key: float(str(value)) for key, value in figures.items()}
    left_out = f"left out: {shown['excluded_hostile']:.0%} of hostile, {shown['excluded_honest']:.1%} of honest updates"
    accuracy = f"accuracy {shown['accuracy']:.3f} (spread {shown['spread']:.3f})"
    return f"{name:<44} {accuracy}, tail {shown['tail_accuracy']:.3f}, backdoor {shown['asr']:.2f}, {left_out}"
