"""`roughfed server`: the aggregator in the foreground."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy import notify
from roughfed.deploy.cli import edge
from roughfed.deploy.cli import install as installation
from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.settings import pairs
from roughfed.deploy.listening import try_port
from roughfed.errors import ConfigError, IdentityError

if TYPE_CHECKING:
    from roughfed.config.federation import FederationConfig
    from roughfed.server.app import Ports


@dataclass(frozen=True, slots=True)
class ServerFlags:
    """How this server runs."""

    rounds: Annotated[int | None, typer.Option(help="Rounds of the run; more than were played continues it.")] = None
    min_clients: Annotated[int | None, typer.Option(help="Connected clients that a round waits for.")] = None
    port: Annotated[int | None, typer.Option(help="Federation port; 0 = any free one.")] = None
    enrol_port: Annotated[int | None, typer.Option(help="Enrolment port; 0 = any free one.")] = None
    http_port: Annotated[int | None, typer.Option(help="Port of the status page and /metrics; 0 = any free one.")] = (
        None
    )
    settings: Annotated[
        list[str], typer.Option("--set", "-o", metavar="KEY=VALUE", help="Any other setting of fed.toml; repeatable.")
    ] = field(default_factory=list[str])
    no_ca: Annotated[
        bool,
        typer.Option(
            "--no-ca", help="The CA is elsewhere (roughfed ca, another one): do not serve the enrolment port."
        ),
    ] = False
    upstream: Annotated[
        bool,
        typer.Option(
            "--upstream",
            help="Be an edge: a client of a federation above that gives it the sums of its own clients. "
            "$ROUGHFED_UPSTREAM holds the join line, the first time.",
        ),
    ] = False
    accept: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="--upstream: the most that the server above may see of this edge: sums, sketches or updates.",
        ),
    ] = ""
    install: installation.Install = False
    install_to: installation.InstallTo = None
    user: installation.User = ""
    start: installation.Start = False
    crash_points: Annotated[
        bool, typer.Option("--crash-points", help="List the points for ROUGHFED_CRASH_AT, and exit.")
    ] = False

    @property
    def asked(self) -> installation.Asked:
        """Of a unit."""
        return installation.Asked(self.install, self.install_to, self.user, self.start)

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
    command(app, "server", flags=ServerFlags)(serve)


def serve(context: CommandContext, flags: ServerFlags) -> Answer:
    """Run the aggregator until the run is over.

    Ctrl-C, SIGTERM and `roughfed stop` drain it; started again, it goes on where it stopped. --install leaves the
    running to systemd: as root a unit of the system, else one of your own.
    """
    if flags.crash_points:
        return crash_points(context)
    from roughfed import crash, logs
    from roughfed.config import check_federation
    from roughfed.deploy import aggregator, plan
    from roughfed.deploy.cli import processes
    from roughfed.server.defence.check import check_rule
    from roughfed.transport import control_socket

    crash.check_wanted()
    if flags.accept and not flags.upstream:
        raise ConfigError("only an edge has a server above it", key="--accept", cure="add --upstream, or leave it out")
    folder, target = context.folder, installation.prepare(context.folder, flags.asked)
    if target is not None:
        return unit(context, flags, target)
    config = absolute_paths(folder, aggregator.load(folder, flags.overrides()))
    check_federation(config)
    check_rule(config)
    edge.check(context, config, upstream=flags.upstream)
    origin = processes.origin(folder, config)
    if control_socket.is_running(folder):
        raise ConfigError("a server runs on this directory already", file=str(folder.absolute()), cure="roughfed stop")
    check_ports(config, ca=not flags.no_ca)
    for warning in plan.plan(config).warnings:
        context.warn(warning)
    logs.setup(level="DEBUG" if context.debug else os.environ.get("ROUGHFED_LOG", "INFO"))
    if flags.no_ca:
        enrol(context)
    above = edge.membership(context, accept=flags.accept) if flags.upstream else None

    def ready(ports: Ports) -> None:
        announce(context, config, ports)

    end = aggregator.run_server(folder, config, origin, ca=not flags.no_ca, on_ready=ready, above=above)
    return result(context, end)


def result(context: CommandContext, end: str) -> Answer:
    """What came of it: the model, and what to type next."""
    from roughfed.deploy.cli.status import from_journal
    from roughfed.deploy.cli.status_table import model, then

    context.say(f"the server ended: {end}")
    found = from_journal(context)
    if found["run"] is None:
        return Answer({"ended": end})
    context.say(f"model: {model(found)}")
    context.say(f"next: {then(found)}")
    return Answer({"ended": end, "model_version": found["model_version"], "accuracy": found["accuracy"]})


def unit(context: CommandContext, flags: ServerFlags, target: installation.Target) -> Answer:
    """Write the unit of this server; what it runs with is fed.toml alone.

    Raises:
        ConfigError: settings are wrong, flags would be lost, or see `install.write`.
    """
    from roughfed.config import check_federation
    from roughfed.config.load import load_federation
    from roughfed.deploy.cli.processes import check_sources
    from roughfed.server.defence.check import check_rule

    if flags.overrides():
        raise ConfigError(
            "a unit goes by fed.toml: the flags would be lost",
            key=f"--set {next(iter(flags.overrides()))}",
            cure="write them into fed.toml, and leave the flags out",
        )
    config = absolute_paths(context.folder, load_federation(context.folder, {}))
    check_federation(config)
    check_rule(config)
    check_sources(config)
    edge.check(context, config, upstream=flags.upstream)
    arguments = ("server", *(["--no-ca"] if flags.no_ca else []), *(["--upstream"] if flags.upstream else []))
    if flags.no_ca:
        enrol(context)
    if flags.upstream:
        edge.membership(context, stay=edge.RUNS, accept=flags.accept)
    wanted = installation.service(context, "server", config.federation.name, arguments, target)
    app = config.model.app.rpartition(":")[0]
    places = [str(Path(context.folder.absolute(), place).parent) for place in (app, config.model.init) if place]
    places += [str(Path(context.folder.absolute(), config.data.data_dir))] if config.data.data_dir else []
    return Answer(installation.write(context, target, replace(wanted, reads=installation.reads(places))))


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
        if (refused := try_port(key, host, port)) is not None:
            origin = config.origin(refused.key)
            file = "" if origin.kind == "default" else str(origin)
            raise ConfigError(refused.cause, file=file, key=refused.key, cure=refused.cure)


def absolute_paths(folder: Path, config: FederationConfig) -> FederationConfig:
    """Paths of fed.toml are relative to it, wherever the server is started."""
    from roughfed.deploy.cli.processes import absolute

    model = config.model.model_copy(update={"init": absolute(folder, config.model.init)})
    return config.model_copy(update={"model": model})


def announce(context: CommandContext, config: FederationConfig, ports: Ports) -> None:
    """Say where the server listens, now that it does; of the token, only the file."""
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.server.observe.http import TOKEN_FILE

    s = config.server
    places = {"federation": f"{s.host}:{ports.federation}"}
    if ports.enrolment:
        places["enrolment"] = f"{s.host}:{ports.enrolment}"
    if ports.http:
        host = page_host(config)
        places["page"] = f"http://{host}:{ports.http}/"
        places["metrics"] = f"http://{host}:{ports.http}/metrics"
    for name, place in places.items():
        context.say(f"listening {name:<10} {place}")
    if ports.http and s.asks_for_token:
        path = ServerFiles(context.folder).state / TOKEN_FILE
        context.say(f"the page and the metrics ask for the token in {path}")
        places["token_file"] = str(path)
    context.event({"listening": places})
    notify.ready(f"serving the federation {config.federation.name} on {places['federation']}")


def page_host(config: FederationConfig) -> str:
    """What stands for the server in the address of its page: of a port that is open everywhere, this machine's name."""
    s = config.server
    if s.http_host in ("0.0.0.0", "::"):  # noqa: S104 (compared with, not bound to)
        return s.address.rpartition(":")[0] or socket.gethostname()
    return f"[{s.http_host}]" if ":" in s.http_host else s.http_host


