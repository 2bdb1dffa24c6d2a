"""What a connection fails of, against real sockets and real TLS: each reason has its word and its cure."""

import errno
import os
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from roughfed.client.connection import diagnose as line
from roughfed.client.connection.diagnose import diagnose, handshake, reach
from roughfed.client.members.credential_files import Credentials, load
from roughfed.crypto import certificates
from roughfed.deploy.doctor.checks.handshake import handshake as check_handshake
from roughfed.deploy.doctor.checks.ports import ports
from roughfed.deploy.doctor.finding import CheckState
from roughfed.server.members.authority import Authority
from tests.unit.clock import present
from tests.unit.deploy.doctor.doctor_sites import Papers, Serve, client_folder, listening, one, site, tls

DAY = timedelta(days=1)
OTHER_LEAF = timedelta(hours=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "TIMEOUT_S", 0.5)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("others")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    folder = tmp_path_factory.mktemp("member")
    authority = Authority.create(folder / "ca", "test", now=present())
    return authority, client_folder(folder / "c0", authority)


def enrolled_of(client: tuple[Authority, Path]) -> Credentials:
    return load(client[1] / "state" / "papers")


@contextmanager
def nobody() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def full() -> Iterator[str]:
    """A port whose backlog is full: the kernel drops what comes, as a firewall does."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        address = door.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for link in waiting:
            link.setblocking(False)
            link.connect_ex(address)
        yield f"127.0.0.1:{address[1]}"
        for link in waiting:
            link.close()


def test_a_port_that_answers() -> None:
    with listening(lambda link: None) as address:
        assert reach(address).works


@pytest.mark.parametrize(("place", "word"), [(nobody, "refused"), (full, "timeout")])
def test_a_port_that_does_not(place: Callable[[], Iterator[str]], word: str) -> None:
    with place() as address:  # pyright: ignore[reportGeneralTypeIssues]
        reason = reach(address)
    assert (reason.word, reason.works) == (word, False)
    assert address in reason.sentence
    assert reason.cure


def test_a_name_that_does_not_resolve() -> None:
    reason = reach("no-such-host.invalid:8443")
    assert reason.word == "no-such-host"
    assert "name service" in reason.cure


def test_an_address_without_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket, "create_connection", no_route)
    reason = reach("198.51.100.1:8443")
    assert (reason.word, "Network is unreachable" in reason.sentence) == ("no-route", True)
    assert "route" in reason.cure


def hangs_up(link: socket.socket) -> None:
    link.recv(64)


def web(link: socket.socket) -> None:
    link.recv(1024)
    link.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")


def ssh(link: socket.socket) -> None:
    link.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    link.recv(64)


def says_nothing(link: socket.socket) -> None:
    while link.recv(64):
        pass


@pytest.mark.parametrize(
    ("serve", "word", "said"),
    [
        (web, "plain-text", "HTTP/1.0 404 Not Found"),
        (ssh, "plain-text", "SSH-2.0-OpenSSH"),
        (says_nothing, "silent", "says nothing"),
        (hangs_up, "closed", "broke off"),
    ],
)
def test_what_is_no_tls(papers: Papers, serve: Serve, word: str, said: str) -> None:
    with listening(serve) as address:
        reason = handshake(address, papers.ca.certificate)
    assert (reason.word, reason.final) == (word, None)
    assert said in reason.sentence
    assert "correct the port" in reason.cure


def stranger(folder: Path, *, issuer: str, host: str) -> Path:
    """A certificate for a host name from somebody else's CA, as a proxy or another service shows it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    key = certificates.load_private(certificates.new_tls_key())
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]),
        public_key=key.public_key(),
        serial_number=9,
        not_valid_before=present() - DAY,
        not_valid_after=present() + DAY,
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path = folder / f"{issuer}.pem"
    path.write_bytes(certificates.private_pem(key) + pem)
    return path


def of_another_federation(_: Papers, home: Path) -> Path:
    return Papers(home, federation="elsewhere").leaf()


def of_a_new_ca(_: Papers, home: Path) -> Path:
    return Papers(home, federation="test").leaf()


def of_a_proxy(_: Papers, home: Path) -> Path:
    return stranger(home, issuer="Acme Inspection CA", host=certificates.SERVER_HOST)


def of_a_web_site(_: Papers, home: Path) -> Path:
    return stranger(home, issuer="Example Trust", host="www.example.org")


def expired(papers: Papers, _: Path) -> Path:
    return papers.leaf(now=present() - 3 * DAY)


