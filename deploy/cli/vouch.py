"""`roughfed vouch`: have the defence spare a client whose data are known to be unlike the others'."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.release import check_member
from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class VouchFlags:
    """Whom to spare, and why."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the client.")]
    because: Annotated[str, typer.Option(metavar="TEXT", help="For whoever looks at the status; one line.")] = ""
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Judge it like everybody again.")] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "vouch", flags=VouchFlags)(vouch)


def vouch(context: CommandContext, flags: VouchFlags) -> Answer:
    """Have the defence of a running server spare a client, from the next verdict on.

    For one that is left out again and again, and of which you know that its data are only unlike the others'. Ask its
    owner before: what a client that is vouched for does to the model, nobody stops any more, but for updates that are
    far too long, and your own `roughfed quarantine`. Only the rule "default" spares anybody. It holds when the server
    is started again, and until another key comes under the name. --withdraw works while no server runs as well.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.transport import control_socket

    if flags.withdraw:
        if flags.because:
            raise ConfigError("a vouch that ends needs no reason", key="--because", cure="leave it out")
        journal = ServerFiles(context.folder).state / "journal.db"
        if control_socket.is_running(context.folder) or not journal.exists():
            control_socket.ask(context.folder, "withdraw-vouch", name=flags.name)
        else:
            withdraw_in_journal(journal.parent, flags.name)
        context.say(f"{flags.name} is judged like everybody again")
        return Answer({"vouched": False, "name": flags.name})
    check_member(ServerFiles(context.folder).ca, flags.name)
    control_socket.ask(context.folder, "vouch", name=flags.name, because=flags.because)
    context.say(f"{flags.name} is vouched for; this ends with: roughfed vouch {flags.name} --withdraw")
    return Answer({"vouched": True, "name": flags.name, "because": flags.because.strip()})


def withdraw_in_journal(state: Path, name: str) -> None:
    """End a vouch for a client of a server that does not run."""
    from roughfed.server.defence.vouched import withdraw
    from roughfed.server.storage.store import Store

    with closing(Store(state)) as store:
        asyncio.run(withdraw(store.journal, name))
