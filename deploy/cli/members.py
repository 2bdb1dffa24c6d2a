"""`roughfed invite` and `roughfed revoke`: who belongs to the federation."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.reachable import chosen
from roughfed.errors import ConfigError, IdentityError
from roughfed.mode import MODES

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig


@dataclass(frozen=True, slots=True)
class InviteFlags:
    """Whom to invite, and where they knock."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the newcomer: a-z, 0-9 and hyphens.")]
    host: Annotated[str, typer.Option(help="Name or address at which it reaches this machine.")] = ""
    server: Annotated[
        bool, typer.Option("--server", help="Invite a server (roughfed server --no-ca), not a client.")
    ] = False
    edge: Annotated[
        bool, typer.Option("--edge", help="Invite an edge aggregator (roughfed server --upstream): a client, too.")
    ] = False
    replace: Annotated[
        bool, typer.Option("--replace", help="The name is taken and its machine lost: its old key dies.")
    ] = False
    organisation: Annotated[str, typer.Option(help="Name of the organisation that it belongs to.")] = ""
    ttl: Annotated[str, typer.Option(help="How long the invite is good. [default: identity.token_hours]")] = ""


@dataclass(frozen=True, slots=True)
class RevokeFlags:
    """Whom to turn away."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the member.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "invite", flags=InviteFlags)(invite)
    command(app, "revoke", flags=RevokeFlags)(revoke)


def invite(context: CommandContext, flags: InviteFlags) -> Answer:
    """Print the one line that lets a newcomer in.

    It works once. Nothing else goes to stdout, so it can be piped: roughfed invite a | ssh host roughfed join -
    """
    from roughfed.crypto.join_line import VARIABLE, JoinLine
    from roughfed.deploy import aggregator
    from roughfed.deploy.edge.run import VARIABLE as UPSTREAM
    from roughfed.server.members.authority import Authority

    if flags.server and flags.edge:
        raise ConfigError(
            "an edge is a client of the federation that invites it, not one of its servers",
            key="--edge",
            cure="leave --server out",
        )
    config = aggregator.load(context.folder, {})
    authority = Authority.open(aggregator.ServerFiles(context.folder).ca)
    refuse_revoked(context.folder, flags.name)
    host, what = (flags.host, "as you say") if flags.host else chosen(config)
    port = enrolment_port(context.folder, config)
    life = lifetime(flags.ttl, config)
    now, role = datetime.now(UTC), "server" if flags.server else "client"
    JoinLine(host, port, bytes(32), authority.fingerprint)  # a wrong --host is refused before the token exists
    secret = authority.invite(
        flags.name, now=now, role=role, ttl=life, replace=flags.replace, organisation=flags.organisation
    )
    line = JoinLine(host, port, secret, authority.fingerprint, mode_of(context.folder, config))
    run = f"{line.command()}{own_model(config)}"
    if flags.server:
        run = f"{VARIABLE}='{line.reveal()}' roughfed server --no-ca"
    elif flags.edge:
        run = f"{UPSTREAM}='{line.reveal()}' roughfed server --upstream"
    if not context.json:
        sys.stdout.write(run + "\n")
        sys.stdout.flush()
    until = now + life
    context.note(f"Run it on {flags.name}'s machine, once, before {until:%Y-%m-%d %H:%M} UTC; pass it on as a secret.")
    if line.server_sees == MODES[-1] and not flags.server:
        context.note(
            "This federation's server sees whole updates: the owner of that machine has to agree, by adding "
            f"--accept {line.server_sees} there."
        )
    context.note(f"It knocks at {line.address} ({what}); another name of this machine: --host HOST", style="dim")
    return Answer(
        {
            "name": flags.name,
            "role": role,
            "address": line.address,
            "server_sees": line.server_sees,
            "expires_at": until.isoformat(timespec="seconds"),
            "join_line": line.reveal(),
            "command": run,
        }
    )


def mode_of(folder: Path, config: FederationConfig) -> str:
    """What the server sees of a client: the running one's own word, else fed.toml's."""
    from roughfed.transport import control_socket

    if control_socket.is_running(folder):
        return str(control_socket.ask(folder, "status")["server_sees"])
    return config.privacy.server_sees


def own_model(config: FederationConfig) -> str:
    """The flag with which a newcomer names its copy of the federation's own model, if that has one."""
    file, _, name = config.model.app.rpartition(":")
    return f" --app {shlex.quote(f'{Path(file).name}:{name}')}" if file else ""


def refuse_revoked(folder: Path, name: str) -> None:
    """The server never takes a revoked name back, whatever key it comes with: better to hear of it here.

    Raises:
        IdentityError: reason "revoked".
    """
    from roughfed.deploy import aggregator
    from roughfed.server.storage.store import Store

    state = aggregator.ServerFiles(folder).state
    if not (state / "journal.db").exists():
        return
    with closing(Store(state)) as store:
        if name in store.revoked():
            raise IdentityError(
                f"{name!r} was revoked in this federation for good; choose another name", reason="revoked"
            )


def lifetime(text: str, config: FederationConfig) -> timedelta:
    """How long an invite is good.

    Raises:
        ConfigError: `--ttl` is no duration, or zero.
    """
    from pydantic_core import PydanticCustomError

    from roughfed.config.values import seconds

    if not text:
        return timedelta(hours=config.identity.token_hours)
    number = 0.0
    with suppress(PydanticCustomError):
        number = seconds(text)
    if not number:
        raise ConfigError(f"{text!r} is not a duration", key="--ttl", cure='"30m", "2h" or seconds')
    return timedelta(seconds=number)


def enrolment_port(folder: Path, config: FederationConfig) -> int:
    """Where the enrolment port is, or will be.

    Raises:
        ConfigError: the system picks it, and no server has run yet.
    """
    from roughfed.deploy import aggregator
    from roughfed.transport import control_socket

    if config.server.enrol_port and not control_socket.is_running(folder):
        return config.server.enrol_port
    if port := aggregator.known_ports(folder).enrolment:
        return port
    raise ConfigError(
        "the server here does not serve the enrolment port (--no-ca)",
        file=str(folder.absolute()),
        cure="invite where the CA is, the directory of `roughfed ca`",
    )


def revoke(context: CommandContext, flags: RevokeFlags) -> Answer:
    """Turn a member away for good.

    Its live session ends within a second.
    """
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.server.members.authority import CA_KEY, Authority
    from roughfed.server.storage.store import Store
    from roughfed.transport import control_socket

    place, done = ServerFiles(context.folder), list[str]()
    if (place.ca / CA_KEY).exists():
        Authority.open(place.ca).revoke(flags.name, now=datetime.now(UTC))
        done.append("the CA renews nothing for it")
    cut = False
    if control_socket.is_running(context.folder):
        cut = bool(control_socket.ask(context.folder, "revoke", name=flags.name)["was_connected"])
        done.append("its session was cut" if cut else "the running server refuses it")
    elif (place.state / "journal.db").exists():
        with closing(Store(place.state)) as store:
            asyncio.run(store.revoke(flags.name, time.time()))
        done.append("the server will refuse it")
    if not done:
        raise ConfigError(
            "there is neither a CA nor a server here", file=str(context.folder.absolute()), cure="name it with --dir"
        )
    context.say(f"revoked {flags.name}: {', '.join(done)}")
    return Answer({"revoked": flags.name, "was_connected": cut})
