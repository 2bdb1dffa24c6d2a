"""Do fed.toml or client.toml load, go together, and belong to this user alone to change?"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from roughfed.config import check_client, check_federation
from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.errors import ConfigError


def settings(site: DoctorSite) -> Iterable[Finding]:
    """The file of this directory."""
    if site.role == "none":
        yield skipped("neither fed.toml nor client.toml is here; roughfed init or roughfed join makes one")
        return
    name = FederationConfig.FILE if site.role == "server" else ClientConfig.FILE
    if site.refused is not None:
        yield refused(site.refused, name)
        return
    yield from together(site, name)
    yield from owned(site.folder, name)
    if site.role == "server" and (site.folder / ClientConfig.FILE).exists():
        cure = f"give the client a directory of its own, and move {ClientConfig.FILE} there"
        yield warning(
            f"{ClientConfig.FILE} lies in a server's directory, where nobody reads it", cure=cure, about="other"
        )


def refused(error: ConfigError, name: str) -> Finding:
    """A settings error, with its own cure."""
    cure = error.cure or f"correct {name}; roughfed plan checks it again"
    return failure(str(error), cure=cure, about=name)


def together(site: DoctorSite, name: str) -> Iterable[Finding]:
    """The settings against one another, as the command that would start here checks them."""
    from roughfed.deploy.cli.processes import check_sources
    from roughfed.deploy.plan import plan
    from roughfed.server.defence.check import check_rule

    try:
        if site.federation is not None:
            check_federation(site.federation)
            check_rule(site.federation)
            check_sources(site.federation)
            yield from planned(plan(site.federation).warnings)
        elif site.client is not None:
            check_client(site.client)
        else:
            cure = "roughfed join with --app or --data writes it, or restore the file"
            yield failure(f"there are papers of a client here, and no {name}", cure=cure, about=name)
            return
    except ConfigError as error:
        yield refused(error, name)
        return
    yield ok(f"{name} loads, and its settings go together", about=name)


def planned(warnings: Sequence[str]) -> Iterable[Finding]:
    """What `roughfed plan` would have the operator think about."""
    if warnings:
        cure = "roughfed plan shows what follows from the settings"
        sentence = f"roughfed plan has something to say; first: {warnings[0]}"
        yield warning(sentence, measured=f"{len(warnings)} warnings", cure=cure, about="plan")


def owned(folder: Path, name: str) -> Iterable[Finding]:
    """Who else may change the settings or the app, and with them what runs as this user."""
    for path in (folder / name, folder):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & 0o002 and not (path.is_dir() and mode & stat.S_ISVTX):
            sentence = f"everybody may write {path}, and so decide what runs here"
            yield warning(sentence, measured=f"{mode:04o}", cure=f"chmod o-w {path}", about="modes")
