"""`roughfed join`: enrol this directory, and run its client."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roughfed.deploy.cli import install as installation
from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.client.members.credential_files import Credentials
    from roughfed.config.client import ClientConfig
    from roughfed.crypto.join_line import JoinLine

Text = Annotated[str, typer.Option()]


@dataclass(frozen=True, slots=True)
class JoinFlags:
    """What this client trains, and with what."""

    line: Annotated[
        str, typer.Argument(metavar="[-]", help="`-` reads the join line from stdin.", show_default=False)
    ] = ""
    token_file: Annotated[Path | None, typer.Option(help="File that holds the join line.")] = None
    app: Annotated[str, typer.Option(help="FILE:NAME of the Client that holds the own model and data.")] = ""
    data: Annotated[str, typer.Option(help="Listed data instead: digits, fashion-mnist or mnist.")] = ""
    model: Annotated[
        str, typer.Option(help="Listed model, for example mlp, cnn, resnet-8 or transformer. [default: by the data]")
    ] = ""
    data_dir: Annotated[str, typer.Option(help="Folder of the data's files.")] = ""
    clients: Annotated[int | None, typer.Option(help="Parts that the data is cut into.")] = None
    index: Annotated[int | None, typer.Option(help="Part of this client, from 0.")] = None
    partition: Annotated[str, typer.Option(help="iid, dirichlet, shards or quantity-skew.")] = ""
    alpha: Annotated[float | None, typer.Option(help="Concentration; smaller = more skewed.")] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the cut: federation.seed of fed.toml.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = ""
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 = cores / trainers on this host.")] = None
    accept: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="The most that the server may see of this client, from now on: sums, sketches or updates (its whole "
            "update). [default: sketches, or the federation's mode if that shows less]",
        ),
    ] = ""
    runs: Annotated[int | None, typer.Option(help="Runs of the federation to take part in, this one included.")] = None
    organisations: Annotated[
        str, typer.Option(help="File with the organisations that sign the member list, and how many must.")
    ] = ""
    no_run: Annotated[bool, typer.Option("--no-run", help="Enrol and write client.toml, but do not run.")] = False
    install: installation.Install = False
    install_to: installation.InstallTo = None
    user: installation.User = ""
    start: installation.Start = False

    def values(self, folder: Path) -> dict[str, str]:
        """Settings of client.toml as text by dotted key."""
        from roughfed.deploy.cli.processes import LISTED_MODEL, app_setting

        given: dict[str, object] = {
            "app.path": app_setting(folder, self.app) if self.app else "",
            "data.name": self.data,
            "data.data_dir": os.path.abspath(self.data_dir) if self.data_dir else "",  # noqa: PTH100  no links followed
            "data.clients": self.clients,
            "data.index": self.index,
            "data.partition": self.partition,
            "data.alpha": self.alpha,
            "data.seed": self.seed,
            "model.name": self.model or LISTED_MODEL.get(self.data, ""),
            "device.name": self.device,
            "device.threads": self.threads,
            "client.stay": self.runs,
            "policy.organisations": os.path.abspath(self.organisations) if self.organisations else "",  # noqa: PTH100
        }
        return {key: str(value) for key, value in given.items() if value not in ("", None)}

    @property
    def asked(self) -> installation.Asked:
        """Of a unit."""
        return installation.Asked(self.install, self.install_to, self.user, self.start)


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "join", flags=JoinFlags)(join)


def join(context: CommandContext, flags: JoinFlags) -> Answer:
    """Enrol this directory, and run its client.

    The line comes from $ROUGHFED_JOIN, from --token-file, or with `-` from stdin. Without one, an enrolled client runs.
    The first time, client.toml is written from the flags; later, flags count for the one run, and only --accept is
    written there. --install leaves the running to systemd: as root a unit of the system, else one of your own.
    """
    from roughfed import crash, logs
    from roughfed.client.local.trainer_process import TrainerProcess
    from roughfed.deploy import agent
    from roughfed.deploy.cli.accept import check_accept, tell
    from roughfed.deploy.cli.processes import client_command

    check_accept(flags.accept)
    logs.setup(level="DEBUG" if context.debug else os.environ.get("ROUGHFED_LOG", "INFO"))
    crash.check_wanted()
    refuse_server(context.folder)
    target = installation.prepare(context.folder, flags.asked)
    line = find_line(flags)
    written = (context.folder / "client.toml").exists()
    if target is not None and written and flags.values(context.folder):
        raise ConfigError(
            "it is there already, and a unit goes by what it says: the flags would be lost",
            file=str(context.folder / "client.toml"),
            cure="write them into client.toml, and leave the flags out",
        )
    config = settings(context, flags, written=written)
    command_line = client_command(context.folder, config)  # before the line is used: it works once
    papers = membership(context, flags, line, config)
    agent.organisations(context.folder, config)  # who signs the member list, before anything is written
    tell(context, flags.accept)
    agreed = agent.agreed(context.folder, papers, config.policy.server_sees)
    if not written:
        write_settings(context, flags, papers, agreed)
    answer: dict[str, object] = {"client": papers.name, "federation": papers.subject.federation, "server_sees": agreed}
    if target is not None:
        return Answer(answer | unit(context, target, papers))
    if flags.no_run:
        context.say("run it with: roughfed join")
        return Answer(answer)
    trainer = TrainerProcess(command_line, agent.ClientFiles(context.folder).state / "trainer.log")
    end = agent.run_blocking(context.folder, config, trainer, line=None)
    context.say(f"the client ended: {end}")
    return Answer(answer | {"ended": end})


def refuse_server(folder: Path) -> None:
    """A client and a server each keep their keys in state/: one would overwrite the other's.

    Raises:
        ConfigError: a server lives in this directory.
    """
    if (taken := folder / "fed.toml").exists():
        cure = "give the client a directory of its own: roughfed join --dir NAME"
        raise ConfigError("this is a server's directory", file=str(taken), cure=cure)


def read_line(path: Path) -> str:
    """The text of --token-file.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is no text"
        cure = "name the file that holds the line that `roughfed invite` printed"
        raise ConfigError(f"cannot read the join line: {why}", file=str(path), key="--token-file", cure=cure) from None


