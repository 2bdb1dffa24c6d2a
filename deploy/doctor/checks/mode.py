"""How much a client's server may see of it, and whether it asked for more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from roughfed.client.storage import store
from roughfed.deploy.doctor.finding import Finding, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.mode import DEFAULT, shows_more
from roughfed.upgrade import version_of


def mode(site: DoctorSite) -> Iterable[Finding]:
    """What is noted in the directory of a client."""
    path = site.state / "client.db"
    if site.role != "client" or site.papers is None or not path.exists():
        yield skipped("no client is enrolled here")
        return
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
        if version_of(db) != len(store.SCHEMA):
            yield skipped("the memory here is of another version; its next start upgrades it")
            return
    from roughfed.deploy.cli.command import plural
    from roughfed.deploy.membership import shown

    policy = site.client.policy.server_sees if site.client else DEFAULT
    found = shown(site.state, site.papers, policy)
    if shows_more(policy, found["server_sees"]):
        yield warning(
            f'client.toml says server_sees = "{policy}", and this client shows "{found["server_sees"]}" at most',
            cure=f"write that into client.toml; if you mean more: roughfed join --accept {policy}",
            about="policy",
        )
    for each in found["refused"]:
        yield warning(
            f'the server asked for server_sees = "{each["mode"]}" and was refused',
            measured=f"{plural(each['times'], 'time')}, last in run {each['run']}",
            cure="ask whoever runs the server why; roughfed status tells when",
            about="refused",
        )
    yield ok("the server sees no more of this client than its owner agreed to", measured=found["server_sees"])
