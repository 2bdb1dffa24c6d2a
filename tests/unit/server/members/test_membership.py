"""Who is connected: one stream a client, bounded queues, revocation at once."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.errors import IdentityError
from roughfed.journal import Journal
from roughfed.messages import Hello, Reconnect, ServerMessage
from roughfed.server.context.clients import SUPERSEDED_S, ClientRegistry
from roughfed.server.members.member_list import Listing
from roughfed.server.members.sessions import MAX_WAITING, ClientSession
from roughfed.server.storage.store import Store

HELLO = Hello("1", 1, b"", b"", (), "cpu")


def session(name: str) -> ClientSession:
    return ClientSession(name, bytes(32), bytes(32), HELLO)


def waiting(session: ClientSession) -> list[ServerMessage | None]:
    return [session.queue.get_nowait() for _ in range(session.queue.qsize())]


@pytest.fixture
def changes() -> list[tuple[str, bool]]:
    return []


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Store(tmp_path)) as store:
        yield store.journal


def registry(journal: Journal, on_change: Callable[[str, bool], None]) -> ClientRegistry:
    found = ClientRegistry(Listing(journal))
    found.on_change = on_change
    return found


@pytest.fixture
def members(journal: Journal, changes: list[tuple[str, bool]]) -> ClientRegistry:
    return registry(journal, lambda name, connected: changes.append((name, connected)))


def test_a_newer_stream_takes_over_and_the_older_one_ends_once(
    members: ClientRegistry, changes: list[tuple[str, bool]]
) -> None:
    old, new = session("alpha"), session("alpha")
    members.join(old)
    members.join(new)
    assert old.close_reason == "superseded"
    assert waiting(old) == [Reconnect(SUPERSEDED_S, "superseded"), None]
    members.leave(old)
    assert members.get("alpha") is new
    members.leave(new)
    members.leave(new)
    assert members.get("alpha") is None
    assert changes == [("alpha", True), ("alpha", False), ("alpha", True), ("alpha", False)]


def test_messages_keep_their_order_and_everybody_hears_a_broadcast(members: ClientRegistry) -> None:
    sessions = [session(name) for name in ("beta", "alpha")]
    for one in sessions:
        members.join(one)
    for number in range(3):
        members.broadcast(Reconnect(number, "x"))
    assert [waiting(one) for one in sessions] == [[Reconnect(n, "x") for n in range(3)]] * 2
    assert members.names() == ["alpha", "beta"]
    assert [one.name for one in members.all()] == ["alpha", "beta"]


def test_a_client_that_does_not_read_is_cut_and_costs_no_more() -> None:
    slow = session("slow")
    for number in range(MAX_WAITING + 5):
        slow.send(Reconnect(number, "x"))
    assert slow.close_reason == "slow"
    assert slow.queue.qsize() == MAX_WAITING
    assert None in waiting(slow)


@pytest.mark.parametrize("held", [0, 1, MAX_WAITING - 1, MAX_WAITING])
def test_closing_always_ends_the_stream_and_the_first_reason_stays(held: int) -> None:
    closing = session("alpha")
    for number in range(held):
        closing.send(Reconnect(number, "x"))
    closing.close("first")
    closing.close("second")
    assert closing.close_reason == "first"
    left = waiting(closing)
    assert None in left
    assert [m for m in left if m is not None] == [Reconnect(n, "x") for n in range(held)][-(MAX_WAITING - 2) :]


def test_at_the_end_every_stream_ends_and_so_does_one_that_comes_yet(members: ClientRegistry) -> None:
    here, late = session("alpha"), session("beta")
    members.join(here)
    members.end()
    members.join(late)
    assert [(each.close_reason, waiting(each)) for each in (here, late)] == [("ended", [None])] * 2
    assert members.all() == []


def test_the_revoked_are_cut_and_turned_away(members: ClientRegistry) -> None:
    here = session("alpha")
    members.join(here)
    members.revoke("alpha")
    members.revoke("never-came")
    assert here.close_reason == "revoked"
    for name in ("alpha", "never-came"):
        with pytest.raises(IdentityError) as refused:
            members.join(session(name))
        assert refused.value.reason == "revoked"
    members.check("beta")
    members.leave(here)
    assert members.names() == []


def test_whatever_comes_and_goes_the_table_holds_the_newest_open_stream(journal: Journal) -> None:
    for seed in range(300):
        rng, told = random.Random(seed), dict[str, bool]()
        members = registry(journal, told.__setitem__)
        newest: dict[str, ClientSession] = {}
        streams: list[ClientSession] = []
        for _ in range(30):
            if rng.random() < 0.6 or not streams:
                streams.append(one := session(rng.choice("abc")))
                members.join(one)
                newest[one.name] = one
            else:
                one = streams.pop(rng.randrange(len(streams)))
                members.leave(one)
                if newest.get(one.name) is one:
                    del newest[one.name]
            assert {s.name: s for s in members.all()} == newest
            assert {name for name, connected in told.items() if connected} == set(newest)


def test_a_queue_belongs_to_the_loop_that_reads_it() -> None:
    async def scenario() -> list[ServerMessage | None]:
        one = session("alpha")
        asyncio.get_running_loop().call_soon(one.send, Reconnect(1, "x"))
        asyncio.get_running_loop().call_soon(one.close, "done")
        return [await one.queue.get(), await one.queue.get()]

    assert asyncio.run(scenario()) == [Reconnect(1, "x"), None]
