"""The list that a server goes by: where it comes from, what is kept of it, and who is asked and admitted."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.member_list import ListedMember, MemberList
from roughfed.deploy import aggregator
from roughfed.errors import IdentityError, RemoteProtocolError, Unreachable
from roughfed.messages import Hello
from roughfed.server.cohort.collection import Collection
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.members.member_list import NOT_LISTED, Listing
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.offer import offer
from roughfed.server.round.run import unlisted
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import RoundHeader, Signed
from roughfed.wire.member_list import decode_list, encode_list, encode_signed
from roughfed.wire.session import encode_header

NOW = 1_900_000_000
KEYS = {name: IdentityKey.from_private_bytes(bytes([i + 1]) * 32).public_key for i, name in enumerate("abcd")}
ORGANISATION = bytes([77]) * 32
HEADER = RoundHeader("run", 1, bytes(32), 0, *[bytes(32)] * 2, "lanes", "sums", bytes(32), 60.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def body_of(number: int = 1, names: str = "abc", **changes: int) -> bytes:
    members = tuple(ListedMember(name, KEYS[name], NOW + 1000) for name in names)
    return encode_list(MemberList("fed", number, b"", NOW, changes.get("expires_at", NOW + 500), members))


def session(name: str, key: bytes | None = None) -> ClientSession:
    return ClientSession(name, key or KEYS[name], b"", Hello("1", 1, b"", b"", (), ""))


class Source:
    """Gives what it is told to."""

    def __init__(self) -> None:
        self.body, self.key = body_of(), b""

    async def __call__(self) -> bytes:
        if not self.body:
            raise Unreachable("the CA does not answer")
        return encode_signed(self.body, [(self.key, bytes(64))])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def listing(store: Store, source: Source) -> Listing:
    listing = Listing(store.journal)
    listing.source = source
    return listing


def refresh(listing: Listing) -> None:
    asyncio.run(listing.refresh())


def test_the_list_is_journaled_and_handed_out_by_its_digest(listing: Listing, source: Source, store: Store) -> None:
    bodies = [body_of(number) for number in (1, 2, 3)]
    for source.body in bodies:
        refresh(listing)
        refresh(listing)
    digests = [decode_list(body).digest for body in bodies]
    again = Listing(store.journal)
    assert again.current == listing.current == decode_list(bodies[-1])
    assert [again.signed(digest) for digest in digests[1:]] == [
        encode_signed(b, [(b"", bytes(64))]) for b in bodies[1:]
    ]
    for gone in (digests[0], bytes(32)):
        with pytest.raises(RemoteProtocolError):
            again.signed(gone)
    assert listing.fields() == {"members_number": 3, "members_digest": digests[-1]}
    assert listing.described() == {"number": 3, "expires_at": NOW + 500, "members": 3, "signed_by": "ca"}


def test_a_ca_that_is_away_costs_nothing_while_the_last_list_is_in_force(listing: Listing, source: Source) -> None:
    source.body = b""
    with pytest.raises(Unreachable):
        refresh(listing)
    source.body = body_of()
    refresh(listing)
    source.body = b""
    refresh(listing)
    assert listing.current == decode_list(body_of())
    source.body = body_of(2, expires_at=NOW - 301)  # a list that is over is none
    refresh(listing)
    assert listing.current == decode_list(body_of())
    listing.current = decode_list(body_of(expires_at=NOW - 1))
    with pytest.raises(IdentityError):
        refresh(listing)


def test_a_list_that_clients_would_refuse_is_not_handed_out(
    listing: Listing, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.body = body_of(2)
    refresh(listing)
    for source.body in (body_of(1), body_of(2, names="ab")):  # put back, and another of one number
        refresh(listing)
        assert listing.current == decode_list(body_of(2))
    assert "does not follow list 2" in caplog.text


def test_one_signature_more_is_handed_out(listing: Listing, source: Source, store: Store) -> None:
    refresh(listing)
    source.key = ORGANISATION
    refresh(listing)
    again = Listing(store.journal)
    assert again.signed(decode_list(source.body).digest) == encode_signed(source.body, [(ORGANISATION, bytes(64))])
    assert again.strict


def test_only_who_is_in_the_list_with_its_key_is_asked(
    listing: Listing, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    here = [session("a"), session("b", KEYS["d"]), session("c"), session("d")]
    assert listing.listed(here) == {"a", "b", "c", "d"}  # before there is a list nobody says who belongs
    refresh(listing)
    for _ in range(2):
        assert listing.listed(here) == {"a", "c"}
    assert caplog.text.count("not asked, since they are not in member list 1: b, d") == 1


def test_without_masks_nobody_needs_a_list(store: Store) -> None:
    listing = Listing(store.journal)
    refresh(listing)
    assert (listing.listed([session("d")]), listing.fields(), listing.described()) == ({"d"}, {}, None)


def test_where_organisations_sign_who_is_not_in_it_may_not_even_connect(listing: Listing, source: Source) -> None:
    refresh(listing)
    listing.admit("d", KEYS["d"])  # the CA's: the next one may have it
    source.key = ORGANISATION
    refresh(listing)
    listing.admit("a", KEYS["a"])
    for name, key in (("d", KEYS["d"]), ("a", KEYS["d"])):
        with pytest.raises(IdentityError) as refused:
            listing.admit(name, key)
        assert (refused.value.reason, "organisations" in str(refused.value)) == (NOT_LISTED, True)


def test_a_round_waits_until_enough_of_those_who_are_here_are_in_the_list(listing: Listing, source: Source) -> None:
    clients = SimpleNamespace(get={name: session(name) for name in "abcd"}.get, listing=listing)
    ctx = cast(ServerContext, SimpleNamespace(clients=clients, config=SimpleNamespace(clients_to_start=3)))
    assert asyncio.run(unlisted(ctx, "abcd")) == ""
    assert asyncio.run(unlisted(ctx, "abd")) == "waiting: 2 of 3 clients are in the member list"
    source.body, listing.current = b"", None
    assert asyncio.run(unlisted(ctx, "abcd")) == "waiting for a list of members: the CA does not answer"


def test_who_comes_back_with_another_key_is_out_of_the_round(listing: Listing) -> None:
    refresh(listing)
    masked = cast(Any, SimpleNamespace(out=set[str]()))
    row = RoundRow(1, Signed(encode_header(HEADER), b"", ""), ("a", "b"), 2, 0.0, {}, None, None)
    round_ = RoundState(row, Collection(frozenset("ab"), 2, 2, 60.0), masked)
    masked.tier_of = lambda _: None
    clients = SimpleNamespace(listing=listing, quarantined={})
    ctx = cast(ServerContext, SimpleNamespace(clients=clients, config=FederationConfig()))
    offer(ctx, round_, session("a"))
    offer(ctx, round_, session("b", KEYS["d"]))
    assert round_.collection is not None
    assert (round_.collection.refused, masked.out) == ({"b": NOT_LISTED}, {"b"})
    assert round_.identity_keys.keys() == {"a"}


def test_a_ca_elsewhere_is_asked_twice_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    async def fetch(folder: Path) -> bytes:
        asked.append(folder)
        return bytes([len(asked)])

    monkeypatch.setattr("roughfed.client.members.enrol.fetch_members", fetch)
    times = iter((0.0, 29.0, 31.0, 31.0))
    lists = aggregator.lists_from_ca(tmp_path, clock=lambda: next(times))

    async def thrice() -> list[bytes]:
        return [await lists() for _ in range(3)]

    assert asyncio.run(thrice()) == [bytes([1]), bytes([1]), bytes([2])]
    assert asked == [tmp_path] * 2
