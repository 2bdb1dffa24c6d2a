"""`roughfed personal`: a client's own model as a file for other programs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command


@dataclass(frozen=True, slots=True)
class PersonalFlags:
    """Where to."""

    out: Annotated[Path, typer.Option(help="The file to write (safetensors); an existing one is replaced.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "personal", flags=PersonalFlags)(personal)


def personal(context: CommandContext, flags: PersonalFlags) -> Answer:
    """Write the model that this client uses: its own, made of the newest global one that is here.

    For a client directory. Parts of the method that personalise are applied, private tensors are in it, and nothing of
    it is sent. Integer buffers are not in it.
    """
    from roughfed.client.local.own_model import write_own
    from roughfed.client.members import credential_files
    from roughfed.deploy import agent
    from roughfed.deploy.cli.processes import client_command

    place = agent.ClientFiles(context.folder)
    settings = agent.load(context.folder, {})
    out = flags.out.absolute()
    papers = credential_files.load(place.papers)
    found = asyncio.run(write_own(place.state, papers, client_command(context.folder, settings), out))
    context.say(f"wrote {flags.out}: this client's own model of {found['run']}, {found['parameters']:,} parameters")
    return Answer({**found, "out": str(out)})
