"""What a client demands of a list of members and of a roster before it answers: one refusal for each rule."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roughfed.client.context import RoundTask
from roughfed.client.policy import Rules
from roughfed.client.round.member_list import fetch_member_list
from roughfed.client.rules.peers import Peers, passed_over
from roughfed.client.storage.store import ClientStore
from roughfed.cohort_order import order_of
from roughfed.config.client import PolicySettings
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.member_list import MEMBERS_DOMAIN, ListedMember, MemberList, Organisations
from roughfed.errors import IdentityError, RoughfedError, Unreachable
from roughfed.secagg.messages import Roster
from roughfed.types import RoundHeader, Signed
from roughfed.wire.member_list import decode_list, encode_list, encode_signed

NOW = 1_900_000_000
DAY = 86400
NAMES = tuple(f"c{i}" for i in range(8))
KEYS = {name: IdentityKey.from_private_bytes(bytes([i + 1]) * 32) for i, name in enumerate((*NAMES, "server", "x"))}
ORGANISATIONS = {name: IdentityKey.from_private_bytes(bytes([i + 60]) * 32) for i, name in enumerate("abc")}
RULES = Rules(PolicySettings(server_sees="sums", max_model_bytes=1000))
BEACON = bytes([9]) * 32


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    from datetime import UTC, datetime

    return CertificateAuthority.create("fed", serial=1, now=datetime.now(UTC))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def entry(name: str, **changes: object) -> ListedMember:
    organisation = "north" if name in NAMES[:3] else ""
    sane = ListedMember(name, KEYS[name].public_key, NOW + DAY, organisation, server=name == "server")
    return replace(sane, **changes)


def some(*, number: int = 7, of: tuple[ListedMember, ...] | None = None, **changes: object) -> MemberList:
    members = of if of is not None else tuple(entry(name) for name in (*NAMES, "server"))
    sane = MemberList("fed", number, bytes(32), NOW, NOW + DAY, members)
    return decode_list(encode_list(replace(sane, **changes)))


def header(listed: MemberList, **changes: object) -> RoundHeader:
    digest, number = listed.digest, listed.number
    sane = RoundHeader(
        "run-1", 5, bytes(32), 4, bytes(32), bytes(32), "lanes", "sums", bytes(32), 60.0,
        members_number=number, members_digest=digest, draw_round=3, draw_beacon=BEACON,
    )  # fmt: skip
    return replace(sane, **changes)


class Server:
    """Gives lists; counts how often it is asked."""

    def __init__(self, sign: Callable[[bytes], list[tuple[bytes, bytes]]]) -> None:
        self.sign, self.given, self.asked = sign, dict[bytes, bytes](), 0

    def offer(self, listed: MemberList, instead: MemberList | None = None) -> RoundHeader:
        body = encode_list(instead or listed)
        self.given[listed.digest] = encode_signed(body, self.sign(body))
        return header(listed)

    async def fetch_members(self, digest: bytes) -> bytes:
        self.asked += 1
        if digest not in self.given:
            raise Unreachable("gone")
        return self.given[digest]


@pytest.fixture
def server(ca: CertificateAuthority) -> Server:
    return Server(lambda body: [(b"", ca.sign_members(body))])


@pytest.fixture
def hear(ca: CertificateAuthority, store: ClientStore, server: Server) -> Callable[..., MemberList]:
    def hear(what: RoundHeader, *, rules: Rules = RULES) -> MemberList:
        key = KEYS["server"].public_key
        credentials = SimpleNamespace(
            name="c0", identity=KEYS["c0"], ca_certificate=ca.certificate, subject=SimpleNamespace(federation="fed")
        )
        session = SimpleNamespace(credentials=credentials, rules=rules, members=None, server_key=key)
        ctx = SimpleNamespace(store=store, connection=server)
        task = SimpleNamespace(ctx=ctx, session=session, header=what)
        return asyncio.run(fetch_member_list(cast(RoundTask, task)))

    return hear


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(RoughfedError) as caught:
        call()
    return caught.value.reason


def test_a_list_is_fetched_once_and_kept_over_restarts(hear: Callable[..., MemberList], server: Server) -> None:
    asked = server.offer(some())
    assert hear(asked) == hear(asked) == some()
    assert server.asked == 1
    assert hear(server.offer(some(number=9))).number == 9
    assert server.asked == 2


REFUSED: dict[str, tuple[MemberList, str]] = {
    "that is over": (some(expires_at=NOW - 301), "members-expired"),
    "of another federation": (some(federation="other"), "members"),
    "without this client": (some(of=tuple(entry(n) for n in (*NAMES[1:], "server"))), "not-listed"),
    "with another key for this client": (
        some(of=(entry("c0", identity_key=bytes(32)), *(entry(n) for n in (*NAMES[1:], "server")))), "not-listed"),
    "in which this client has expired": (
        some(of=(entry("c0", expires_at=NOW - 301), *(entry(n) for n in (*NAMES[1:], "server")))), "not-listed"),
    "without the server": (some(of=tuple(entry(n) for n in NAMES)), "not-listed"),
    "in which the server has expired": (
        some(of=(*(entry(n) for n in NAMES), entry("server", expires_at=NOW - 301))), "not-listed"),
    "with the server as a client": (
        some(of=(*(entry(n) for n in NAMES), entry("server", server=False))), "not-listed"),
}  # fmt: skip


@pytest.mark.parametrize(("listed", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_list_is_refused(hear: Callable[..., MemberList], server: Server, listed: MemberList, reason: str) -> None:
    assert reason_of(lambda: hear(server.offer(listed))) == reason


def test_a_header_names_a_list_and_no_other_comes_in_its_place(hear: Callable[..., MemberList], server: Server) -> None:
    assert reason_of(lambda: hear(header(some(), members_digest=b"", members_number=0))) == "members"
    assert reason_of(lambda: hear(server.offer(some(), instead=some(number=8)))) == "members"
    server.offer(some())
    assert reason_of(lambda: hear(header(some(), members_number=8))) == "members"


def test_numbers_only_grow_and_one_number_has_one_list(hear: Callable[..., MemberList], server: Server) -> None:
    hear(server.offer(some(number=7)))
    assert reason_of(lambda: hear(server.offer(some(number=6)))) == "members-rollback"
    assert reason_of(lambda: hear(server.offer(some(number=7, issued_at=1)))) == "members-fork"
    assert reason_of(lambda: hear(server.offer(some(number=8)))) == "members-fork"
    hear(server.offer(some(number=8, previous_digest=some(number=7).digest)))
    hear(server.offer(some(number=12)))  # this client was away
    assert reason_of(lambda: hear(server.offer(some(number=9)))) == "members-rollback"


def test_where_organisations_sign_the_ca_makes_no_member(hear: Callable[..., MemberList], server: Server) -> None:
    """Server and CA together add somebody; and with the key of one organisation of three."""
    rules = replace(RULES, organisations=Organisations({n: k.public_key for n, k in ORGANISATIONS.items()}, 2))
    sybils = some(of=tuple(entry(name) for name in (*NAMES, "server", "x")))
    by_ca = server.sign

    def with_organisations(*names: str) -> Callable[[bytes], list[tuple[bytes, bytes]]]:
        keys = [ORGANISATIONS[name] for name in names]
        return lambda body: [*by_ca(body), *((key.public_key, key.sign(MEMBERS_DOMAIN, body)) for key in keys)]

    assert reason_of(lambda: hear(server.offer(sybils), rules=rules)) == "members-signature"
    server.sign = with_organisations("a")
    assert reason_of(lambda: hear(server.offer(sybils), rules=rules)) == "members-signature"
    server.sign = with_organisations("a", "c")
    assert hear(server.offer(some()), rules=rules) == some()
    server.sign = by_ca
    assert hear(server.offer(some(number=3))).number == 3  # of other signers: their numbers are their own


def roster(group: tuple[str, ...] = NAMES[:4], cohort: tuple[str, ...] = NAMES[:4]) -> Roster:
    adverts = tuple(Signed(b"", b"", name) for name in group)
    return Roster(bytes(32), 0, adverts, (), tuple((name, bytes(32)) for name in cohort), bytes(32))


def peers(**policy: Any) -> Peers:
    return Peers("c0", some(), RULES.with_policy(**policy))


def test_a_member_that_was_revoked_or_replaced_or_has_expired_is_no_group_mate() -> None:
    of = (entry("c0"), entry("c1"), entry("c3", expires_at=NOW - 301), entry("server"))
    group = Peers("c0", some(of=of), RULES)
    group.check_member("c1", KEYS["c1"].public_key)
    for name, key in (("c1", KEYS["x"]), ("c2", KEYS["c2"]), ("c3", KEYS["c3"]), ("server", KEYS["server"])):
        with pytest.raises(IdentityError) as refused:
            group.check_member(name, key.public_key)
        assert refused.value.reason == "not-listed"


KNOWN = {
    "by name": ("c2", "c3"),
    "by the fingerprint of the key": (f"sha256:{entry('c2').fingerprint}", f"sha256:{entry('c3').fingerprint}"),
    "by the organisation": ("org:north",),
}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN.keys())
def test_a_group_has_as_many_known_peers_as_the_owner_wants(known: tuple[str, ...]) -> None:
    listed = some()
    peers(min_known_peers=2, known_peers=known).check(roster(), header(listed))
    for group in (("c0", "c1", "c5", "c6"), ("c0", "c5", "c6", "c7")):
        with pytest.raises(RoughfedError) as refused:
            peers(min_known_peers=2, known_peers=known).check(roster(group), header(listed))
        assert refused.value.reason == "policy"
        assert "policy.min_known_peers" in str(refused.value)


def test_the_own_name_is_no_known_peer() -> None:
    with pytest.raises(RoughfedError):
        peers(min_known_peers=1, known_peers=("c0",)).check(roster(), header(some()))


def test_who_was_passed_over_is_counted_and_bounded() -> None:
    listed, asked = some(), header(some())
    order = sorted(NAMES, key=order_of(asked))
    assert passed_over(listed, set(order[:4]), asked) == 0
    assert passed_over(listed, set(order[-4:]), asked) == 4
    assert passed_over(listed, {order[0], order[2], order[3]}, asked) == 1
    assert passed_over(listed, set(), asked) == 0
    peers(max_passed_over=0.5).check(roster(cohort=tuple(order[-4:])), asked)
    with pytest.raises(RoughfedError) as refused:
        peers(max_passed_over=0.4).check(roster(cohort=tuple(order[-4:])), asked)
    assert "4 of the 8 members" in str(refused.value)
    assert sorted(NAMES, key=order_of(replace(asked, round=6))) != order
    assert sorted(NAMES, key=order_of(replace(asked, draw_beacon=bytes(32)))) != order
