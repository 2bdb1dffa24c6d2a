"""Enrolment over loopback TLS: the real client against the real service, in one event loop."""

import asyncio
import hashlib
import logging
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import pytest

from roughfed.client.members import credential_files, enrol
from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.join_line import JoinLine
from roughfed.crypto.member_list import AuthorityTrust
from roughfed.deploy.aggregator import from_enrolment
from roughfed.errors import ConfigError, IdentityError, RoughfedError, StorageError, Unreachable
from roughfed.rate_limit import Rate, RateLimit
from roughfed.server.members.authority import Authority
from roughfed.server.transport.enrolment import EnrolmentService, default_limit, serve
from roughfed.wire import enrolment as wire
from roughfed.wire.member_list import open_signed
from tests.unit.clock import present

T = TypeVar("T")


@dataclass
class Port:
    """A running enrolment port and everything a test wants of it."""

    run: Callable[[Awaitable[Any]], Any]
    authority: Authority
    results: list[tuple[str, str]]
    port: int
    servers: list[grpc.aio.Server] = field(default_factory=list)

    def line(self, name: str, **changes: Any) -> JoinLine:
        secret = self.authority.invite(name, now=present())
        return replace(JoinLine("127.0.0.1", self.port, secret, self.authority.fingerprint), **changes)

    def serve(self, service: EnrolmentService, *, age: timedelta = timedelta(0), ca: Authority | None = None) -> int:
        """One more port, with a server certificate of that CA and time."""
        credentials = tls(ca or self.authority, now=present() - age)
        server, port = self.run(serve(service, "127.0.0.1:0", credentials=credentials))
        self.servers.append(server)
        return port

    def ask(self, method: str, request: bytes, *, at: int = 0) -> bytes:
        async def call() -> bytes:
            credentials = grpc.ssl_channel_credentials(self.authority.certificate)
            options = [("grpc.ssl_target_name_override", certificates.SERVER_HOST)]
            async with grpc.aio.secure_channel(f"127.0.0.1:{at or self.port}", credentials, options=options) as channel:
                return await channel.unary_unary(f"/roughfed.v1.Enrolment/{method}")(request, timeout=10)

        return self.run(call())


def tls(authority: Authority, *, now: datetime) -> grpc.ServerCredentials:
    key = certificates.new_tls_key()
    name = f"main-{hashlib.sha256(key).hexdigest()[:8]}"
    papers = authority.issue_server(name, certificates.new_request(key), IdentityKey.generate().public_key, now=now)
    return grpc.ssl_server_credentials([(key, papers.certificate)])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    authority = Authority.create(tmp_path_factory.mktemp("authority") / "ca", "fed", now=present())
    results: list[tuple[str, str]] = []
    limit = RateLimit(each=Rate(1e6, 1), total=Rate(1e6, 1), clock=lambda: 0.0)
    service = EnrolmentService(authority, ":9443", limit, on_result=lambda kind, result: results.append((kind, result)))
    with asyncio.Runner() as runner:
        made = Port(runner.run, authority, results, 0)  # type: ignore[arg-type]
        made.port = made.serve(service)
        yield made
        for server in made.servers:
            runner.run(server.stop(None))


def test_a_newcomer_becomes_a_member(port: Port, tmp_path: Path) -> None:
    folder = tmp_path / "client"
    port.results.clear()
    mine = port.run(enrol.enroll(port.line("alice"), folder))
    assert mine.subject == ("fed", "client", "alice")
    assert mine.record.federation_address == "127.0.0.1:9443"
    assert mine.record.enrolment_address == f"127.0.0.1:{port.port}"
    assert mine.ca_certificate == port.authority.certificate
    assert wire.open_member(mine.member, mine.ca_certificate).identity_key == mine.identity.public_key
    assert credential_files.load(folder) == mine
    assert port.results == [("authority", "ok"), ("enroll", "ok")]
    for name in ("tls.key", "identity.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert sorted(p.name for p in folder.iterdir()) == [
        "ca.pem", "certificate.pem", "enrolment.json", "identity.key", "member.bin", "tls.key",
    ]  # fmt: skip


def test_the_same_line_in_the_same_folder_changes_nothing(port: Port, tmp_path: Path) -> None:
    line = port.line("again")
    first = port.run(enrol.enroll(line, tmp_path))
    assert port.run(enrol.enroll(line, tmp_path)) == first


def test_the_same_line_in_another_folder_is_refused_with_a_cure(port: Port, tmp_path: Path) -> None:
    line = port.line("twice")
    port.run(enrol.enroll(line, tmp_path / "a"))
    with pytest.raises(IdentityError, match="roughfed invite twice --replace") as caught:
        port.run(enrol.enroll(line, tmp_path / "b"))
    assert caught.value.reason == "token-used"
    assert port.results[-1] == ("enroll", "token-used")
    assert not credential_files.is_enrolled(tmp_path / "b")


