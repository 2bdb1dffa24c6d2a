"""Which certificates may call where no CA is beside the server, and how clients are asked for new ones."""

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.certificates import CLOCK_SKEW, load_private, new_tls_key
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.names import Subject
from roughfed.errors import ConfigError, IdentityError
from roughfed.messages import RENEW, Hello, Reconnect
from roughfed.server.context.server import ServerContext
from roughfed.server.members.certificate_status import Callers
from roughfed.server.members.sessions import ClientSession
from roughfed.server.observe import renewal
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec
from tests.server_context import context
from tests.unit.clock import present

KEY = load_private(new_tls_key()).public_key()
SERIALS = itertools.count(2)


@cache
def ca() -> CertificateAuthority:
    return CertificateAuthority.create("fed", serial=1, now=present() - timedelta(days=30))


def certificate(name: str, *, age: timedelta) -> bytes:
    subject = Subject("fed", "client", name)
    return ca().issue(KEY, subject, serial=next(SERIALS), now=present() - age, life=timedelta(days=7))


def test_a_renewed_certificate_is_good_until_its_successor_came() -> None:
    callers = Callers()
    old, new = certificate("alice", age=timedelta(days=4)), certificate("alice", age=timedelta(0))
    set_back = certificate("alice", age=CLOCK_SKEW / 2)  # issued last, by a clock that had been set back

    async def scenario() -> None:
        for each in (old, old, new, new, set_back):
            await callers.check("alice", each)
        await callers.check("bob", certificate("bob", age=timedelta(days=5)))
        with pytest.raises(IdentityError, match="renew it: roughfed rotate") as caught:
            await callers.check("alice", old)
        assert caught.value.reason == "outdated"

    asyncio.run(scenario())


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    """A server that alice and bob are connected to, and that knew carol."""
    store, identity = Store(tmp_path), IdentityKey.generate()
    with ThreadPoolExecutor(1) as executor:
        spec = Spec((TensorSpec("w", (10,)),))
        asyncio.run(store.create_run("run-1", spec, bytes(32), 0.0))
        ctx = context(FederationConfig(), store, identity, executor, spec)
        for name in ("alice", "bob", "carol"):
            ctx.clients.join(session(name))
        ctx.clients.leave(carol := ctx.clients.all()[-1])
        assert carol.name == "carol"
        yield ctx
        store.close()


def session(name: str) -> ClientSession:
    return ClientSession(name, bytes(32), bytes(32), Hello("1", 1, b"", b"", (), "cpu"))


def wishes(one: ClientSession) -> list[Reconnect]:
    said = [one.queue.get_nowait() for _ in range(one.queue.qsize())]
    return [message for message in said if isinstance(message, Reconnect)]


def test_everybody_or_some_are_asked_and_who_is_away_when_it_is_back(ctx: ServerContext) -> None:
    assert renewal.ask(ctx, []) == {"asked": ["alice", "bob"], "away": []}
    assert [wishes(one) for one in ctx.clients.all()] == [[Reconnect(0.0, RENEW)]] * 2
    assert renewal.ask(ctx, ["carol", "bob"]) == {"asked": ["bob"], "away": ["carol"]}
    for count in (1, 0):  # once
        ctx.clients.join(back := session("carol"))
        assert len(wishes(back)) == count


def test_a_crowd_goes_to_the_ca_one_after_another(ctx: ServerContext) -> None:
    for number in range(38):
        ctx.clients.join(session(f"c{number}"))
    assert len(renewal.ask(ctx, [])["asked"]) == 40
    assert {wish.after_s for one in ctx.clients.all() for wish in wishes(one)} == {4.0}


def test_strangers_and_the_revoked_are_named(ctx: ServerContext) -> None:
    ctx.clients.revoke("bob")
    for name, words in (("bob", "is revoked"), ("mallory", "was ever here")):
        with pytest.raises(ConfigError, match=words):
            renewal.ask(ctx, ["alice", name])
    assert wishes(ctx.clients.all()[0]) == []  # all or nobody
