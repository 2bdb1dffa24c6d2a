"""`roughfed ca`: the enrolment port alone, where the operator of the server should not hold the CA's key."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig

NAME = "ca"
"""The enrolled name behind the certificate of this port."""


@dataclass(frozen=True, slots=True)
class AuthorityFlags:
    """Where the server is."""

    federation_address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where clients find the server. [default: server.address]")
    ] = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "ca", flags=AuthorityFlags)(ca)


def ca(context: CommandContext, flags: AuthorityFlags) -> Answer:
    """Serve the enrolment port alone.

    Where the operator of the server should not hold the CA's key: the server then runs with --no-ca.
    """
    from roughfed import logs
    from roughfed.deploy import aggregator

    overrides = {"server.address": flags.federation_address} if flags.federation_address else {}
    config = aggregator.load(context.folder, overrides)
    if not config.server.address:
        raise ConfigError(
            "clients must be told where the server is",
            key="server.address",
            cure="give --federation-address HOST:PORT, or set server.address in fed.toml",
        )
    logs.setup(level="DEBUG" if context.debug else os.environ.get("ROUGHFED_LOG", "INFO"))
    asyncio.run(serve(context, config))
    context.say("the CA ended: stopped")
    return Answer({"ended": "stopped"})


async def serve(context: CommandContext, config: FederationConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    from roughfed.deploy.aggregator import ServerFiles, note_ports
    from roughfed.descriptors import raise_limit
    from roughfed.server.app import Ports
    from roughfed.server.members.authority import Authority
    from roughfed.server.members.server_credentials import Rotation, from_authority
    from roughfed.server.transport import enrolment
    from roughfed.server.transport.connections import Connections, quotas
    from roughfed.server.transport.ports import close_port

    place, stopped = ServerFiles(context.folder), asyncio.Event()
    authority = Authority.open(place.ca, life=timedelta(days=config.identity.certificate_days))
    obtain = from_authority(authority, place.state / "ca-papers", NAME)
    rotation = Rotation(await obtain(), obtain)
    connections = Connections()
    service = enrolment.EnrolmentService(
        authority, config.server.address, enrolment.default_limit(), on_peer=connections.called
    )
    where = f"{config.server.host}:{config.server.enrol_port}"
    credentials, (_, most) = rotation.credentials(client_auth=False), quotas(raise_limit())
    server, port = await enrolment.serve(service, where, credentials=credentials, most=most)
    connections.limit(port, config.server.connections, quota=most)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    note_ports(place, Ports(0, port, 0))
    context.say(f"listening enrolment  {config.server.host}:{port}")
    context.event({"listening": {"enrolment": f"{config.server.host}:{port}"}})
    beside = [asyncio.create_task(each) for each in (rotation.keep_fresh(), connections.keep())]
    await stopped.wait()
    for task in beside:
        task.cancel()
    await close_port(server, where)
