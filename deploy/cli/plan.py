"""`roughfed plan`: what the settings mean, before anything runs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.settings import pairs
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.types import Spec


@dataclass(frozen=True, slots=True)
class PlanFlags:
    """What the plan is worked out for."""

    clients: Annotated[int | None, typer.Option(min=1, help="Connected clients. [default: a few examples]")] = None
    params: Annotated[
        int | None, typer.Option(min=1, help="Parameters of the model. [default: those of the run in --dir, if any]")
    ] = None
    of: Annotated[list[str], typer.Option("--of", metavar="TIER=CLIENTS", help="Clients of one tier; repeatable.")] = (
        field(default_factory=list[str])
    )
    settings: Annotated[
        list[str], typer.Option("--set", "-o", metavar="KEY=VALUE", help="Try another setting; repeatable.")
    ] = field(default_factory=list[str])
    everything: Annotated[bool, typer.Option("--all", help="Show the settings at their defaults, too.")] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "plan", flags=PlanFlags)(show_plan)


def show_plan(context: CommandContext, flags: PlanFlags) -> Answer:
    """Check fed.toml, and say what it means.

    The settings that differ from their defaults and where they come from, what the server sees, who may fail, the
    groups and how often they are void, bytes per round. What cannot work is refused, with a way out.
    """
    from roughfed.deploy import aggregator
    from roughfed.deploy.cli.processes import check_model
    from roughfed.deploy.plan import plan
    from roughfed.deploy.plan_sums import shape_of
    from roughfed.deploy.plan_table import render

    config = aggregator.load(context.folder, pairs(flags.settings))
    spec = known_spec(context.folder)
    told = flags.params and flags.params * (2 if config.trainer.scaffold else 1)  # control variates behind them
    size = told or (spec.size if spec else None)
    shape = shape_of(spec) if spec else None
    found = plan(config, connected=flags.clients, size=size, shape=shape, spec=spec, of_tier=of_tiers(flags.of))
    check_model(context.folder, config)
    context.say(render(found, everything=flags.everything))
    return Answer(found.as_dict())


def of_tiers(texts: list[str]) -> dict[str, int]:
    """TIER=CLIENTS texts by class; "standard" is the standard one.

    Raises:
        ConfigError: one of them is none.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not number.isdecimal() or not int(number):
            raise ConfigError(f"{text!r} is not TIER=CLIENTS", key="--of", cure="for example --of thin=8")
        found["" if name == "standard" else name] = int(number)
    return found


def known_spec(folder: Path) -> Spec | None:
    """The model of the run in a directory; None before its first start."""
    from roughfed.deploy import aggregator
    from roughfed.deploy.summary import open_store

    if not (aggregator.ServerFiles(folder).state / "journal.db").is_file():
        return None
    with closing(open_store(folder)) as store:
        known = store.run()
        return known[1] if known else None
