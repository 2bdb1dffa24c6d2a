"""`roughfed release`: ask a quarantined client again."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command
from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Flags:
    """Whom to ask again."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the client.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "release", flags=Flags)(release)


def release(context: Context, flags: Flags) -> Answer:
    """Ask a quarantined client again.

    What was proved or noted about it stays in the journal, marked as released; what it does from now on counts anew.
    """
    from roughfed.deploy.aggregator import Place
    from roughfed.deploy.cli import control

    journal = Place(context.folder).state / "journal.db"
    if control.is_running(context.folder) or not journal.exists():
        known = control.ask(context.folder, "status")["quarantined"]
        reason = reason_of(known, flags.name)
        control.ask(context.folder, "release", name=flags.name)
    else:
        reason = in_journal(journal.parent, flags.name)
    context.say(f"released {flags.name}, which was quarantined: {reason}")
    return Answer({"released": flags.name, "was": reason})


def in_journal(state: Path, name: str) -> str:
    """Release a client of a server that does not run; returns why it was quarantined."""
    from roughfed.server.masked.journal import Stages
    from roughfed.server.store import Store

    with closing(Store(state)) as store:
        stages = Stages(store.journal)
        reason = reason_of(stages.quarantined(), name)
        asyncio.run(stages.release(name, time.time()))
    return reason


def reason_of(quarantined: dict[str, str], name: str) -> str:
    """Why this client is quarantined.

    Raises:
        ConfigError: it is not.
    """
    if name in quarantined:
        return quarantined[name]
    names = ", ".join(sorted(quarantined)) or "nobody"
    raise ConfigError(f"{name} is not quarantined", key="NAME", cure=f"quarantined: {names}")
