"""`roughfed rotate`: new TLS keys and certificates, of a server, of clients that are connected, or of this client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class RotateFlags:
    """Whose."""

    names: Annotated[
        list[str], typer.Argument(metavar="[NAME]...", help="On a server: these clients.", show_default=False)
    ] = field(default_factory=list[str])
    clients: Annotated[bool, typer.Option("--clients", help="On a server: every client that is connected.")] = False


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "rotate", flags=RotateFlags)(rotate)


def rotate(context: CommandContext, flags: RotateFlags) -> Answer:
    """Make a new TLS key and get a certificate for it, now.

    In the directory of a server its own; running sessions stay, new ones see the new certificate. With NAMEs or
    --clients it asks clients, each of which renews at the CA and comes back, in the middle of a round or not. In the
    directory of a client, that client's. No round waits for any of it. Identity keys, which sign updates, stay.
    """
    if (context.folder / "fed.toml").exists():
        if flags.names or flags.clients:
            return ask_clients(context, flags.names)
        return rotate_server(context)
    if flags.names or flags.clients:
        raise ConfigError(
            "only a server can ask clients",
            file=str(context.folder.absolute()),
            cure="run it in the directory of the server; here, roughfed rotate is for this client alone",
        )
    return rotate_client(context)


def ask_clients(context: CommandContext, names: Sequence[str]) -> Answer:
    """Through the running server."""
    from roughfed.transport import control_socket

    answer = control_socket.ask(context.folder, "renew", names=list(names))
    if asked := answer["asked"]:
        context.say(f"asked for a new key: {', '.join(asked)}; when its certificate ends now: roughfed status --json")
    elif not answer["away"]:
        context.say("no client is connected")
    if away := answer["away"]:
        context.say(f"away, and asked when they are back, if this server still runs then: {', '.join(away)}")
    return Answer(answer)


def rotate_server(context: CommandContext) -> Answer:
    """The key of the server (or of the CA's port) of this directory."""
    from roughfed.client.members import credential_files
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.lock import only_one
    from roughfed.server.members.server_credentials import renew_key
    from roughfed.transport import control_socket

    place = ServerFiles(context.folder)
    if control_socket.is_running(context.folder):
        return told(context, control_socket.ask(context.folder, "rotate"), "new sessions see it from now on")
    with only_one(place.state, "server", cure="let the server finish starting, and try again"):
        if credential_files.is_enrolled(place.papers):
            return told(context, renewed(place.papers), "the server shows it when it starts")
        folders = [folder for folder in (place.papers, place.ca.with_name("ca-papers")) if renew_key(folder)]
    if not folders:
        raise ConfigError(
            "this directory has no key yet; the first start makes one", file=str(place.state), cure="roughfed server"
        )
    names = [folder.name for folder in folders]
    context.say(f"a new key is in {' and '.join(map(str, folders))}; the next start gets a certificate for it")
    return Answer({"rotated": names, "running": False})


def rotate_client(context: CommandContext) -> Answer:
    """The key of the client of this directory: by the client itself where it runs."""
    from roughfed.client.members import credential_files
    from roughfed.deploy import agent
    from roughfed.lock import only_one
    from roughfed.transport import control_socket

    place = agent.ClientFiles(context.folder)
    if not place.state.exists() or not credential_files.is_enrolled(place.papers):
        raise ConfigError(
            "neither a server nor an enrolled client is here",
            file=str(context.folder.absolute()),
            cure="name the directory with --dir",
        )
    if control_socket.is_running(context.folder):
        return told(context, control_socket.ask(context.folder, "rotate"), "the client connects anew with it")
    settings = agent.load(context.folder, {})
    with only_one(place.state, "client", cure="stop it first: it has no door, since the path of its directory is long"):
        return told(
            context,
            renewed(place.papers, settings.client.enrol, settings.client.server),
            "the client shows it when it starts",
        )


def renewed(papers: Path, address: str = "", server: str = "") -> dict[str, Any]:
    """A new key, certified by the CA; what is known of the certificate. The addresses are as of `enrol.renew`.

    Raises:
        Unreachable: nobody answers there; the old ones stay.
        IdentityError: the CA says no.
    """
    from roughfed.client.members import credential_files, enrol
    from roughfed.crypto import certificates

    asyncio.run(enrol.renew(papers, address=address, server=server, new_key=True))
    own = credential_files.load(papers)
    return certificates.described(own.name, own.certificate) | {"running": False}


def told(context: CommandContext, answer: dict[str, Any], then: str) -> Answer:
    """Say what came of it."""
    ends = datetime.fromtimestamp(answer["expires_at"], UTC)
    context.say(f"{answer['rotated']} has a new key and certificate, good until {ends:%Y-%m-%d %H:%M} UTC; {then}")
    return Answer({"running": True} | answer)
