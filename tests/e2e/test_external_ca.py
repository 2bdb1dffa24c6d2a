"""A federation whose CA is somebody else's: enrolled by files, listed by an organisation, and played masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.members import credential_files, file_enrolment
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.names import Subject
from roughfed.deploy.cli import app
from roughfed.wire.enrolment import chain_of
from roughfed.wire.session import encode_client_message
from tests.external_ca import ExternalCA

from .federation import Cluster, is_connected, read_rows, write_toml
from .masked import is_exact, masked_cluster, verdicts
from .peer import Peer
from .test_roster import Unlisting

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def roughfed(*arguments: object) -> None:
    assert app.run([str(each) for each in arguments]) == 0


class External:
    """The cluster's organisation: its CA, its key for the list, and the folder of the members' files."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder, self.members = cluster, folder, folder / "members"
        self.root = ExternalCA.root()
        self.issuing = self.root.intermediate()
        self.members.mkdir(parents=True)
        (folder / "root.pem").write_bytes(self.root.pem)
        (folder / "chain.pem").write_bytes(self.issuing.chain)
        roughfed("roster", "init-org", "corp", "--dir", folder)
        key = IdentityKey.load(folder / "corp.key").public_key.hex()
        self.organisations = folder / "organisations.toml"
        self.organisations.write_text(f'needed = 1\n[organisations]\ncorp = "{key}"\n')

    def enrol(self, directory: Path, name: str, *, server: str = "") -> None:
        """By files, as the document says."""
        roughfed("csr", "--dir", directory, "--name", name, "--federation", "e2e", "--organisation", "corp")
        signed = self.folder / f"{name}.pem"
        signed.write_bytes(self.issuing.sign((directory / "request.pem").read_bytes()))
        flags = ("--certificate", signed, "--chain", self.folder / "chain.pem", "--ca", self.folder / "root.pem")
        roughfed("enrol", "--dir", directory, *flags, *(("--server", server) if server else ()))
        (self.members / f"{name}.member").write_bytes((directory / f"{name}.member").read_bytes())

    def list(self) -> None:
        """A list of those whose files are here, signed, into the server's directory."""
        directory = self.cluster.place.folder
        path = self.folder / "members.list"
        roughfed("roster", "propose", "--members", self.members, "--dir", directory, "--out", path)
        roughfed("roster", "sign", path, "--key", self.folder / "corp.key")
        for file in self.folder.glob("members.list.*"):
            (directory / file.name).write_bytes(file.read_bytes())
        (directory / path.name).write_bytes(path.read_bytes())  # last: now it counts


@contextmanager
def running(tmp_path: Path, kind: type[Cluster], *, clients: int, rounds: int) -> Iterator[tuple[Cluster, External]]:
    """A server that was enrolled by files, and its clients' directories, enrolled the same way."""
    settings = {"round": {"min_clients": clients}}
    cluster = masked_cluster(tmp_path, clients=clients, rounds=rounds, sees="sums", settings=settings)
    cluster.__class__ = kind
    with cluster:
        external = External(cluster, tmp_path / "corp")
        external.enrol(cluster.place.folder, "aggregator")
        cluster.start_server(claims=["--no-ca"]).ready()
        for name in cluster.names:
            directory = cluster.client_folder(name)
            directory.mkdir()
            policy = {"server_sees": "sums", "organisations": str(external.organisations)}
            write_toml(directory / "client.toml", {"http": {"enabled": False}, "policy": policy})
            external.enrol(directory, name, server=cluster.address)
        yield cluster, external


def test_a_federation_under_somebody_elses_ca_plays_masked_rounds_with_its_members_alone(tmp_path: Path) -> None:
    with running(tmp_path, Cluster, clients=4, rounds=2) as (cluster, external):
        external.list()
        external.enrol(tmp_path / "x0", "x0", server=cluster.address)  # the CA gave it a certificate, and that is all
        cluster.control(op="pause")
        clients = cluster.start_clients(pace_s=1.0)  # or the second round is over before it is seen
        stranger = credential_files.load(tmp_path / "x0" / "state" / "papers")
        other, folder = ExternalCA.root("Another Root"), tmp_path / "forged"
        forged = file_enrolment.enroll(
            folder, other.sign(file_enrolment.request(folder, Subject("e2e", "client", "c0"))), other.pem
        )
        with Peer(cluster.address, replace(forged, ca_certificate=external.root.pem)) as peer:
            peer.open(encode_client_message(peer.hello(codecs=("lanes",))))
            assert peer.end() == ("UNAVAILABLE", "")  # TLS comes about with nobody from another root
        with Peer(cluster.address, replace(stranger, member=forged.member)) as peer:
            peer.open(encode_client_message(peer.hello(codecs=("lanes",))))
            assert peer.end() == ("PERMISSION_DENIED", "issuer")  # nor does a roster entry
        with Peer(cluster.address, stranger) as peer, cluster.watch() as watch:
            watch.until(lambda s: all(is_connected(s, name) for name in cluster.names), timeout_s=60.0)
            cluster.control(op="resume")
            watch.until(lambda s: s["model_version"] == 1, timeout_s=90.0)
            peer.open(encode_client_message(peer.hello(codecs=("lanes",))))
            assert peer.end() == ("PERMISSION_DENIED", "not-listed")
        assert cluster.server.wait(timeout_s=90) == 0
        assert [client.wait() for client in clients] == [0] * 4
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2)}
        assert is_exact(cluster)
        assert len(chain_of(clients_entry(cluster))) == 2  # the server's, with its intermediate


def clients_entry(cluster: Cluster) -> bytes:
    """The server's roster entry, as a client was shown it."""
    return read_rows(cluster.client_folder("c0") / "state" / "client.db", "SELECT server FROM seen")[0]["server"]


def test_a_member_struck_from_the_list_is_refused_by_the_others_although_the_server_seats_it(tmp_path: Path) -> None:
    with running(tmp_path, Unlisting, clients=5, rounds=1) as (cluster, external):
        external.list()
        (external.members / "c4.member").unlink()
        external.list()
        clients = cluster.start_clients()
        for client in clients[:4]:
            client.wait_line("member list 2 of e2e: c4 is not in it")
        said = cluster.rows("SELECT DISTINCT client, kind FROM stages WHERE client != ''")
        assert {row["kind"] for row in said if row["client"] != "c4"} <= {"advertise"}  # no shares
        assert cluster.rows("SELECT * FROM receipts") == []
