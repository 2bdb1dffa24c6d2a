"""`roughfed init`: a new federation in a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, CommandContext, command
from roughfed.deploy.cli.settings import pairs
from roughfed.errors import ConfigError


@dataclass(frozen=True, slots=True)
class InitFlags:
    """What a new federation is about."""

    name: Annotated[str, typer.Option(help="Name of the federation: a-z, 0-9 and hyphens.")] = "roughfed"
    app: Annotated[str, typer.Option(help="FILE:NAME of the Client that holds the own model.")] = ""
    model: Annotated[
        str, typer.Option(help="Listed model, for example mlp, cnn, resnet-8 or transformer. [default: by the data]")
    ] = ""
    data: Annotated[
        str, typer.Option(help="Listed data: digits, fashion-mnist or mnist. [default: digits without --app]")
    ] = ""
    data_dir: Annotated[str, typer.Option(help="Folder of the data's files.")] = ""
    address: Annotated[str, typer.Option(help="host:port at which clients reach the federation port.")] = ""
    ca_only: Annotated[
        bool, typer.Option("--ca-only", help="fed.toml comes from elsewhere: make its CA, unless there is one.")
    ] = False
    no_ca: Annotated[
        bool, typer.Option("--no-ca", help="The CA is elsewhere, or not roughfed's: write fed.toml alone.")
    ] = False
    settings: Annotated[
        list[str], typer.Option("--set", "-o", metavar="KEY=VALUE", help="Any other setting of fed.toml; repeatable.")
    ] = field(default_factory=list[str])


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "init", flags=InitFlags)(init)


def init(context: CommandContext, flags: InitFlags) -> Answer:
    """Make a federation: fed.toml and its CA (--no-ca: fed.toml alone).

    Overwrites nothing. With --ca-only, a fed.toml that is there (of a container, say) gets its CA, once.
    """
    if flags.ca_only:
        return authority_alone(context, flags)
    from roughfed.config import ClientConfig, FederationConfig, check_federation, write_template
    from roughfed.config.load import build
    from roughfed.config.schema import keys_of
    from roughfed.config.sources import from_flags
    from roughfed.deploy.aggregator import ServerFiles
    from roughfed.deploy.cli.processes import check_sources
    from roughfed.server.defence.check import check_rule
    from roughfed.server.members.authority import Authority

    folder, place = context.folder, ServerFiles(context.folder)
    settings = from_flags(values(context, flags), keys_of(FederationConfig))
    check_federation(config := build(FederationConfig, settings))
    check_rule(config)
    check_sources(config)
    if (taken := folder / FederationConfig.FILE).exists():
        raise ConfigError(
            "there is a federation in this directory already", file=str(taken), cure="name another one with --dir"
        )
    if (taken := folder / ClientConfig.FILE).exists():
        raise ConfigError("a client lives in this directory", file=str(taken), cure="name another one with --dir")
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = None if flags.no_ca else Authority.create(place.ca, flags.name, now=datetime.now(UTC))
    path = write_template(folder, FederationConfig, values={key: s.value for key, s in settings.items()})
    where = "" if str(folder) == "." else f" --dir {folder}"
    context.say(f"wrote {path}: the settings, each with its meaning")
    if authority is None:
        context.say(f"next: an invite for a server, or roughfed csr{where}; then roughfed server --no-ca{where}")
        return Answer({"federation": flags.name, "settings": str(path.absolute())})
    context.say(f"wrote {place.ca}: the CA. Whoever has ca.key decides who belongs: keep it safe and back it up")
    context.say()
    context.say("next:", style="bold")
    context.say(f"  roughfed server{where}         start the aggregator")
    context.say(f"  roughfed invite NAME{where}    for each client: prints the one line to run on its machine")
    return Answer(
        {
            "federation": flags.name,
            "settings": str(path.absolute()),
            "ca": str(place.ca.absolute()),
            "ca_fingerprint": authority.fingerprint.hex(),
        }
    )


def authority_alone(context: CommandContext, flags: InitFlags) -> Answer:
    """The CA of the federation that fed.toml names; one that is there stays as it is.

    Raises:
        ConfigError: flags that would have no effect, or the CA here is another federation's.
    """
    from roughfed.deploy import aggregator
    from roughfed.server.members.authority import CA_KEY, Authority

    if flags != InitFlags(ca_only=True):
        raise ConfigError("with --ca-only all settings come from fed.toml", key="--ca-only", cure="leave them out")
    place, name = aggregator.ServerFiles(context.folder), aggregator.load(context.folder, {}).federation.name
    made = not (place.ca / CA_KEY).exists()
    place.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority.create(place.ca, name, now=datetime.now(UTC)) if made else Authority.open(place.ca)
    if authority.federation != name:
        raise ConfigError(
            f"the CA here is that of the federation {authority.federation!r}, fed.toml names {name!r}",
            file=str(place.ca.absolute()),
            key="federation.name",
            cure="name the federation as before, or another directory with --dir",
        )
    context.say(f"{'wrote' if made else 'there is'} {place.ca}: the CA of {name}; back it up")
    return Answer(
        {
            "federation": name,
            "ca": str(place.ca.absolute()),
            "ca_fingerprint": authority.fingerprint.hex(),
            "made": made,
        }
    )


def values(context: CommandContext, flags: InitFlags) -> dict[str, str]:
    """The settings to write out, as text by dotted key."""
    from roughfed.deploy.cli.processes import LISTED_MODEL, app_setting

    data = flags.data or ("" if flags.app else "digits")
    model = flags.model or ("" if flags.app else LISTED_MODEL.get(data, "mlp"))
    given = {
        "federation.name": flags.name,
        "model.app": app_setting(context.folder, flags.app) if flags.app else "",
        "model.name": model,
        "data.name": data,
        "data.data_dir": flags.data_dir,
        "server.address": flags.address,
    }
    return {key: text for key, text in given.items() if text} | pairs(flags.settings)
