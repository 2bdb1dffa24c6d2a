"""The authority: who gets in, once, and who does not any more."""

import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.crypto import certificates, identity
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import ConfigError, IdentityError, RoughfedError, StorageError
from roughfed.server.members import member_file
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_file import MemberFile
from roughfed.wire.enrolment import IssuedCredentials, encode_member, encode_roster_entry, open_member

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Newcomer:
    """The client's keys, and the requests that it makes with them."""

    key: IdentityKey = field(default_factory=IdentityKey.generate)
    csr: bytes = field(default_factory=lambda: certificates.new_request(certificates.new_tls_key()))

    def enroll(self, authority: Authority, token: bytes, *, now: datetime = NOW) -> IssuedCredentials:
        proof = self.key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, self.csr))
        return authority.enroll(token, self.csr, self.key.public_key, proof=proof, now=now)

    def renew(
        self, authority: Authority, member: bytes, *, now: datetime = NOW, asked: datetime | None = None
    ) -> IssuedCredentials:
        at = int((asked or now).timestamp())
        proof = self.key.sign(identity.RENEW_DOMAIN, identity.renewal_body(at, self.csr))
        return authority.renew(self.csr, member, requested_at=at, proof=proof, now=now)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", "fed", now=NOW)


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(RoughfedError) as caught:
        call()
    return caught.value.reason


def standing(authority: Authority, credentials: IssuedCredentials) -> str:
    return authority.standing("alice", certificates.load_certificate(credentials.certificate).serial_number)


def test_an_invite_becomes_a_member(authority: Authority) -> None:
    newcomer = Newcomer()
    credentials = newcomer.enroll(authority, authority.invite("alice", now=NOW))
    entry = open_member(credentials.member, authority.certificate)
    assert entry.subject == ("fed", "client", "alice")
    assert entry.identity_key == newcomer.key.public_key
    assert entry.enrolled_at == int(NOW.timestamp())
    subject = certificates.check_issued(credentials.certificate, credentials.ca_certificate, role="client", now=NOW)
    assert subject == entry.subject
    (member,) = authority.members()
    assert (member.name, member.role, member.revoked_at) == ("alice", "client", None)
    assert member.member == credentials.member
    assert standing(authority, credentials) == ""


def test_it_is_the_same_after_a_restart(authority: Authority, tmp_path: Path) -> None:
    token = authority.invite("alice", now=NOW)
    again = Authority.open(tmp_path / "ca")
    assert (again.federation, again.fingerprint) == ("fed", authority.fingerprint)
    Newcomer().enroll(again, token)
    assert authority.members() == again.members()


def test_the_ca_key_is_private_and_tokens_are_not_kept(authority: Authority, tmp_path: Path) -> None:
    token = authority.invite("alice", now=NOW)
    Newcomer().enroll(authority, token)
    other = authority.invite("bob", now=NOW)
    assert stat.S_IMODE((tmp_path / "ca" / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    for path in (tmp_path / "ca").iterdir():
        data = path.read_bytes()
        assert token not in data
        assert other not in data
        assert token.hex().encode() not in data


def test_two_racing_enrolments_cannot_both_win(authority: Authority, tmp_path: Path) -> None:
    token = authority.invite("alice", now=NOW)
    start = threading.Barrier(4)
    results: list[str] = []

    def race() -> None:
        own, newcomer = Authority.open(tmp_path / "ca"), Newcomer()
        start.wait()
        try:
            newcomer.enroll(own, token)
            results.append("ok")
        except IdentityError as error:
            results.append(error.reason)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["ok", "token-used", "token-used", "token-used"]
    assert len(authority.members()) == 1


def test_a_lost_answer_may_be_asked_for_again_by_the_same_keys_only(authority: Authority) -> None:
    token, newcomer = authority.invite("alice", now=NOW), Newcomer()
    first = newcomer.enroll(authority, token)
    assert newcomer.enroll(authority, token).member == first.member
    assert reason_of(lambda: Newcomer().enroll(authority, token)) == "token-used"
    authority.revoke("alice", now=NOW)
    assert reason_of(lambda: newcomer.enroll(authority, token)) == "token-used"


def test_tokens_that_are_refused(authority: Authority) -> None:
    token = authority.invite("alice", now=NOW, ttl=timedelta(hours=1))
    assert reason_of(lambda: Newcomer().enroll(authority, bytes(32))) == "token-unknown"
    assert reason_of(lambda: Newcomer().enroll(authority, token, now=NOW + timedelta(hours=1))) == "token-expired"
    authority.invite("alice", now=NOW)
    assert reason_of(lambda: Newcomer().enroll(authority, token)) == "token-unknown"  # a newer invite voids it
    assert authority.members() == ()


def test_revoking_voids_the_invite(authority: Authority) -> None:
    token = authority.invite("alice", now=NOW)
    authority.revoke("alice", now=NOW)
    assert reason_of(lambda: Newcomer().enroll(authority, token)) == "token-unknown"
    assert reason_of(lambda: authority.revoke("alice", now=NOW)) == "unknown"


def test_a_bad_request_does_not_burn_the_token(authority: Authority) -> None:
    token, newcomer, thief = authority.invite("alice", now=NOW), Newcomer(), Newcomer()
    body = identity.enrolment_body(token, newcomer.csr)
    wrong = {
        "other key": thief.key.sign(identity.ENROL_DOMAIN, body),
        "other domain": newcomer.key.sign(identity.RENEW_DOMAIN, body),
        "other token": newcomer.key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(bytes(32), newcomer.csr)),
        "other csr": newcomer.key.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, thief.csr)),
    }
    for proof in wrong.values():
        ask = (token, newcomer.csr, newcomer.key.public_key)
        assert reason_of(lambda p=proof, a=ask: authority.enroll(*a, proof=p, now=NOW)) == "signature"
    assert reason_of(lambda: Newcomer(csr=b"garbage").enroll(authority, token)) == "csr"
    newcomer.enroll(authority, token)