def early(papers: Papers, _: Path) -> Path:
    return papers.leaf(now=present() + DAY, life=OTHER_LEAF)


@pytest.mark.parametrize(
    ("shows", "word", "said", "cure", "final"),
    [
        (of_another_federation, "wrong-ca", "belongs to the federation 'elsewhere', not 'test'", "invite", True),
        (of_a_new_ca, "new-ca", "'test' has a new CA, or somebody poses as it", "roughfed init was run anew", True),
        (of_a_proxy, "proxy", "a proxy opens TLS on the way: 'Acme Inspection CA'", "pass-through", True),
        (of_a_web_site, "other-service", "another service answers there: 'www.example.org'", "the port", True),
        (expired, "expired", "certificate has expired", "check this machine's clock", False),
        (early, "not-yet-valid", "not yet valid", "set this machine's clock", False),
    ],
)
def test_a_certificate_that_is_not_the_federations(
    papers: Papers, home: Path, shows: Callable[[Papers, Path], Path], word: str, said: str, cure: str, final: bool
) -> None:
    with listening(tls(shows(papers, home))) as address:
        reason = handshake(address, papers.ca.certificate)
    assert reason.word == word
    assert said in reason.sentence
    assert cure in reason.cure
    assert (reason.final is not None) == final  # the agent gives up on what trying again cannot mend
    assert address in reason.sentence


def test_a_clients_certificate_in_the_place_of_a_servers(papers: Papers) -> None:
    with listening(tls(papers.leaf(role="client"))) as address:
        reason = handshake(address, papers.ca.certificate)
    assert reason.word == "no-server"
    assert reason.final is None


def test_a_box_that_speaks_tls_1_0_only(papers: Papers) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        serve = tls(papers.leaf(), newest=ssl.TLSVersion.TLSv1)
    with listening(serve) as address:
        reason = handshake(address, papers.ca.certificate)
    assert reason.word == "tls-version"
    assert "TLS 1.2 or newer" in reason.cure


@pytest.mark.parametrize(
    ("later", "word", "said"),
    [
        (0 * DAY, "works", "the handshake works"),
        (-10 * DAY, "own-expired", "the certificate expired"),
        (10 * DAY, "own-not-yet-valid", "valid from"),
    ],
)
def test_the_own_certificate(papers: Papers, later: timedelta, word: str, said: str) -> None:
    own = papers.leaf(role="client", now=present() + later).read_bytes()
    with listening(tls(papers.leaf(), clients=papers.ca.certificate)) as address:
        reason = handshake(address, papers.ca.certificate, own=own)
    assert reason.word == word
    assert said in reason.sentence
    assert reason.expires > present().timestamp()


def test_an_own_certificate_that_is_in_order_and_refused(papers: Papers, home: Path) -> None:
    own, others = papers.leaf(role="client").read_bytes(), Papers(home)
    with listening(tls(papers.leaf(), clients=others.ca.certificate)) as address:
        reason = handshake(address, papers.ca.certificate, own=own)
    assert reason.word == "own-refused"
    assert "clocks of both machines" in reason.cure


def test_a_server_that_asks_for_a_certificate(papers: Papers) -> None:
    with listening(tls(papers.leaf(), clients=papers.ca.certificate)) as address:
        assert handshake(address, papers.ca.certificate).word == "asks-for-certificate"


def test_a_client_sees_the_reason_in_both_checks(client: tuple[Authority, Path]) -> None:
    own = enrolled_of(client)
    with listening(web) as address:
        assert diagnose(address, own).word == "plain-text"
        assert not diagnose(address, own).works
        folder = client[1]
        text = (folder / "client.toml").read_text()
        (folder / "client.toml").write_text(text.replace("[client]\n", f'[client]\nserver = "{address}"\n'))
        found = list(check_handshake(here := site(folder)))
        tcp = list(ports(here))
        (folder / "client.toml").write_text(text)
    federation, enrolment = one(found, "federation"), one(found, "enrolment")
    assert (federation.state, federation.measured) == (CheckState.FAILURE, "plain-text")
    assert (enrolment.state, enrolment.measured) == (CheckState.FAILURE, "refused")
    assert one(tcp, "federation").state is CheckState.OK  # TCP is fine, it is TLS that is not
    assert one(tcp, "enrolment").cure == enrolment.cure


def test_nobody_is_called_offline(client: tuple[Authority, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", pytest.fail)
    quiet = site(client[1], offline=True, contact=lambda: pytest.fail("called"))
    assert {f.state for f in [*ports(quiet), *check_handshake(quiet)]} == {CheckState.SKIPPED}
