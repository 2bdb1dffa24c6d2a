"""`roughfed vouch`: have the defence spare a client whose data are known to be unlike the others'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.release import check_member


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
    far too long, and your own `roughfed quarantine`. It holds when the server is started again.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.transport import control_socket

    if flags.withdraw:
        control_socket.ask(context.folder, "withdraw", name=flags.name)
        context.say(f"{flags.name} is judged like everybody again")
        return Answer({"vouched": False, "name": flags.name})
    check_member(ServerFiles(context.folder).ca, flags.name)
    control_socket.ask(context.folder, "vouch", name=flags.name, because=flags.because)
    context.say(f"{flags.name} is vouched for; this ends with: roughfed vouch {flags.name} --withdraw")
    return Answer({"vouched": True, "name": flags.name, "because": flags.because.strip()})
