"""The list of members: when the CA makes a new one, and what of it nobody can change."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.crypto import certificates, identity
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.member_list import MEMBERS_DOMAIN, AuthorityTrust, ListedMember, MemberList, Organisations
from roughfed.errors import RoughfedError
from roughfed.server.members import member_file
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_file import MemberFile
from roughfed.wire.member_list import (
    LIST_REQUEST_DOMAIN,
    MAX_LIST_BYTES,
    decode_list,
    decode_signed,
    encode_list,
    encode_signed,
    list_request_body,
    open_signed,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIFE = timedelta(days=6)
KEYS = {name: IdentityKey.from_private_bytes(bytes([n]) * 32) for n, name in enumerate(("north", "south", "east"))}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    Authority.create(tmp_path / "ca", "fed", now=NOW)
    return Authority.open(tmp_path / "ca", life=LIFE)


def enrol(authority: Authority, name: str, *, now: datetime = NOW, **invited: object) -> tuple[IdentityKey, bytes]:
    key, csr = IdentityKey.generate(), certificates.new_request(certificates.new_tls_key())
    token = authority.invite(name, now=now, **invited)
    proof = key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, csr))
    return key, authority.enroll(token, csr, key.public_key, proof=proof, now=now).member


def renew(authority: Authority, key: IdentityKey, member: bytes, *, now: datetime) -> None:
    csr, at = certificates.new_request(certificates.new_tls_key()), int(now.timestamp())
    proof = key.sign(identity.RENEW_DOMAIN, identity.renewal_body(at, csr))
    authority.renew(csr, member, requested_at=at, proof=proof, now=now)


def listed(authority: Authority, now: datetime = NOW) -> MemberList:
    return open_signed(authority.member_list(now=now), AuthorityTrust(authority.certificate), "fed")


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(RoughfedError) as caught:
        call()
    return caught.value.reason


def test_each_change_of_who_belongs_gives_a_number_and_nothing_else_does(authority: Authority) -> None:
    enrol(authority, "bob", organisation="north")
    first = listed(authority)
    assert [(m.name, m.organisation, m.server) for m in first.members] == [("bob", "north", False)]
    assert (first.number, first.previous_digest) == (1, b"")
    assert listed(authority) == first

    key, _ = enrol(authority, "alice")
    csr = certificates.new_request(certificates.new_tls_key())
    authority.issue_server("server", csr, IdentityKey.generate().public_key, now=NOW)
    second = listed(authority)
    assert (second.number, second.previous_digest) == (2, first.digest)  # two enrolments, and one change
    assert [(m.name, m.server) for m in second.members] == [("alice", False), ("bob", False), ("server", True)]

    replaced, _ = enrol(authority, "alice", replace=True)
    assert listed(authority).by_name["alice"].identity_key == replaced.public_key != key.public_key
    authority.revoke("alice", now=NOW)
    assert [m.name for m in listed(authority).members] == ["bob", "server"]
    assert listed(authority).number == 4


def test_a_renewed_certificate_alone_gives_none_and_never_lets_an_entry_end(authority: Authority) -> None:
    key, member = enrol(authority, "alice")
    first = listed(authority)
    assert first.members[0].expires_at == int((NOW + LIFE).timestamp())
    numbers = set[int]()
    for hours in range(2, 40 * 24, 2):  # renewed at two thirds of its life, as clients do
        now = NOW + timedelta(hours=hours)
        if hours % (4 * 24) == 0:
            renew(authority, key, member, now=now)
        found = listed(authority, now)
        found.check_date(now.timestamp())
        assert found.belongs("alice", key.public_key, now=now.timestamp())
        numbers.add(found.number)
    assert len(numbers) == 40  # one a day, a sixth of the life


def test_whoever_lets_its_certificate_run_out_is_off_the_list_until_it_is_back(authority: Authority) -> None:
    key, member = enrol(authority, "alice")
    later = NOW + LIFE + timedelta(hours=1)
    listed(authority)
    assert listed(authority, later).members == ()
    renew(authority, key, member, now=later)
    assert [m.name for m in listed(authority, later).members] == ["alice"]


def test_members_whose_end_was_not_noted_yet_live_as_long_as_certificates_do(
    authority: Authority, tmp_path: Path
) -> None:
    enrol(authority, "alice")
    with MemberFile(tmp_path / "ca" / "authority.db").writing() as db:
        db.execute("UPDATE certificates SET expires_at = NULL")
    assert listed(authority).members[0].expires_at == int((NOW + LIFE).timestamp())


def test_numbers_go_on_behind_all_that_were_given_out_when_the_file_was_put_back(
    authority: Authority, tmp_path: Path
) -> None:
    enrol(authority, "alice")
    assert listed(authority).number == 1
    with MemberFile(tmp_path / "ca" / "authority.db").writing() as db:
        member_file.put_back(db, at=int(NOW.timestamp()) + 60)
    enrol(authority, "bob", now=NOW + timedelta(minutes=2))
    found = listed(authority, NOW + timedelta(minutes=2))
    assert found.number == int(NOW.timestamp()) + 120
    enrol(authority, "carol", now=NOW + timedelta(minutes=3))
    assert listed(authority, NOW + timedelta(minutes=3)).number == found.number + 1


def test_a_member_that_asks_the_ca_gets_the_list_and_nobody_else(authority: Authority) -> None:
    key, member = enrol(authority, "alice")
    at = int(NOW.timestamp())

    def ask(signer: IdentityKey = key, asked: int = at) -> bytes:
        proof = signer.sign(LIST_REQUEST_DOMAIN, list_request_body(asked))
        return authority.listed_for(member, requested_at=asked, proof=proof, now=NOW)

    assert ask() == authority.member_list(now=NOW)
    assert reason_of(lambda: ask(IdentityKey.generate())) == "signature"
    assert reason_of(lambda: ask(asked=at - 301)) == "clock"
    authority.revoke("alice", now=NOW)
    assert reason_of(ask) == "revoked"


def some_list(count: int = 3, **changes: object) -> MemberList:
    members = tuple(ListedMember(f"c{i:05}", bytes([i % 256]) * 32, 2000, "north") for i in range(count))
    fields = {"federation": "fed", "number": 5, "previous_digest": bytes(32), "issued_at": 1, "expires_at": 1000}
    return MemberList(**(fields | {"members": members} | changes))


def test_a_thousand_members_take_less_than_a_hundred_kilobytes() -> None:
    body = encode_list(some_list(1000))
    assert len(body) < 100_000
    assert decode_list(body).members == some_list(1000).members
    assert reason_of(lambda: encode_list(some_list(20_000))) == "size"
    assert reason_of(lambda: decode_list(bytes(MAX_LIST_BYTES + 1))) == "size"


MALFORMED: dict[str, tuple[MemberList, str]] = {
    "out of order": (some_list(members=some_list().members[::-1]), "schema"),
    "one name twice": (some_list(members=some_list().members[:1] * 2), "schema"),
    "a name that is none": (some_list(members=(ListedMember("A B", bytes(32), 1),)), "name"),
    "a short key": (some_list(members=(ListedMember("a", bytes(31), 1),)), "schema"),
    "an organisation that is none": (some_list(members=(ListedMember("a", bytes(32), 1, "N O"),)), "name"),
}


@pytest.mark.parametrize(("what", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_list_is_refused(what: MemberList, reason: str) -> None:
    assert reason_of(lambda: decode_list(encode_list(what))) == reason


def by(*names: str, body: bytes) -> list[tuple[bytes, bytes]]:
    return [(KEYS[name].public_key, KEYS[name].sign(MEMBERS_DOMAIN, body)) for name in names]


def test_k_of_n_organisations_sign_and_each_counts_once() -> None:
    trust, body = Organisations({name: key.public_key for name, key in KEYS.items()}, 2), encode_list(some_list())
    for signers in (("north", "east"), ("north", "south", "east")):
        assert open_signed(encode_signed(body, by(*signers, body=body)), trust, "fed").number == 5
    other = encode_list(some_list(number=6))
    stranger = IdentityKey.generate()
    refused = {
        "one": by("north", body=body),
        "one twice": by("north", "north", body=body),
        "one, and one of another list": by("north", body=body) + by("south", body=other),
        "one and a stranger": [*by("north", body=body), (stranger.public_key, stranger.sign(MEMBERS_DOMAIN, body))],
        "none": [],
    }
    for signatures in refused.values():
        assert reason_of(lambda s=signatures: open_signed(encode_signed(body, s), trust, "fed")) == "members-signature"
    assert reason_of(lambda: open_signed(encode_signed(body, by("north", "east", body=body)), trust, "x")) == "members"


def test_the_ca_of_a_consortium_makes_no_list(authority: Authority) -> None:
    """Its signature is one of a key that nobody named."""
    enrol(authority, "alice")
    trust = Organisations({name: key.public_key for name, key in KEYS.items()}, 1)
    assert reason_of(lambda: open_signed(authority.member_list(now=NOW), trust, "fed")) == "members-signature"


def test_another_ca_makes_no_list(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "fed", now=NOW)
    signed = authority.member_list(now=NOW)
    assert reason_of(lambda: open_signed(signed, AuthorityTrust(other.certificate), "fed")) == "members-signature"
    body, signatures = decode_signed(signed)
    bent = encode_signed(body + b"\x08\x07", signatures)
    trust = AuthorityTrust(authority.certificate)
    assert reason_of(lambda: open_signed(bent, trust, "fed")) == "members-signature"