def test_a_living_name_is_not_invited_twice(authority: Authority) -> None:
    Newcomer().enroll(authority, authority.invite("alice", now=NOW))
    assert reason_of(lambda: authority.invite("alice", now=NOW)) == "name-taken"


def test_a_lost_machine_is_replaced_and_its_key_is_dead(authority: Authority) -> None:
    old, new = Newcomer(), Newcomer()
    papers = old.enroll(authority, authority.invite("alice", now=NOW))
    token = authority.invite("alice", now=NOW, replace=True)
    old.renew(authority, papers.member)  # until the new machine is there, the old one works
    fresh = new.enroll(authority, token)
    assert reason_of(lambda: old.renew(authority, papers.member)) == "replaced"
    assert standing(authority, papers) == "revoked"
    assert standing(authority, fresh) == ""
    assert reason_of(lambda: old.enroll(authority, authority.invite("bob", now=NOW))) == "key-reused"


def test_the_revoked_are_out_until_they_come_with_a_new_key(authority: Authority) -> None:
    old = Newcomer()
    papers = old.enroll(authority, authority.invite("alice", now=NOW))
    authority.revoke("alice", now=NOW)
    authority.revoke("alice", now=NOW + timedelta(hours=1))
    assert authority.members()[0].revoked_at == int(NOW.timestamp())
    assert standing(authority, papers) == "revoked"
    assert reason_of(lambda: old.renew(authority, papers.member)) == "revoked"
    token = authority.invite("alice", now=NOW)
    assert reason_of(lambda: old.enroll(authority, token)) == "key-reused"
    fresh = Newcomer().enroll(authority, token)
    assert standing(authority, fresh) == ""
    assert standing(authority, papers) == "revoked"


def test_the_unknown_count_as_revoked(authority: Authority) -> None:
    Newcomer().enroll(authority, authority.invite("alice", now=NOW))
    assert authority.standing("mallory", 12345) == "revoked"
    assert authority.standing("alice", 12345) == "revoked"


def test_renewal(authority: Authority) -> None:
    client = Newcomer()
    papers = client.enroll(authority, authority.invite("alice", now=NOW))
    later = NOW + timedelta(days=30)  # long after the certificate expired
    fresh = client.renew(authority, papers.member, now=later)
    assert fresh.member == papers.member
    assert certificates.check_issued(fresh.certificate, fresh.ca_certificate, role="client", now=later).name == "alice"
    assert (
        certificates.load_certificate(fresh.certificate).serial_number
        != certificates.load_certificate(papers.certificate).serial_number
    )
    assert standing(authority, papers) == ""  # the answer may have been lost
    assert standing(authority, fresh) == ""
    assert standing(authority, papers) == "outdated"  # it was not
    assert standing(authority, fresh) == ""


