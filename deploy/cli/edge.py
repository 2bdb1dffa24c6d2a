"""`roughfed server --upstream`: what makes a server an edge of a federation above."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from roughfed.deploy.cli.command import Context
from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from roughfed.config import ClientConfig
    from roughfed.config.federation import FederationConfig
    from roughfed.crypto.join_line import JoinLine


def check(context: Context, config: FederationConfig, *, upstream: bool) -> None:
    """Refuse what an edge cannot have; warn where an edge is about to be started as a server of its own.

    Raises:
        SettingsRefused: fed.toml decides what the federation above decides.
    """
    from roughfed.client import enrolled
    from roughfed.config.edge import check_edge
    from roughfed.deploy.edge.run import place_above

    if upstream:
        check_edge(config)
        return
    place = place_above(context.folder)
    if enrolled.is_enrolled(place.papers):
        context.warn(
            f"{place.folder} makes this server an edge, and without --upstream it plays a run of its own: the "
            "federation above hears nothing of it"
        )


def membership(context: Context, *, stay: bool = False) -> ClientConfig:
    """The settings of this edge's membership above, after the enrolment if there is a line in the environment.

    Args:
        context: of the command.
        stay: what client.toml says of `client.stay`, where it is written now.

    Raises:
        ConfigError, IdentityError: see `roughfed.deploy.edge.run.membership`.
    """
    from roughfed.deploy.edge.run import VARIABLE, membership, place_above

    text = os.environ.pop(VARIABLE, "").strip()
    fresh = not (place_above(context.folder).folder / "client.toml").exists()
    config = membership(context.folder, line_of(text) if text else None, stay=stay)
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