def find_line(flags: JoinFlags) -> JoinLine | None:
    """The join line, out of the environment that the trainer inherits.

    Raises:
        ConfigError: it was given as an argument, or it cannot be read.
    """
    from roughfed.crypto.join_line import VARIABLE, parse

    text = os.environ.pop(VARIABLE, "")
    if flags.line not in ("", "-"):
        raise ConfigError(
            "a join line is no argument: every user of this machine can read the arguments of a process, and the line "
            "is a secret. Treat this one as known and ask for another",
            key="join",
            cure=f"{VARIABLE}='...' roughfed join, or: roughfed join - < FILE",
        )
    if flags.line == "-":
        text = sys.stdin.readline()
    elif flags.token_file is not None:
        text = read_line(flags.token_file)
    text = text.strip()
    if text.startswith(f"{VARIABLE}="):  # the whole line as `invite` prints it, from a file or a pipe
        text = text.removeprefix(f"{VARIABLE}=").split()[0]
    return parse(text) if text or flags.line == "-" or flags.token_file else None


def settings(context: CommandContext, flags: JoinFlags, *, written: bool) -> ClientConfig:
    """client.toml under the flags; without the file, what will be written into it.

    Raises:
        ConfigError: settings are wrong; nothing was enrolled or written yet.
    """
    from roughfed.config import ClientConfig, check_client
    from roughfed.config.federation import FederationConfig
    from roughfed.config.load import build
    from roughfed.config.schema import keys_of
    from roughfed.config.sources import from_env, from_flags
    from roughfed.deploy import agent

    given, keys = flags.values(context.folder), keys_of(ClientConfig)
    word = {"policy.server_sees": flags.accept} if flags.accept else {}
    if written:
        config = agent.load(context.folder, given | word)
        if given:
            context.note("client.toml is there already: the flags count for this run only", style="dim")
    else:
        environment = from_env(os.environ, keys, keys_of(FederationConfig))
        if not any(key in ("app.path", "model.name", "data.name") for key in [*given, *environment]):
            raise ConfigError(
                "what should this client train?",
                file=str(context.folder.absolute()),
                cure="--app my.py:client for an own model and data, or --data digits",
            )
        config = build(ClientConfig, environment | from_flags(given | word, keys))
    check_client(config)
    return config


