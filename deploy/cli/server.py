"""`roughfed server`: the aggregator in the foreground."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command
from roughfed.deploy.cli.settings import pairs
from roughfed.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig
    from roughfed.server.app import Ports


@dataclass(frozen=True, slots=True)
class Flags:
    """How this server runs."""

    rounds: Annotated[int | None, typer.Option(help="Rounds of the run; more than were played continues it.")] = None
    min_clients: Annotated[int | None, typer.Option(help="Connected clients that a round waits for.")] = None
    port: Annotated[int | None, typer.Option(help="Federation port; 0 = any free one.")] = None
    enrol_port: Annotated[int | None, typer.Option(help="Enrolment port; 0 = any free one.")] = None
    http_port: Annotated[int | None, typer.Option(help="Port of /metrics and /healthz; 0 = any free one.")] = None
    settings: Annotated[
        list[str], typer.Option("--set", "-o", metavar="KEY=VALUE", help="Any other setting of fed.toml; repeatable.")
    ] = field(default_factory=list[str])
    no_ca: Annotated[
        bool, typer.Option("--no-ca", help="The CA is elsewhere (roughfed ca): do not serve the enrolment port.")
    ] = False
    crash_points: Annotated[
        bool, typer.Option("--crash-points", help="List the points for ROUGHFED_CRASH_AT, and exit.")
    ] = False

    def overrides(self) -> dict[str, str]:
        """Settings by dotted key."""
        given = {
            "round.rounds": self.rounds,
            "round.min_clients": self.min_clients,
            "server.port": self.port,
            "server.enrol_port": self.enrol_port,
            "server.http_port": self.http_port,
        }
        return pairs(self.settings) | {key: str(value) for key, value in given.items() if value is not None}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "server", flags=Flags)(serve)


def serve(context: Context, flags: Flags) -> Answer:
    """Run the aggregator until the run is over.

    Ctrl-C, SIGTERM and `roughfed stop` drain it; started again, it goes on where it stopped.
    """
    if flags.crash_points:
        return crash_points(context)
    from roughfed import logs
    from roughfed.config import check_federation
    from roughfed.deploy import aggregator, plan
    from roughfed.deploy.cli import control, processes
    from roughfed.server.defence.check import check_rule
    from roughfed.server.worker import Worker

    folder = context.folder
    config = absolute_paths(folder, aggregator.load(folder, flags.overrides()))
    check_federation(config)
    check_rule(config)
    if control.is_running(folder):
        raise ConfigError("a server runs on this directory already", file=str(folder.absolute()), cure="roughfed stop")
    check_ports(config, ca=not flags.no_ca)
    for warning in plan.plan(config).warnings:
        context.warn(warning)
    logs.setup(level="DEBUG" if context.debug else os.environ.get("ROUGHFED_LOG", "INFO"))
    if flags.no_ca:
        enrol(context)
    worker = Worker(processes.worker_command(folder, config), aggregator.Place(folder).state / "worker.log")
    end = aggregator.run_server(
        folder, config, worker, ca=not flags.no_ca, on_ready=lambda ports: announce(context, config, ports)
    )
    context.say(f"the server ended: {end}")
    return Answer({"ended": end})


def check_ports(config: FederationConfig, *, ca: bool) -> None:
    """Say at once that a port is taken; the server itself finds out only after its worker has loaded torch.

    Args:
        config: where the server listens.
        ca: it serves the enrolment port, too.

    Raises:
        ConfigError: another process listens there, or the address is not one of this machine.
    """
    s = config.server
    wanted = [("server.port", s.host, s.port)]
    if ca:
        wanted.append(("server.enrol_port", s.host, s.enrol_port))
    if s.http:
        wanted.append(("server.http_port", s.http_host, s.http_port))
    for key, host, port in wanted:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                key=key,
                cure=f"choose another one, or 0 for any free port: roughfed server --set {key}=0",
            ) from None


def absolute_paths(folder: Path, config: FederationConfig) -> FederationConfig:
    """Paths of fed.toml are relative to it, wherever the server is started."""
    from roughfed.deploy.cli.processes import absolute

    model = config.model.model_copy(update={"init": absolute(folder, config.model.init)})
    return config.model_copy(update={"model": model})


def announce(context: Context, config: FederationConfig, ports: Ports) -> None:
    """Say where the server listens, now that it does."""
    s = config.server
    places = {"federation": f"{s.host}:{ports.federation}"}
    if ports.enrolment:
        places["enrolment"] = f"{s.host}:{ports.enrolment}"
    if ports.http:
        places["metrics"] = f"http://{s.http_host}:{ports.http}/metrics"
    for name, place in places.items():
        context.say(f"listening {name:<10} {place}")
    context.event({"listening": places})


def enrol(context: Context) -> None:
    """Make sure that this directory is a member with the role of a server.

    Raises:
        ConfigError: not enrolled, and no invite in ROUGHFED_JOIN.
        IdentityError: the invite was for a client.
    """
    from roughfed.client import enrol, enrolled
    from roughfed.crypto import join_line
    from roughfed.deploy.aggregator import Place

    place = Place(context.folder)
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = os.environ.pop(join_line.VARIABLE, "")
    if text:
        papers = asyncio.run(enrol.enroll(join_line.parse(text), place.papers))
    elif enrolled.is_enrolled(place.papers):
        papers = enrolled.load(place.papers)
    else:
        raise ConfigError(
            "this server is not enrolled",
            file=str(context.folder.absolute()),
            cure="in the CA's directory: roughfed invite NAME --server, and start this server with the line it prints",
        )
    if papers.subject.role != "server":
        raise IdentityError(
            f"{papers.name} was invited as a client; ask for: roughfed invite NAME --server", reason="role"
        )


def crash_points(context: Context) -> Answer:
    """The tables of `roughfed.crash`."""
    from roughfed.crash import CLIENT_POINTS, SERVER_POINTS, TRAINER_POINTS

    tables = {"server": SERVER_POINTS, "client": CLIENT_POINTS, "trainer": TRAINER_POINTS}
    for title, points in tables.items():
        context.say(f"{title}:", style="bold")
        for name, meaning in points.items():
            context.say(f"  {name:<18} {meaning}")
    context.say("ROUGHFED_CRASH_AT=NAME kills the process there the first time, NAME:3 the third time.")
    return Answer(tables)