def test_a_list_of_an_earlier_version_is_brought_up_to_date(authority: Authority, tmp_path: Path) -> None:
    client = Newcomer()
    papers = client.enroll(authority, authority.invite("alice", now=NOW))
    with MemberFile(tmp_path / "ca" / "authority.db").writing() as db:
        for table, column in (("certificates", "expires_at"), ("tokens", "organisation"), ("members", "organisation")):
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("ALTER TABLE certificates DROP COLUMN ended_at")
        for table in ("put_back", "lists"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 0")
    again = Authority.open(tmp_path / "ca")
    fresh = client.renew(again, papers.member)
    assert [standing(again, each) for each in (papers, fresh, papers)] == ["", "", "outdated"]


@pytest.mark.parametrize(("skew_s", "passes"), [(-300, True), (300, True), (-301, False), (301, False)])
def test_a_renewal_is_good_for_five_minutes(authority: Authority, skew_s: int, passes: bool) -> None:
    client = Newcomer()
    member = client.enroll(authority, authority.invite("alice", now=NOW)).member
    asked = NOW + timedelta(seconds=skew_s)
    if passes:
        client.renew(authority, member, asked=asked)
    else:
        assert reason_of(lambda: client.renew(authority, member, asked=asked)) == "clock"


def test_renewals_that_are_refused(authority: Authority, tmp_path: Path) -> None:
    client = Newcomer()
    member = client.enroll(authority, authority.invite("alice", now=NOW)).member
    assert reason_of(lambda: Newcomer().renew(authority, member)) == "signature"
    assert reason_of(lambda: Newcomer(key=client.key, csr=b"garbage").renew(authority, member)) == "csr"
    entry = encode_roster_entry(open_member(member, authority.certificate))
    assert reason_of(lambda: client.renew(authority, encode_member(entry, b"forged"))) == "roster"
    assert reason_of(lambda: client.renew(authority, b"garbage")) == "protocol"
    other = Authority.create(tmp_path / "other", "fed", now=NOW)
    assert reason_of(lambda: client.renew(other, member)) == "roster"


def test_the_server_beside_the_ca(authority: Authority) -> None:
    server = Newcomer()
    first = authority.issue_server("main", server.csr, server.key.public_key, now=NOW)
    again = authority.issue_server("main", server.csr, server.key.public_key, now=NOW + timedelta(days=1))
    assert first.member == again.member
    assert certificates.check_issued(first.certificate, authority.certificate, role="server", now=NOW).name == "main"
    assert open_member(first.member, authority.certificate).role == "server"
    rebuilt = Newcomer()
    authority.issue_server("main", rebuilt.csr, rebuilt.key.public_key, now=NOW)
    assert [m.identity_key for m in authority.members()] == [rebuilt.key.public_key]
    Newcomer().enroll(authority, authority.invite("alice", now=NOW))
    assert reason_of(lambda: authority.issue_server("alice", server.csr, bytes(32), now=NOW)) == "name-taken"


def test_a_server_may_enrol_by_token(authority: Authority) -> None:
    credentials = Newcomer().enroll(authority, authority.invite("main", now=NOW, role="server"))
    assert certificates.check_issued(credentials.certificate, authority.certificate, role="server", now=NOW)


@pytest.mark.parametrize("name", ["", "A", "../x", "a" * 64, "a\nb"])
def test_names_that_are_refused(authority: Authority, name: str) -> None:
    assert reason_of(lambda: authority.invite(name, now=NOW)) == "name"
    assert reason_of(lambda: authority.issue_server(name, b"", b"", now=NOW)) == "name"


def test_folders_that_are_refused(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has a CA already"):
        Authority.create(tmp_path / "ca", "fed", now=NOW)
    with pytest.raises(ConfigError, match="no CA here"):
        Authority.open(tmp_path / "nowhere")
    (tmp_path / "ca" / "ca.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        Authority.open(tmp_path / "ca")
    (tmp_path / "ca" / "ca.key").chmod(0o600)
    other = Authority.create(tmp_path / "other", "fed", now=NOW)
    (tmp_path / "ca" / "ca.pem").write_bytes(other.certificate)
    with pytest.raises(ConfigError, match="does not belong"):
        Authority.open(tmp_path / "ca")
    (tmp_path / "ca" / "authority.db").unlink()
    with pytest.raises(ConfigError, match="list of members is lost"):
        Authority.open(tmp_path / "ca")


def test_a_creation_that_crashed_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    Authority.create(folder, "first", now=NOW)
    (folder / "ca.key").unlink()  # the last file of `create`
    assert Authority.create(folder, "second", now=NOW).federation == "second"
    assert Authority.open(folder).federation == "second"


def test_a_damaged_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "members.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StorageError, match="not a database"):
        MemberFile(tmp_path / "members.db").create()


def test_no_error_shows_the_token(authority: Authority) -> None:
    token = authority.invite("alice", now=NOW, ttl=timedelta(hours=1))
    for call in (
        lambda: Newcomer().enroll(authority, token, now=NOW + timedelta(days=1)),
        lambda: Newcomer(csr=token).enroll(authority, token),
        lambda: authority.enroll(token, Newcomer().csr, bytes(32), proof=token, now=NOW),
        lambda: authority.renew(Newcomer().csr, token, requested_at=0, proof=token, now=NOW),
    ):
        with pytest.raises(RoughfedError) as caught:
            call()
        error: BaseException | None = caught.value
        while error is not None:
            for form in (repr(token), token.hex(), repr(token)[2:-1]):
                assert form not in f"{error} {error!r}"
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_member_that_renews_as_fast_as_it_can_fills_no_disk(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_file, "MOST_AN_HOUR", 4)
    alice, bob, token = Newcomer(), Newcomer(), authority.invite("alice", now=NOW)
    member = alice.enroll(authority, token).member
    for _ in range(3):
        alice.renew(authority, member)
    assert reason_of(lambda: alice.renew(authority, member)) == "rate"
    assert reason_of(lambda: alice.enroll(authority, token)) == "rate", "nor by asking again with its invite"
    bob.enroll(authority, authority.invite("bob", now=NOW))
    later = NOW + timedelta(hours=1)
    alice.renew(authority, member, now=later)