def test_a_crash_after_the_token_left_loses_nothing(
    port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = port.line("crash")

    def crash(*_: object) -> None:
        raise StorageError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(credential_files, "commit", crash)
        with pytest.raises(StorageError):
            port.run(enrol.enroll(line, tmp_path))
    pending = IdentityKey.load(tmp_path / "pending" / "identity.key")
    mine = port.run(enrol.enroll(line, tmp_path))
    assert mine.identity.public_key == pending.public_key


@pytest.mark.parametrize("moved", range(6))
def test_a_crash_while_papers_are_moved_is_mended(port: Port, tmp_path: Path, moved: int) -> None:
    name = f"moved-{moved}"
    old = port.run(enrol.enroll(port.line(name), tmp_path / "old"))
    port.authority.revoke(name, now=present())
    new = port.run(enrol.enroll(port.line(name), tmp_path / "new"))
    (tmp_path / "old" / "pending").mkdir()
    order = ["tls.key", "identity.key", "certificate.pem", "member.bin", "ca.pem", "enrolment.json"]
    for index, file in enumerate(order):
        shutil.copy2(tmp_path / "new" / file, tmp_path / "old" / ("" if index < moved else "pending") / file)
    mended = credential_files.load(tmp_path / "old")
    assert replace(mended, folder=new.folder) == new != old
    assert not (tmp_path / "old" / "pending").exists()


def test_a_new_line_replaces_the_papers_once_it_worked(port: Port, tmp_path: Path) -> None:
    old = port.run(enrol.enroll(port.line("moving"), tmp_path))
    with pytest.raises(IdentityError):
        port.run(enrol.enroll(port.line("elsewhere", secret=bytes(32)), tmp_path))
    assert credential_files.load(tmp_path) == old
    port.authority.revoke("moving", now=present())
    new = port.run(enrol.enroll(port.line("moving"), tmp_path))
    assert new.identity.public_key != old.identity.public_key
    assert credential_files.load(tmp_path) == new


def test_another_ca_gets_nothing(port: Port, tmp_path: Path) -> None:
    line = port.line("bob", ca_fingerprint=bytes(32))
    port.results.clear()
    with pytest.raises(IdentityError, match="Nothing secret was sent") as caught:
        port.run(enrol.enroll(line, tmp_path))
    assert caught.value.reason == "fingerprint"
    assert port.results == [("authority", "ok")]
    assert not (tmp_path / "pending").exists()


def test_somebody_who_shows_the_right_ca_without_its_key_gets_nothing(port: Port, tmp_path: Path) -> None:
    theirs = Authority.create(tmp_path / "theirs", "fed", now=present())
    results: list[str] = []
    service = EnrolmentService(port.authority, ":1", default_limit(), on_result=lambda kind, _: results.append(kind))
    fake = port.serve(service, ca=theirs)
    with pytest.raises(IdentityError, match="not issued by this federation") as caught:
        port.run(enrol.enroll(port.line("carol", port=fake), tmp_path / "client"))
    assert caught.value.reason == "issuer"
    assert results == ["authority"]


def test_a_client_cannot_pass_as_the_server(port: Port, tmp_path: Path) -> None:
    mallory = port.run(enrol.enroll(port.line("mallory"), tmp_path / "mallory"))
    credentials = grpc.ssl_server_credentials([(mallory.tls_key, mallory.certificate)])
    service = EnrolmentService(port.authority, ":1", default_limit())
    server, fake = port.run(serve(service, "127.0.0.1:0", credentials=credentials))
    port.servers.append(server)
    with pytest.raises(IdentityError, match="'mallory' is not a server's") as caught:
        port.run(enrol.enroll(port.line("victim", port=fake), tmp_path / "client"))
    assert caught.value.reason == "role"
    assert not (tmp_path / "client").exists()
    with pytest.raises(grpc.aio.AioRpcError) as refused:  # nor does TLS let it, for whoever trusts the CA
        port.ask("GetAuthority", b"", at=fake)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_second_ca_in_the_answer_is_not_trusted(port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Authority.create(tmp_path / "theirs", "fed", now=present())
    reply = wire.AuthorityReply(port.authority.certificate + theirs.certificate, "fed")
    monkeypatch.setattr(EnrolmentService, "get_authority", lambda *_: wire.encode_authority(reply))
    double = port.serve(EnrolmentService(port.authority, ":9443", default_limit()))
    mine = port.run(enrol.enroll(port.line("dora", port=double), tmp_path / "client"))
    assert mine.ca_certificate == port.authority.certificate


def test_an_expired_server_certificate_is_named(port: Port, tmp_path: Path) -> None:
    old = port.serve(EnrolmentService(port.authority, ":1", default_limit()), age=timedelta(days=30))
    with pytest.raises(IdentityError, match="expired at") as caught:
        port.run(enrol.enroll(port.line("erin", port=old), tmp_path))
    assert caught.value.reason == "expired"


@pytest.mark.parametrize(
    ("secret", "later", "reason"),
    [(bytes(32), timedelta(0), "token-unknown"), (None, timedelta(days=2), "token-expired")],
)
def test_tokens_that_are_refused(
    port: Port, tmp_path: Path, secret: bytes | None, later: timedelta, reason: str
) -> None:
    service = EnrolmentService(port.authority, ":1", default_limit(), now=lambda: present() + later)
    line = port.line(f"late-{reason}", port=port.serve(service))
    with pytest.raises(IdentityError, match="roughfed invite") as caught:
        port.run(enrol.enroll(line if secret is None else replace(line, secret=secret), tmp_path))
    assert caught.value.reason == reason


def test_nobody_there(port: Port, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        with pytest.raises(Unreachable) as caught:
            port.run(enrol.enroll(port.line("frank", port=taken.getsockname()[1]), tmp_path))
    assert caught.value.reason == "unreachable"
    assert "roughfed server" in caught.value.cure


def test_the_certificate_is_renewed_when_it_is_due(port: Port, tmp_path: Path) -> None:
    before = port.run(enrol.enroll(port.line("grace"), tmp_path))
    assert port.run(enrol.renew(tmp_path)) is False
    assert port.run(enrol.renew(tmp_path, force=True)) is True
    after = credential_files.load(tmp_path)
    assert after.certificate != before.certificate
    assert replace(after, certificate=before.certificate) == before
    subject = certificates.check_issued(after.certificate, after.ca_certificate, role="client", now=present())
    assert subject.name == "grace"


def test_a_new_key_takes_the_place_of_the_old_one_and_the_identity_stays(port: Port, tmp_path: Path) -> None:
    before = port.run(enrol.enroll(port.line("nina"), tmp_path))
    assert port.run(enrol.renew(tmp_path, new_key=True)) is True
    after = credential_files.load(tmp_path)
    assert after.tls_key != before.tls_key
    assert replace(after, certificate=before.certificate, tls_key=before.tls_key) == before
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
    assert not (tmp_path / "renewal").exists()


@pytest.mark.parametrize("moved", range(3))
def test_a_crash_while_a_key_is_replaced_leaves_a_pair(port: Port, tmp_path: Path, moved: int) -> None:
    old = port.run(enrol.enroll(port.line(f"pair-{moved}"), tmp_path / "old"))
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    port.run(enrol.renew(tmp_path / "new", new_key=True))
    (tmp_path / "old" / "renewal").mkdir()
    order = ["tls.key", "certificate.pem", "enrolment.json"]
    for index, file in enumerate(order):
        shutil.copy2(tmp_path / "new" / file, tmp_path / "old" / ("" if index < moved else "renewal") / file)
    mended = credential_files.load(tmp_path / "old")
    assert replace(mended, folder=tmp_path / "new") == credential_files.load(tmp_path / "new") != old


def test_a_late_renewal_with_the_right_clock_works(port: Port, tmp_path: Path) -> None:
    in_a_month = present() + timedelta(days=30)
    service = EnrolmentService(port.authority, ":1", default_limit(), now=lambda: in_a_month)
    other = port.serve(service)
    mine = port.run(enrol.enroll(port.line("heidi"), tmp_path))
    record = (tmp_path / "enrolment.json").read_text().replace(str(port.port), str(other))
    (tmp_path / "enrolment.json").write_text(record)
    assert port.run(enrol.renew(tmp_path, now=in_a_month)) is True
    assert credential_files.load(tmp_path).certificate != mine.certificate
    with pytest.raises(IdentityError) as caught:
        port.run(enrol.renew(tmp_path, now=present(), force=True))
    assert caught.value.reason == "clock"


def test_a_server_starts_with_a_certificate_that_is_due_while_its_ca_is_away(
    port: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = port.run(enrol.enroll(port.line("quentin"), tmp_path))

    async def away(folder: Path, *, new_key: bool) -> bool:
        raise Unreachable("nobody answers")

    monkeypatch.setattr(enrol, "renew", away)
    obtain = from_enrolment(tmp_path)
    assert port.run(obtain()).certificate == member.certificate
    with pytest.raises(Unreachable):  # from then on whoever renews it hears of it
        port.run(obtain())
    with pytest.raises(Unreachable):
        port.run(from_enrolment(tmp_path, now=lambda: present() + timedelta(days=30))())


def test_the_revoked_are_not_renewed(port: Port, tmp_path: Path) -> None:
    before = port.run(enrol.enroll(port.line("ivan"), tmp_path))
    port.authority.revoke("ivan", now=present())
    with pytest.raises(IdentityError, match="not a member any more") as caught:
        port.run(enrol.renew(tmp_path, force=True))
    assert caught.value.reason == "revoked"
    assert credential_files.load(tmp_path) == before


@pytest.mark.parametrize(
    ("method", "request_bytes", "code", "reason"),
    [
        ("Enroll", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "protocol"),
        ("Enroll", b"", grpc.StatusCode.INVALID_ARGUMENT, "protocol"),
        ("Renew", b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "protocol"),
        ("Renew", b"", grpc.StatusCode.PERMISSION_DENIED, "csr"),
        ("Enroll", bytes(16 * 1024 + 1), grpc.StatusCode.RESOURCE_EXHAUSTED, None),
        ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED, None),
    ],
)
def test_malformed_requests(
    port: Port, method: str, request_bytes: bytes, code: grpc.StatusCode, reason: str | None
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        port.ask(method, request_bytes)
    assert caught.value.code() is code
    assert dict(caught.value.trailing_metadata() or ()).get("roughfed-reason") == reason


def test_too_many_requests_are_refused(port: Port, tmp_path: Path) -> None:
    limit = RateLimit(each=Rate(1, 0), total=Rate(9, 0), clock=lambda: 0.0)
    service = EnrolmentService(port.authority, ":1", limit)
    with pytest.raises(Unreachable, match="too many requests"):
        port.run(enrol.enroll(port.line("judy", port=port.serve(service)), tmp_path))


@pytest.mark.parametrize(
    ("error", "result", "code"),
    [
        (StorageError("/var/private/path is full"), "storage", grpc.StatusCode.UNAVAILABLE),
        (ZeroDivisionError("a bug in /var/private/path"), "internal", grpc.StatusCode.INTERNAL),
    ],
)
def test_faults_of_the_server_stay_on_the_server(
    port: Port, monkeypatch: pytest.MonkeyPatch, error: Exception, result: str, code: grpc.StatusCode
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(EnrolmentService, "get_authority", fail)
    results: list[str] = []
    service = EnrolmentService(port.authority, ":1", default_limit(), on_result=lambda _, word: results.append(word))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        port.ask("GetAuthority", b"", at=port.serve(service))
    assert caught.value.code() is code
    assert "private" not in (caught.value.details() or "")
    assert results == [result]


def test_a_port_in_use_is_named(port: Port) -> None:
    service = EnrolmentService(port.authority, ":1", default_limit())
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port.port}"):
        port.run(serve(service, f"127.0.0.1:{port.port}", credentials=tls(port.authority, now=present())))


def test_no_secret_in_logs_errors_and_reprs(
    port: Port, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    line = port.line("canary")
    shown = [repr(line)]
    shown.append(repr(port.run(enrol.enroll(line, tmp_path / "a"))))
    for again in (line, replace(line, ca_fingerprint=bytes(32)), replace(line, port=1)):
        with pytest.raises(RoughfedError) as caught:
            port.run(enrol.enroll(again, tmp_path / "b"))
        shown += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
    shown.append(repr(wire.EnrollRequest(line.secret, b"", b"", b"")))
    shown += [caplog.text, *capfd.readouterr()]
    token = line.reveal().partition("#")[2]
    for form in (token, token[5:40], line.secret.hex(), repr(line.secret)[2:-1], "PRIVATE KEY"):
        assert all(form not in text for text in shown)


def test_a_folder_without_papers_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not enrolled") as caught:
        credential_files.load(tmp_path)
    assert "roughfed invite" in caught.value.cure


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"enrolment_address": 1, "x": 2}', "\x00"])
def test_a_damaged_record_is_named(port: Port, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "client"
    name = f"damaged-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    port.run(enrol.enroll(port.line(name), folder))
    (folder / "enrolment.json").write_text(text)
    with pytest.raises(ConfigError, match="not a record") as caught:
        credential_files.load(folder)
    assert caught.value.file.endswith("enrolment.json")


def test_a_member_gets_the_list_of_members_over_the_port(port: Port, tmp_path: Path) -> None:
    mine = port.run(enrol.enroll(port.line("lister"), tmp_path / "a"))
    port.results.clear()
    signed = port.run(enrol.fetch_members(tmp_path / "a", now=present()))
    listed = open_signed(signed, AuthorityTrust(mine.ca_certificate), "fed")
    assert listed.by_name["lister"].identity_key == mine.identity.public_key
    assert port.results == [("members", "ok")]
    port.authority.revoke("lister", now=present())
    with pytest.raises(IdentityError) as caught:
        port.run(enrol.fetch_members(tmp_path / "a", now=present()))
    assert (caught.value.reason, port.results[-1]) == ("revoked", ("members", "revoked"))
