"""Starting an edge: the server of a directory, and its membership in the federation above in the folder beside it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from roughfed.client.members import credential_files
from roughfed.client.runner import run as run_client
from roughfed.client.setup import Setup as ClientSetup
from roughfed.config import ClientConfig, write_template
from roughfed.config.rewriting import write_setting
from roughfed.crypto.join_line import JoinLine
from roughfed.deploy import agent
from roughfed.deploy.edge.upstream_bridge import Middle
from roughfed.errors import ConfigError, IdentityError
from roughfed.server.app import Ports, ServerSetup, serve

VARIABLE = "ROUGHFED_UPSTREAM"
"""Holds the join line of the federation above, at the first start."""

UPSTREAM = "upstream"
"""Folder in the server's directory: client.toml and state of its membership in the federation above."""


def place_above(folder: Path) -> agent.ClientFiles:
    """Where an edge's membership in the federation above lies."""
    return agent.ClientFiles(folder / UPSTREAM)


def membership(folder: Path, line: JoinLine | None, *, stay: int = 1, accept: str = "") -> ClientConfig:
    """The settings of an edge's membership, after the enrolment if there is a line; client.toml is written once.

    Args:
        folder: of the server.
        line: of the federation above; None where it is enrolled already.
        stay: what client.toml says of `client.stay`, where it is written now.
        accept: the mode that the owner types, the most that the server above may see from now on; empty: none.

    Raises:
        ConfigError: neither enrolled nor a line, or client.toml is wrong.
        IdentityError: the line is none for a client of that federation.
    """
    place = place_above(folder)
    written = (place.folder / ClientConfig.FILE).exists()
    policy = accept or agent.policy_of(place.folder)
    if line is not None:
        papers = asyncio.run(agent.join(place.folder, line, policy=policy, typed=bool(accept)))
    elif credential_files.is_enrolled(place.papers):
        papers = credential_files.load(place.papers)
    else:
        raise ConfigError(
            "this edge is no client of a federation above yet",
            file=str(place.folder.absolute()),
            key="--upstream",
            cure=f"there: roughfed invite NAME --edge; then start this server once with the line, as {VARIABLE}='...'",
        )
    if papers.subject.role != "client":
        raise IdentityError(f"{papers.name} was invited as a {papers.subject.role}: ask for a client", reason="role")
    if not written:
        values: dict[str, object] = {"client.name": papers.name, "client.stay": stay, "http.enabled": False}
        values["policy.server_sees"] = agent.agreed(place.folder, papers, policy)
        write_template(place.folder, ClientConfig, values=values)
    elif accept:
        write_setting(place.folder / ClientConfig.FILE, "policy.server_sees", accept)
    if accept and line is None:
        asyncio.run(agent.accept(place.folder, papers, accept))
    return agent.load(place.folder, {})


async def serve_edge(setup: ServerSetup, place: agent.ClientFiles, config: ClientConfig) -> str:
    """Run both halves until the federation above is done, or a signal drains the server.

    The client's half begins once the server here knows its model and listens; it ends with the server.

    Args:
        setup: of the server.
        place: of the membership above.
        config: its client.toml.

    Returns:
        why it ended.

    Raises:
        RoughfedError: the federation above, or this one's own rules, refuse for good.
    """
    description = await setup.origin.describe()
    middle, stopped = Middle(lambda: description), asyncio.Event()
    climbing: asyncio.Task[str] | None = None
    signers = agent.organisations(place.folder, config)

    def ended(task: asyncio.Task[str]) -> None:
        if not task.cancelled():
            middle.ended(task.exception() or task.result())

    def ready(ports: Ports) -> None:
        nonlocal climbing
        setup.on_ready(ports)
        above = ClientSetup(
            config, place.state, place.papers, middle, on_welcome=middle.welcomed, organisations=signers
        )
        climbing = asyncio.create_task(run_client(above, stopped=stopped))
        climbing.add_done_callback(ended)

    try:
        return await serve(replace(setup, above=middle, on_ready=ready))
    finally:
        stopped.set()
        if climbing is not None:
            await asyncio.wait({climbing})
