"""Who may be a group mate, between real processes: members by the list in force, whoever signs it, and nobody else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli import app
from roughfed.server.members.authority import Authority
from roughfed.wire.session import encode_client_message

from .federation import Cluster, Process, is_connected
from .masked import is_exact, masked_cluster, verdicts
from .peer import Peer, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

UNLISTING = str(Path(__file__).with_name("unlisting_process.py"))
NAMES = ("north", "south", "east")


class Unlisting(Cluster):
    """Its server seats whoever comes, and c4, which is revoked, sides with it."""

    def placed(self, name: str, args: Sequence[str]) -> Sequence[str]:
        return [sys.executable, UNLISTING, *args[3:]] if name in ("server", "c4") else args


def roughfed(*arguments: object) -> None:
    assert app.run([str(each) for each in arguments]) == 0


def organisations(folder: Path, *, needed: int = 2) -> Path:
    """Each organisation's key in a folder of its own, and the file that every client is given."""
    folder.mkdir()
    lines = [f"needed = {needed}", "[organisations]"]
    for name in NAMES:
        roughfed("roster", "init-org", name, "--dir", folder / name)
    for name in NAMES:
        key = IdentityKey.load(folder / name / f"{name}.key")
        lines.append(f'{name} = "{key.public_key.hex()}"')
    path = folder / "organisations.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def sign(cluster: Cluster, folder: Path, *signers: str) -> Path:
    """A list of whoever is enrolled now, put into the server's directory with these signatures."""
    path = folder / "members.list"
    roughfed("roster", "propose", "--dir", cluster.place.folder, "--out", path)
    for name in signers:
        roughfed("roster", "sign", path, "--key", folder / name / f"{name}.key")
    for file in folder.glob("members.list.*"):
        (cluster.place.folder / file.name).write_bytes(file.read_bytes())
    (cluster.place.folder / path.name).write_bytes(path.read_bytes())  # last: now it counts
    return path


def all_here(cluster: Cluster, path: Path, *, pace_s: float = 0.0) -> list[Process]:
    """Clients that go by the organisations' list, connected before there is one; so long they train."""
    assert cluster.control(op="pause")
    clients = cluster.start_clients(tables={"policy": {"organisations": str(path)}}, pace_s=pace_s)
    with cluster.watch() as watch:
        watch.until(lambda s: all(is_connected(s, name) for name in cluster.names), timeout_s=60.0)
    return clients


def test_a_consortium_plays_masked_rounds_and_turns_away_who_is_in_no_signed_list(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, rounds=2, sees="sums") as cluster:
        cluster.start_server().ready()
        known = organisations(tmp_path / "organisations")
        clients = all_here(cluster, known, pace_s=1.0)  # or the second round is over before it is seen
        path = sign(cluster, tmp_path / "organisations", "north", "east")
        roughfed("roster", "verify", path, "--organisations", known)
        stranger = enrol(cluster, "x0")  # the CA is the server's own
        cluster.control(op="resume")
        with Peer(cluster.address, stranger) as peer, cluster.watch() as watch:
            watch.until(lambda s: s["model_version"] == 1, timeout_s=90.0)
            peer.open(encode_client_message(peer.hello(codecs=("lanes",))))
            assert peer.end() == ("PERMISSION_DENIED", "not-listed")
        assert cluster.server.wait(timeout_s=90) == 0
        assert [client.wait() for client in clients] == [0] * 4
        assert is_exact(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2)}


@pytest.mark.parametrize("corrupt", [(), ("south",)], ids=["server and CA", "server, CA and one organisation of three"])
def test_sybils_of_server_and_ca_are_no_group_mates_in_a_consortium(tmp_path: Path, corrupt: tuple[str, ...]) -> None:
    """All but c0 are the attacker's: it made them members by itself."""
    with masked_cluster(tmp_path, rounds=1, sees="sums") as cluster:
        cluster.start_server().ready()
        known = organisations(tmp_path / "organisations")
        cluster.control(op="pause")
        victim = cluster.start_client("c0", tables={"policy": {"organisations": str(known)}})
        cluster.start_clients("c1", "c2", "c3")
        with cluster.watch() as watch:
            watch.until(lambda s: all(is_connected(s, name) for name in cluster.names), timeout_s=60.0)
            if corrupt:
                sign(cluster, tmp_path / "organisations", *corrupt)
            cluster.control(op="resume")
            said = victim.wait_line(f"is signed by {len(corrupt)} of the 3 organisations")
        assert "2 are needed" in said
        assert cluster.rows("SELECT * FROM stages WHERE client = 'c0'") == []  # no advert, no shares
        assert cluster.rows("SELECT * FROM receipts WHERE client = 'c0'") == []


def test_a_revoked_member_is_no_group_mate_although_the_server_seats_it(tmp_path: Path) -> None:
    cluster = masked_cluster(tmp_path, clients=5, rounds=1, sees="sums", settings={"round": {"min_clients": 5}})
    cluster.__class__ = Unlisting
    with cluster:
        cluster.start_server().ready()
        cluster.control(op="pause")
        clients = cluster.start_clients()
        with cluster.watch() as watch:
            watch.until(lambda s: all(is_connected(s, name) for name in cluster.names), timeout_s=60.0)
        Authority.open(cluster.place.ca).revoke("c4", now=datetime.now(UTC))
        cluster.control(op="resume")
        for client in clients[:4]:
            client.wait_line("c4 is not in it")
        said = cluster.rows("SELECT DISTINCT client, kind FROM stages WHERE client != ''")
        assert {row["kind"] for row in said if row["client"] != "c4"} <= {"advertise"}  # no shares
        assert cluster.rows("SELECT * FROM receipts") == []


def test_a_member_that_the_ca_revokes_is_not_asked_and_the_others_go_on(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, clients=5, rounds=1, sees="sums") as cluster:
        cluster.start_server().ready()
        cluster.control(op="pause")
        clients = cluster.start_clients()
        with cluster.watch() as watch:
            watch.until(lambda s: all(is_connected(s, name) for name in cluster.names), timeout_s=60.0)
        Authority.open(cluster.place.ca).revoke("c4", now=datetime.now(UTC))
        cluster.control(op="resume")
        assert cluster.server.wait(timeout_s=90) == 0
        assert [client.wait() for client in clients[:4]] == [0] * 4
        assert verdicts(cluster)[1] == dict.fromkeys(cluster.names[:4], "")
        assert cluster.server.find("not asked, since they are not in member list")