def enrol(context: CommandContext) -> None:
    """Make sure that this directory is a member with the role of a server.

    Raises:
        ConfigError: not enrolled, and no invite in ROUGHFED_JOIN.
        IdentityError: the invite was for a client.
    """
    from roughfed.client.members import credential_files, enrol
    from roughfed.crypto import join_line
    from roughfed.deploy.aggregator import ServerFiles

    place = ServerFiles(context.folder)
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = os.environ.pop(join_line.VARIABLE, "")
    if text:
        papers = asyncio.run(enrol.enroll(join_line.parse(text), place.papers))
    elif credential_files.is_enrolled(place.papers):
        papers = credential_files.load(place.papers)
    else:
        raise ConfigError(
            "this server is not enrolled",
            file=str(context.folder.absolute()),
            cure="in the CA's directory: roughfed invite NAME --server, and start this server with the line it prints; "
            "if the CA is not roughfed's: roughfed csr",
        )
    if papers.subject.role != "server":
        raise IdentityError(
            f"{papers.name} was invited as a client; ask for: roughfed invite NAME --server", reason="role"
        )


def crash_points(context: CommandContext) -> Answer:
    """The tables of `roughfed.crash`."""
    from roughfed.crash import CLIENT_POINTS, SERVER_POINTS, TRAINER_POINTS

    tables = {"server": SERVER_POINTS, "client": CLIENT_POINTS, "trainer": TRAINER_POINTS}
    for title, points in tables.items():
        context.say(f"{title}:", style="bold")
        for name, meaning in points.items():
            context.say(f"  {name:<18} {meaning}")
    context.say("ROUGHFED_CRASH_AT=NAME kills the process there the first time, NAME:3 the third time.")
    return Answer(tables)
