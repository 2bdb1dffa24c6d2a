"""Asking clients for a new TLS key and certificate: because the operator wants to, whatever the age of these.

A client does it in its own time, as it does when the certificate is due: its session and its job go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from roughfed.errors import ConfigError
from roughfed.messages import RENEW, Reconnect
from roughfed.server.context.server import ServerContext

EACH_SECOND = 8
"""Clients that go to the CA in a second, so that it need not turn one away (`enrolment.default_limit`)."""


def ask(ctx: ServerContext, names: Collection[str]) -> dict[str, Any]:
    """Ask these clients, or everybody where no name is given; who is away is asked when it is back.

    Returns:
        names of those who were asked, and of those who will be.

    Raises:
        ConfigError: a name that was never here, or that is revoked.
    """
    here = set(ctx.clients.names())
    for name in names:
        if name in ctx.clients.revoked:
            raise ConfigError(f"{name} is revoked: nobody renews its certificate", key="name", cure="roughfed status")
        if name not in here and name not in ctx.clients.identity_keys and ctx.store.last_part(name) is None:
            raise ConfigError(f"no client of the name {name[:80]!r} was ever here", key="name", cure="roughfed status")
    wanted = set(names) or here
    asked, away = sorted(wanted & here), sorted(wanted - here)
    for name in asked:
        if (session := ctx.clients.get(name)) is not None:
            session.send(Reconnect(max(0.0, len(asked) / EACH_SECOND - 1.0), RENEW))
    ctx.clients.to_renew |= set(away)
    return {"asked": asked, "away": away}
