"""Who is turned away, how soon, and that nothing of it touches the model."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto import certificates
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.key_file import read_private, read_public
from roughfed.crypto.names import Role, Subject
from roughfed.errors import IdentityError
from roughfed.wire.session import encode_client_message
from roughfed.wire.updates import encode_update_status_request

from .federation import Cluster, is_connected, state_of, value, write_toml
from .peer import Peer, Refusal, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

LONG_S = 60.0
QUESTION = encode_update_status_request("run", 1, bytes(32))
NO_HANDSHAKE: Refusal = ("UNAVAILABLE", "")


@pytest.mark.alone
def test_revoke_cuts_a_live_session_and_the_agent_says_why(tmp_path: Path) -> None:
    with Cluster(tmp_path, settings={"round": {"quorum": 2}}) as cluster:
        cluster.start_server().ready()
        victim, *others = cluster.names
        with cluster.watch() as watch:
            agent = cluster.start_client(victim, pace_s=LONG_S)
            clients = cluster.start_clients(*others, pace_s=1.0)
            watch.until(lambda s: state_of(s, victim) == "training")

            asked = time.monotonic()
            assert cluster.control(op="revoke", name=victim) == {"revoked": victim, "was_connected": True}
            watch.until(lambda s: not is_connected(s, victim))
            cut_s = time.monotonic() - asked
            assert agent.wait(timeout_s=10.0) == IdentityError.exit_code
            exit_s = time.monotonic() - asked

            papers = cluster.papers(victim)
            with Peer(cluster.address, papers) as peer:
                assert peer.ask("UpdateStatus", QUESTION) == ("PERMISSION_DENIED", "revoked")
                peer.open(encode_client_message(peer.hello()))
                assert peer.end() == ("PERMISSION_DENIED", "revoked")
            page = cluster.page("/metrics")
            watch.until(lambda s: s["model_version"] == 1)  # the others do not wait for it

        assert agent.find(f"error: revoked: {victim} is revoked")
        assert "Traceback" not in "\n".join(agent.lines)
        refused = value(page, "roughfed_grpc_server_handled_total", code="PERMISSION_DENIED", method="UpdateStatus")
        assert refused == 1.0
        assert cluster.accepted()[1] == others
        print(f"revoke: cut after {cut_s:.2f} s, the agent ended after {exit_s:.2f} s")
        assert cut_s <= 1.0
        assert [client.running for client in clients] == [True, True]  # they wait for a third client


def test_a_revoked_client_stays_out_after_a_restart(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=1) as cluster:
        cluster.start_server().ready()
        papers = enrol(cluster, "x0")
        cluster.control(op="revoke", name="x0")
        cluster.server.kill()
        cluster.restart_server()
        with Peer(cluster.address, papers) as peer:
            assert peer.ask("UpdateStatus", QUESTION) == ("PERMISSION_DENIED", "revoked")


def ca_of(cluster: Cluster) -> CertificateAuthority:
    return CertificateAuthority.load(
        read_private(cluster.place.ca / "ca.key"), read_public(cluster.place.ca / "ca.pem")
    )


def reissued(
    ca: CertificateAuthority,
    papers: Credentials,
    *,
    age: timedelta = timedelta(0),
    role: Role = "client",
    federation: str = "e2e",
) -> Credentials:
    """The same keys under another certificate."""
    key = certificates.load_private(papers.tls_key).public_key()
    subject = Subject(federation, role, papers.name)
    serial = secrets.randbits(120) | 1
    certificate = ca.issue(key, subject, serial=serial, now=datetime.now(UTC) - age, life=timedelta(days=1))
    return replace(papers, certificate=certificate)


def another_ca() -> CertificateAuthority:
    return CertificateAuthority.create("e2e", serial=7, now=datetime.now(UTC))


CASES: dict[str, tuple[Callable[[Cluster, Credentials], Credentials], Refusal]] = {
    "expired": (lambda c, p: reissued(ca_of(c), p, age=timedelta(days=3)), NO_HANDSHAKE),
    "of another CA": (lambda _, p: reissued(another_ca(), p), NO_HANDSHAKE),
    "a server's": (lambda c, p: reissued(ca_of(c), p, role="server"), NO_HANDSHAKE),
    "of another federation": (
        lambda c, p: reissued(ca_of(c), p, federation="other"),
        ("PERMISSION_DENIED", "foreign"),
    ),
    "not on the CA's list": (lambda c, p: reissued(ca_of(c), p), ("PERMISSION_DENIED", "revoked")),
}


def test_wrong_certificates_are_turned_away(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        server = cluster.start_server()
        server.ready()
        papers = enrol(cluster, "x0")
        got: dict[str, object] = {}
        for name, (forge, _) in CASES.items():
            with Peer(cluster.address, forge(cluster, papers)) as peer:
                got[name] = peer.ask("UpdateStatus", QUESTION)
        with Peer(cluster.address, papers, anonymous=True) as peer:
            got["none at all"] = peer.ask("UpdateStatus", QUESTION)
        with Peer(cluster.address, papers) as peer:
            got["the right one"] = peer.ask("UpdateStatus", QUESTION)
        assert got == {name: wanted for name, (_, wanted) in CASES.items()} | {
            "none at all": NO_HANDSHAKE,
            "the right one": ("FAILED_PRECONDITION", "late"),  # it is let in, and then there is no such round
        }
        clients = cluster.start_clients()
        assert [p.wait() for p in (server, *clients)] == [0, 0, 0, 0]
        assert cluster.model_digests() == cluster.expected_digests()


def test_an_agent_sent_to_another_federation_gives_up_with_a_sentence(tmp_path: Path) -> None:
    with Cluster(tmp_path / "a") as home, Cluster(tmp_path / "b") as other:
        home.start_server().ready()
        other.start_server().ready()
        enrol(home, "x0")
        settings = {"client": {"server": other.address}, "http": {"enabled": False}}
        write_toml(home.client_folder("x0") / "client.toml", home.agreed(settings))
        agent = home.start_client("x0")
        assert agent.wait() == IdentityError.exit_code
        (said,) = agent.find("error: wrong-ca")
        assert "ask for a new invite" in said
        assert other.control(op="status")["clients"] == []
