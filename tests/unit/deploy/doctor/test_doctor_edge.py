"""What the doctor makes of an edge's directory: a server's, with a client's in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from roughfed.client.connection import diagnose as line
from roughfed.deploy.doctor.edge_membership import upstream
from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.lock import only_one
from roughfed.server.members.authority import Authority
from tests.unit.deploy.doctor.doctor_sites import FED, client_folder, one, server_folder, site, states

CLIENT = '[client]\nname = "east"\n'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "TIMEOUT_S", 0.5)


@pytest.fixture
def edge(tmp_path: Path) -> Path:
    folder = server_folder(tmp_path / "edge")
    member(folder, tmp_path)
    return folder


def member(folder: Path, home: Path, *, now: datetime | None = None) -> None:
    top = Authority.create(home / "top", "top", now=now or datetime.now(UTC))
    client_folder(folder / "upstream", top, name="east", text=CLIENT, now=now)


def failed(folder: Path) -> Iterator[Finding]:
    return (each for each in upstream(site(folder)) if each.state is CheckState.FAILURE)


def test_a_server_of_its_own_and_a_client_are_no_edges(tmp_path: Path) -> None:
    plain = server_folder(tmp_path / "server")
    assert [each.state for each in upstream(site(plain))] == [CheckState.SKIPPED]
    authority = Authority.open(plain / "state" / "ca")
    assert [each.state for each in upstream(site(client_folder(tmp_path / "c0", authority)))] == [CheckState.SKIPPED]


def test_an_edge_that_cannot_reach_the_server_above(edge: Path) -> None:
    found = list(upstream(site(edge)))
    wrong = {each.about for each in found if each.state is CheckState.FAILURE}
    assert wrong == {f"{check}, {port}" for check in ("ports", "handshake") for port in ("federation", "enrolment")}
    assert all(each.cure for each in found if each.state is CheckState.FAILURE)
    assert one(found, "certificate, papers").state is CheckState.OK
    assert "east" in one(found, "certificate, papers").sentence
    assert one(found, "settings").state is CheckState.OK
    assert one(found, "served").state is CheckState.SKIPPED


def test_offline_nobody_is_called(edge: Path) -> None:
    found = list(upstream(site(edge, offline=True)))
    assert [each for each in found if each.state is CheckState.FAILURE] == []
    assert states(found)["handshake"] is CheckState.SKIPPED


def test_a_certificate_that_ended(tmp_path: Path) -> None:
    folder = server_folder(tmp_path / "edge")
    member(folder, tmp_path, now=datetime.now(UTC) - timedelta(days=60))
    assert one(failed(folder), "certificate, end").sentence == "the certificate has expired"


def test_a_directory_that_is_not_enrolled_above(edge: Path) -> None:
    (edge / "upstream" / "state" / "papers" / "enrolment.json").unlink()
    finding = one(failed(edge), "papers")
    assert "invite NAME --edge" in finding.cure
    assert "ROUGHFED_UPSTREAM=" in finding.cure


def test_settings_of_both_halves(edge: Path) -> None:
    (edge / "fed.toml").write_text(FED + '[optimize]\nrule = "fedadam"\n')
    (edge / "upstream" / "client.toml").write_text(CLIENT + "[policy]\nmax_round = 3\n")
    wrong = [each.sentence for each in failed(edge) if each.about == "settings"]
    assert len(wrong) == 2
    assert "optimize.rule" in wrong[0]
    assert "max_round" in wrong[1]


def test_a_server_that_was_started_without_its_membership(edge: Path) -> None:
    with only_one(edge / "state", "server", cure="-"):
        finding = one(upstream(site(edge)), "served")
        assert finding.state is CheckState.WARNING
        assert "roughfed server --upstream" in finding.cure
        with only_one(edge / "upstream" / "state", "client", cure="-"):
            assert one(upstream(site(edge)), "served").state is CheckState.OK
