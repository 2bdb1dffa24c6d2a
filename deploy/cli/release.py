"""`roughfed quarantine` and `roughfed release`: keep a client out of the rounds, and ask it again."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

NAMED = 8
"""Members that a hint names."""


@dataclass(frozen=True, slots=True)
class QuarantineFlags:
    """Whom to keep out, and why."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the client.")]
    because: Annotated[str, typer.Option(metavar="TEXT", help="For whoever looks at the status; one line.")] = ""


@dataclass(frozen=True, slots=True)
class ReleaseFlags:
    """Whom to ask again."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the client.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "quarantine", flags=QuarantineFlags)(quarantine)
    command(app, "release", flags=ReleaseFlags)(release)


def quarantine(context: CommandContext, flags: QuarantineFlags) -> Answer:
    """Keep a client out of the rounds until it is released.

    It stays connected and a member; `roughfed revoke` turns it away for good. The open round does not wait for it, and
    what it has delivered is judged like everybody's. It holds when the server is started again.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.server.members.quarantine import checked
    from roughfed.transport import control_socket

    because = checked(flags.because)
    check_member(ServerFiles(context.folder).ca, flags.name)
    journal = ServerFiles(context.folder).state / "journal.db"
    if control_socket.is_running(context.folder) or not journal.exists():
        answer = control_socket.ask(context.folder, "quarantine", name=flags.name, because=because)
        why, connected = answer["because"], answer["connected"]
    else:
        why, connected = hold_in_journal(journal.parent, flags.name, because), False
    context.say(f"{flags.name} is quarantined {why}; it is asked again after: roughfed release {flags.name}")
    return Answer({"quarantined": flags.name, "because": why, "connected": connected})


def check_member(ca: Path, name: str) -> None:
    """A name that is mistyped would leave the client in the rounds; only the CA knows all names, where it is here.

    Raises:
        ConfigError: nobody of this name ever enrolled.
    """
    from roughfed.server.members.authority import CA_KEY, Authority

    if not (ca / CA_KEY).exists():
        return
    names = [member.name for member in Authority.open(ca).members()]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        cure = f"did you mean {near[0]}?" if near else f"members: {', '.join(names[:NAMED]) or 'nobody'}"
        raise ConfigError(f"there is no member {name[:80]!r}", key="NAME", cure=cure)


def hold_in_journal(state: Path, name: str, because: str) -> str:
    """Quarantine a client of a server that does not run; returns the reason as it is shown."""
    from roughfed.server.members.quarantine import hold
    from roughfed.server.storage.store import Store

    with closing(Store(state)) as store:
        return asyncio.run(hold(store.journal, name, because, time.time()))


def release(context: CommandContext, flags: ReleaseFlags) -> Answer:
    """Ask a quarantined client again.

    What was proved or noted about it stays in the journal, marked as released; what it does from now on counts anew.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.transport import control_socket

    journal = ServerFiles(context.folder).state / "journal.db"
    if control_socket.is_running(context.folder) or not journal.exists():
        known = control_socket.ask(context.folder, "status")["quarantined"]
        reason = reason_of(known, flags.name)
        control_socket.ask(context.folder, "release", name=flags.name)
    else:
        reason = in_journal(journal.parent, flags.name)
    context.say(f"released {flags.name}, which was quarantined: {reason}")
    return Answer({"released": flags.name, "was": reason})


def in_journal(state: Path, name: str) -> str:
    """Release a client of a server that does not run; returns why it was quarantined."""
    from roughfed.server.masked.journal import Stages
    from roughfed.server.storage.store import Store

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