def membership(context: CommandContext, flags: JoinFlags, line: JoinLine | None, config: ClientConfig) -> Credentials:
    """The papers of this directory, fresh from an enrolment if there is a line; with --accept, its word is noted.

    Raises:
        ConfigError: neither enrolled nor a line, or the federation shows its server more than was agreed to here.
    """
    from roughfed.client.members import credential_files
    from roughfed.crypto.join_line import VARIABLE
    from roughfed.deploy import agent
    from roughfed.deploy.cli.accept import as_typed, write_accepted

    place = agent.ClientFiles(context.folder)
    if line is not None:
        policy, typed = config.policy.server_sees, bool(flags.accept)
        try:
            papers = asyncio.run(agent.join(context.folder, line, policy=policy, typed=typed))
        except agent.ShowsMore as error:
            command = as_typed(flags, context.folder, line.server_sees)
            raise error.with_cure(f"if you agree to it, type it: {VARIABLE}='...' {command}") from None
        sees = f', whose server sees "{line.server_sees}" of a client' if line.server_sees else ""
        context.say(f"enrolled as {papers.name} in the federation {papers.subject.federation}{sees}")
        write_accepted(context.folder, flags.accept)
        return papers
    if not credential_files.is_enrolled(place.papers):
        raise ConfigError(
            "this client is not enrolled",
            file=str(context.folder.absolute()),
            cure=f"ask for an invite (roughfed invite NAME), then {VARIABLE}='...' roughfed join",
        )
    papers = credential_files.load(place.papers)
    if flags.accept:
        asyncio.run(agent.accept(context.folder, papers, flags.accept))
        write_accepted(context.folder, flags.accept)
    return papers


def write_settings(context: CommandContext, flags: JoinFlags, papers: Credentials, server_sees: str) -> None:
    """client.toml with the flags, the enrolled name, and the most that the server may see."""
    from roughfed.config import ClientConfig, write_template
    from roughfed.config.schema import keys_of
    from roughfed.config.sources import from_flags

    given: Mapping[str, str] = {"client.name": papers.name, "policy.server_sees": server_sees} | flags.values(
        context.folder
    )
    values = {key: setting.value for key, setting in from_flags(given, keys_of(ClientConfig)).items()}
    path = write_template(context.folder, ClientConfig, values=values)
    context.say(f"wrote {path}: what this client trains with, and what it agrees to")


def unit(context: CommandContext, target: installation.Target, papers: Credentials) -> dict[str, object]:
    """Write the unit of this client; what it runs with is client.toml alone, as it is now.

    Raises:
        ConfigError: client.toml does not say what to train; see `install.write`.
    """
    from roughfed.config import check_client, load_client
    from roughfed.config.client import ClientConfig
    from roughfed.config.federation import FederationConfig
    from roughfed.config.schema import keys_of
    from roughfed.config.sources import from_env
    from roughfed.deploy.cli.processes import absolute

    config = load_client(context.folder, {})
    check_client(config)
    for setting in from_env(os.environ, keys_of(ClientConfig), keys_of(FederationConfig)).values():
        context.warn(f"{setting.origin.where} counts here only: the unit goes by client.toml and its EnvironmentFile")
    wanted = installation.service(context, "client", papers.name, ("join",), target)
    app, data = absolute(context.folder, config.app.path.rpartition(":")[0]), config.data
    places = [os.path.dirname(app), *(absolute(context.folder, p) for p in (data.data_dir, data.folder))]  # noqa: PTH120
    wanted = replace(wanted, gpu=config.device.name.startswith(("auto", "cuda")), reads=installation.reads(places))
    return installation.write(context, target, wanted)
