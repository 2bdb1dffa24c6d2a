"""`roughfed server --upstream`: what makes a server an edge of a federation above."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from roughfed.deploy.cli.command import CommandContext
from roughfed.errors import ConfigError
from roughfed.mode import MODES

if TYPE_CHECKING:
    from roughfed.config import ClientConfig
    from roughfed.config.federation import FederationConfig
    from roughfed.crypto.join_line import JoinLine


RUNS = 100
"""Runs of the federation above that an installed edge takes part in."""

OVERRULED = ("round.rounds", "trainer.")
"""Settings that come from the federation above. One fed.toml for all may have them; a flag is meant for this server."""


def check(context: CommandContext, config: FederationConfig, *, upstream: bool) -> None:
    """Refuse what an edge cannot have; warn where an edge is about to be started as a server of its own.

    Raises:
        SettingsRefused: fed.toml decides what the federation above decides.
        ConfigError: a flag does, or there is a line to a federation above and no word that this is an edge.
    """
    from roughfed.client.members import credential_files
    from roughfed.config.edge import check_edge
    from roughfed.deploy.edge.run import VARIABLE, place_above

    if upstream:
        check_edge(config)
        check_flags(config)
        return
    if os.environ.get(VARIABLE, "").strip():
        cause = "there is the join line of a federation above, and this server is not told to be an edge of it"
        raise ConfigError(cause, key=VARIABLE, cure="add --upstream, or unset the variable")
    place = place_above(context.folder)
    if credential_files.is_enrolled(place.papers):
        context.warn(
            f"{place.folder} makes this server an edge, and without --upstream it plays a run of its own: the "
            "federation above hears nothing of it"
        )


def check_flags(config: FederationConfig) -> None:
    """Refuse flags that would have no effect at an edge.

    Raises:
        ConfigError: names the first one.
    """
    from roughfed.config.schema import keys_of

    for key in keys_of(type(config)):
        if key.startswith(OVERRULED) and (origin := config.origin(key)).kind == "flag":
            cause = "the federation above decides this for its edges, so it would have no effect"
            raise ConfigError(cause, key=origin.where, cure="leave it out, or set it there")


def membership(context: CommandContext, *, stay: int = 1, accept: str = "") -> ClientConfig:
    """The settings of this edge's membership above, after the enrolment if there is a line in the environment.

    Args:
        context: of the command.
        stay: what client.toml says of `client.stay`, where it is written now.
        accept: the mode that the owner types; empty: none.

    Raises:
        ConfigError, IdentityError: see `roughfed.deploy.edge.run.membership`.
    """
    from roughfed.deploy.agent import ShowsMore
    from roughfed.deploy.cli.accept import check_accept, tell
    from roughfed.deploy.edge.run import VARIABLE, membership, place_above

    text = os.environ.pop(VARIABLE, "").strip()
    fresh = not (place_above(context.folder).folder / "client.toml").exists()
    check_accept(accept)
    line = line_of(text) if text else None
    try:
        config = membership(context.folder, line, stay=stay, accept=accept)
    except ShowsMore as error:
        command = f"roughfed server --upstream --accept {line.server_sees if line else MODES[-1]}"
        raise error.with_cure(f"if you agree to it, type it: {VARIABLE}='...' {command}") from None
    tell(context, accept)
    if text:
        context.say(f"enrolled above as {config.client.name}")
    if fresh:
        context.say(f"wrote {place_above(context.folder).folder / 'client.toml'}: what this edge agrees to above")
    return config


def line_of(text: str) -> JoinLine:
    """The join line of the federation above.

    Raises:
        ConfigError: it is none; named by the variable of an edge.
    """
    from roughfed.crypto import join_line
    from roughfed.deploy.edge.run import VARIABLE

    try:
        return join_line.parse(text)
    except ConfigError as error:
        cure = f"set {VARIABLE} to the whole line that `roughfed invite NAME --edge` printed there, in quotes"
        raise ConfigError(error.cause, key=VARIABLE, cure=cure) from None
