"""What the doctor makes of whoever runs: versions, who holds the directory, the control socket, alerts."""

import os
from pathlib import Path

import pytest

from roughfed.deploy.doctor.checks import version
from roughfed.deploy.doctor.checks.alerts import alerts
from roughfed.deploy.doctor.checks.control import control
from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.deploy.doctor.lock_holders import holder_of
from roughfed.errors import IdentityError, RemoteProtocolError, Unreachable
from roughfed.lock import only_one
from roughfed.messages import OLDEST, PROTOCOL
from tests.unit.deploy.doctor.doctor_sites import FED, one, server_folder, site, states


@pytest.fixture
def server(tmp_path: Path) -> Path:
    (tmp_path / "server" / "state").mkdir(parents=True)
    (tmp_path / "server" / "fed.toml").write_text(FED)
    return tmp_path / "server"


@pytest.fixture
def client(tmp_path: Path) -> Path:
    (tmp_path / "c0" / "state").mkdir(parents=True)
    (tmp_path / "c0" / "client.toml").touch()
    return tmp_path / "c0"


def failed(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.FAILURE and cure in finding.cure


def warned(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.WARNING and cure in finding.cure


def test_who_turns_a_client_away() -> None:
    assert failed(version.turned_away(IdentityError("c0 is revoked", reason="revoked")), "ask the operator")
    assert failed(version.turned_away(RemoteProtocolError("?", reason="no-federation")), "client.server")
    assert warned(version.turned_away(Unreachable("no answer")), "look again")


@pytest.mark.parametrize(
    ("software", "oldest", "newest", "state", "said"),
    [
        ("", 0, 0, CheckState.WARNING, "too old to tell"),
        ("9.9", OLDEST, PROTOCOL + 3, CheckState.OK, "go together"),
        ("9.9", PROTOCOL + 1, PROTOCOL + 3, CheckState.FAILURE, "this client is too old"),
        ("0.0.1", 0, OLDEST - 1, CheckState.FAILURE, "the server is too old"),
    ],
)
def test_versions_that_differ(software: str, oldest: int, newest: int, state: CheckState, said: str) -> None:
    from roughfed.client.connection.server_info import ServerInfo
    from roughfed.deploy.doctor.site import Contact

    found = version.against_server(Contact("s:1", None, ServerInfo(software, oldest, newest, 0.0, 0.0)))
    assert (found.state, said in found.sentence) == (state, True)
    assert state is CheckState.OK or "compatibility.md" in found.cure


def test_the_running_server_against_what_is_installed_and_its_clients() -> None:
    from roughfed import __version__

    clients = [
        {"name": "a", "software": __version__},
        {"name": "b", "software": "0.0.1"},
        {"name": "c", "software": ""},
    ]
    found = list(version.against_running({"version": __version__, "clients": clients}))
    assert one(found, "server").state is CheckState.OK
    assert one(found, "clients").state is CheckState.OK  # within a protocol they may differ
    assert one(found, "clients").measured == "b 0.0.1"
    old = list(version.against_running({"version": "0.0.1", "clients": clients[:1]}))
    assert warned(one(old, "server"), "roughfed stop")
    same = list(version.against_running({"version": __version__, "clients": clients[:1]}))
    assert states(same) == {"server": CheckState.OK, "clients": CheckState.OK}


def test_who_holds_a_directory(client: Path, server: Path) -> None:
    assert holder_of(client / "state") is None
    with only_one(client / "state", "client", cure="-"), only_one(server / "state", "server", cure="-"):
        assert holder_of(client / "state") == os.getpid()
        assert f"process {os.getpid()}" in one(control(site(client)), "lock").measured
        assert warned(one(control(site(server)), "socket"), f"end process {os.getpid()}")
    assert one(control(site(client)), "lock").state is CheckState.OK
    assert one(control(site(server)), "socket").state is CheckState.OK


def test_a_control_socket_that_cannot_be_or_is_open_to_others(tmp_path: Path, server: Path) -> None:
    deep = server_folder(tmp_path / ("x" * 60) / ("y" * 60))
    assert failed(one(control(site(deep)), "socket"), "shorter path")
    (server / "state" / "control.sock").touch(mode=0o666)
    (server / "state" / "control.sock").chmod(0o666)
    assert failed(one(control(site(server, status={})), "socket"), "chmod 600")
    (server / "state" / "control.sock").chmod(0o600)
    assert one(control(site(server, status={})), "socket").state is CheckState.OK


def test_the_alerts_of_a_running_server(server: Path) -> None:
    rows = [
        {"name": "DiskFilling", "severity": "critical", "text": "the disk is full in 2 h", "cure": "make room"},
        {"name": "CertExpiring", "severity": "warning", "text": "it ends", "cure": "rotate"},
        {"name": "RunPaused", "severity": "info", "text": "paused", "cure": "roughfed resume"},
    ]
    found = list(alerts(site(server, status={"alerts": rows})))
    assert [f.state for f in found] == [CheckState.FAILURE, CheckState.WARNING, CheckState.OK]
    assert failed(found[0], "make room")
    assert [f.state for f in alerts(site(server, status={"alerts": []}))] == [CheckState.OK]
    assert [f.state for f in alerts(site(server))] == [CheckState.SKIPPED]
