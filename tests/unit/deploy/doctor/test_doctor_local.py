"""The checks that ask nobody else: each finds the fault that is planted, with what helps, and is content without it."""

import os
import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import pytest

from roughfed.deploy.doctor.checks import clock, installation, ports
from roughfed.deploy.doctor.checks.authority import authority
from roughfed.deploy.doctor.checks.certificate import certificate
from roughfed.deploy.doctor.checks.settings import settings
from roughfed.deploy.doctor.finding import CheckState, Finding, failure
from roughfed.deploy.doctor.lock_holders import listener_on
from roughfed.server.members.authority import Authority
from tests.unit.clock import present
from tests.unit.deploy.doctor.doctor_sites import FED, client_folder, one, server_folder, site, states

DAY = timedelta(days=1)
Fault = Callable[[Path], object]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's directory, a CA and a client of it; tests get copies, since each sync of a new one costs."""
    folder = tmp_path_factory.mktemp("originals")
    server_folder(folder / "server")
    client_folder(folder / "c0", Authority.create(folder / "ca", "test", now=present()))
    return folder


@pytest.fixture
def server(tmp_path: Path, originals: Path) -> Path:
    return shutil.copytree(originals / "server", tmp_path / "server")


@pytest.fixture
def client(tmp_path: Path, originals: Path) -> Path:
    shutil.copytree(originals / "ca", tmp_path / "ca")
    return shutil.copytree(originals / "c0", tmp_path / "c0")


def failed(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.FAILURE and cure in finding.cure


def warned(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.WARNING and cure in finding.cure


def test_a_finding_that_helps_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="no cure"):
        failure("it is broken", cure="")


# -- installation ------------------------------------------------------------------------------------------------------


def test_this_installation_is_in_order(tmp_path: Path) -> None:
    found = list(installation.installation(site(tmp_path)))
    assert states(found) == dict.fromkeys(("python", "packages", "kernels", "entropy", "umask"), CheckState.OK)
    assert "numpy" in one(found, "packages").measured


def test_an_old_python_and_wrong_packages() -> None:
    assert failed(installation.python((3, 10, 4)), "3.11 or newer")
    assert failed(installation.packages(["numpy>=99.1"]), "pip install --upgrade roughfed")
    assert "numpy" in installation.packages(["numpy>=99.1"]).sentence
    assert "no-such-thing is missing" in installation.packages(["no-such-thing>=1"]).sentence
    assert installation.packages(["no-such-thing>=1; extra == 'dev'"]).state is CheckState.OK


def test_every_declared_range_is_understood() -> None:
    declared = [text for text in metadata.requires("roughfed") or () if "extra ==" not in text]
    assert len(declared) >= 12
    assert all(installation._REQUIREMENT.fullmatch(text) for text in declared)
    assert installation.numbers("2.13.0+cpu") < installation.numbers("2.13.1rc1") < installation.numbers("3")


def test_kernels_that_do_not_compile_or_take_too_long() -> None:
    broken = installation.kernels(20.0, code="raise RuntimeError('LLVM is gone')")
    assert failed(broken, "reinstall numba")
    assert "LLVM is gone" in broken.sentence
    assert warned(installation.kernels(0.05), "NUMBA_CACHE_DIR")


def test_a_system_without_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(size: int) -> bytes:
        raise BlockingIOError

    monkeypatch.setattr(installation, "draw", starved)
    assert failed(installation.entropy(), "wait until")
    monkeypatch.setattr(installation, "draw", bytes)
    assert failed(installation.entropy(), "do not run roughfed here")


def test_an_open_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert warned(installation.umask(), "umask 022")
        assert os.umask(0) == 0  # looked at, not changed
        assert installation.mask_of(tmp_path) is None
    finally:
        os.umask(before)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_that_are_in_order(server: Path, client: Path) -> None:
    assert one(settings(site(server)), "fed.toml").state is CheckState.OK
    assert states(settings(site(client))) == {"client.toml": CheckState.OK}


@pytest.mark.parametrize(
    ("name", "text", "said", "cure"),
    [
        ("fed.toml", "[round]\nrounds = 'x'\n", "round.rounds", "Write a whole number"),
        ("fed.toml", FED.replace("mlp", ""), "model.app", "Write"),
        ("client.toml", "[client\n", "not TOML", "Close the bracket"),
        ("client.toml", "[data]\nindex = 3\nname = 'digits'\n[model]\nname = 'mlp'\n", "data.index", "Write an index"),
    ],
)
def test_settings_that_are_not(tmp_path: Path, name: str, text: str, said: str, cure: str) -> None:
    (tmp_path / name).write_text(text)
    (found,) = (f for f in settings(site(tmp_path)) if f.state is CheckState.FAILURE)
    assert said in found.sentence
    assert cure in found.cure


def test_files_that_others_may_write_and_one_that_nobody_reads(server: Path) -> None:
    (server / "fed.toml").chmod(0o666)
    (server / "client.toml").write_text("")
    found = list(settings(site(server)))
    assert warned(one(found, "modes"), "chmod o-w")
    assert warned(one(found, "other"), "a directory of its own")


def test_papers_without_settings(client: Path) -> None:
    (client / "client.toml").unlink()
    assert failed(one(settings(site(client)), "client.toml"), "roughfed join")


# -- clock -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_s", "round_trip_s", "state"),
    [
        (0.2, 0.0, CheckState.OK),
        (5.5, 2.0, CheckState.OK),
        (-7.0, 0.1, CheckState.WARNING),
        (301.0, 0.1, CheckState.FAILURE),
    ],
)
def test_clocks_that_differ(ahead_s: float, round_trip_s: float, state: CheckState) -> None:
    found = clock.skew(ahead_s, round_trip_s)
    assert found.state is state
    assert state is CheckState.OK or ("timedatectl" in found.cure and ("behind" in found.sentence) == (ahead_s > 0))


def test_clients_whose_clocks_differ() -> None:
    rows = [{"name": "a", "clock_skew_s": 0.1}, {"name": "b", "clock_skew_s": -60.0}, {"name": "c"}]
    assert warned(clock.fleet({"clients": rows}), "on the machine that is wrong")
    assert "more than 5 s: b" in clock.fleet({"clients": rows}).sentence
    assert clock.fleet({"clients": rows[:1]}).state is CheckState.OK
    assert clock.fleet({"clients": rows[2:]}).state is CheckState.SKIPPED


def test_a_clock_before_the_certificates(client: Path) -> None:
    here = site(client)
    assert clock.against_certificates(here).state is CheckState.OK
    early = clock.against_certificates(here, now=present() - DAY)
    assert failed(early, "set the clock")
    assert "from the future" in early.sentence


def test_files_from_the_future(client: Path) -> None:
    (client / "state" / "client.db").touch()
    os.utime(client / "state" / "client.db", (present().timestamp() + 900,) * 2)
    assert warned(clock.against_certificates(site(client)), "set the clock")


def test_a_clock_that_nobody_keeps() -> None:
    assert warned(clock.kept(0x40), "timedatectl")
    assert clock.kept(0x2001).state is CheckState.OK
    assert clock.kept(None).state is CheckState.SKIPPED
    status = clock.kernel_status()
    assert status is None or status >= 0


# -- ports -------------------------------------------------------------------------------------------------------------


def test_free_ports_and_a_taken_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert (
            ports.free("federation", "server.port", "127.0.0.1", port).state is CheckState.FAILURE
        )  # bound, not listening
        other.listen()
        taken = ports.free("federation", "server.port", "127.0.0.1", port)
        assert f"(process {os.getpid()})" in taken.sentence
        assert "end the other one" in taken.cure
        assert str(os.getpid()) in listener_on(port)
    assert ports.free("federation", "server.port", "127.0.0.1", port).state is CheckState.OK
    assert listener_on(port) == ""
    assert ports.free("http", "server.http_port", "127.0.0.1", 0).state is CheckState.OK


def test_an_address_of_another_machine_and_a_port_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = ports.free("federation", "server.port", "192.0.2.7", 8443)
    assert failed(elsewhere, "an address of this machine")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert failed(ports.free("federation", "server.port", "127.0.0.1", 443), "above 1023")


def test_the_port_of_a_server_that_runs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        assert ports.held("http", "0.0.0.0", port).state is CheckState.OK
    assert failed(ports.held("http", "127.0.0.1", port), "roughfed stop")
    assert ports.held("enrolment", "", 0).state is CheckState.SKIPPED


def test_what_invites_name() -> None:
    assert warned(ports.resolved("localhost"), "server.address")
    assert failed(ports.resolved("no-such-host.invalid"), "server.address")
    assert ports.resolved("192.0.2.7").state is CheckState.OK


def test_a_server_that_does_not_run_has_its_ports_looked_at(server: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        (server / "fed.toml").write_text(FED + f"port = {port}\nenrol_port = 0\nhttp_port = 0\n")
        found = states(ports.ports(site(server)))
    assert (found["federation"], found["enrolment"], found["http"]) == (
        CheckState.FAILURE,
        CheckState.OK,
        CheckState.OK,
    )
    assert found["reachable"] is CheckState.SKIPPED


# -- certificate -------------------------------------------------------------------------------------------------------


def test_papers_that_are_in_order(client: Path, server: Path) -> None:
    assert states(certificate(site(client))) == dict.fromkeys(("modes", "papers", "end"), CheckState.OK)
    assert one(certificate(site(server)), "papers").state is CheckState.OK
    (finding,) = certificate(site(client.parent))
    assert finding.state is CheckState.SKIPPED


@pytest.mark.parametrize(
    ("later", "state", "cure"),
    [(4, CheckState.OK, ""), (6.5, CheckState.WARNING, "enrolment port"), (9, CheckState.FAILURE, "renews by itself")],
)
def test_a_certificate_near_its_end(client: Path, later: float, state: CheckState, cure: str) -> None:
    found = one(certificate(site(client), now=present() + later * DAY), "end")
    assert (found.state, cure in found.cure) == (state, True)


def swap(name: str) -> Fault:
    """Another member's file in the place of the own one."""

    def fault(folder: Path) -> None:
        other = client_folder(folder.parent / "c1", Authority.open(folder.parent / "ca"), name="c1")
        (folder / "state" / "papers" / name).write_bytes((other / "state" / "papers" / name).read_bytes())

    return fault


def another_ca(folder: Path) -> None:
    other = Authority.create(folder.parent / "other", "test", now=present())
    (folder / "state" / "papers" / "ca.pem").write_bytes(other.certificate)


@pytest.mark.parametrize(
    ("fault", "about", "said", "cure"),
    [
        (swap("tls.key"), "papers", "for another key", "enrol anew"),
        (swap("identity.key"), "papers", "another name or key", "new invite"),
        (swap("member.bin"), "papers", "another name or key", "new invite"),
        (another_ca, "papers", "not issued by this federation's CA", "new invite"),
        (lambda f: (f / "state/papers/tls.key").chmod(0o640), "modes", "others may read", "chmod 600"),
        (lambda f: (f / "state/papers/certificate.pem").write_text("?"), "papers", "not an X.509", "enrol anew"),
        (lambda f: (f / "state/papers/identity.key").unlink(), "papers", "cannot read it", "enrol anew"),
        (lambda f: (f / "state/papers/enrolment.json").unlink(), "papers", "not enrolled", "ask for an invite"),
        (lambda f: (f / "client.toml").write_text('[client]\nname = "c7"\n'), "name", "c7's", 'name = "c0"'),
        (lambda f: (f / "client.toml").rename(f / "fed.toml"), "role", "enrolled as a client", "invite NAME --server"),
    ],
)
def test_papers_that_do_not_belong_together(client: Path, fault: Fault, about: str, said: str, cure: str) -> None:
    fault(client)
    found = one([f for f in certificate(site(client)) if f.state is not CheckState.OK], about)
    assert said in found.sentence
    assert failed(found, cure)


def test_what_a_running_server_shows(server: Path) -> None:
    def told(left: timedelta) -> Finding:
        status = {"certificates": [{"role": "server", "expires_at": (present() + left).timestamp()}]}
        return one(certificate(site(server, status=status)), "end")

    assert told(DAY).state is CheckState.OK
    assert failed(told(-DAY), "roughfed rotate")


# -- authority ---------------------------------------------------------------------------------------------------------


def test_a_ca_that_is_in_order(server: Path, client: Path) -> None:
    assert states(authority(site(server))) == dict.fromkeys(("key", "members", "end"), CheckState.OK)
    (finding,) = authority(site(client))
    assert finding.state is CheckState.SKIPPED


@pytest.mark.parametrize(
    ("fault", "about", "cure"),
    [
        (lambda ca: (ca / "ca.key").chmod(0o644), "key", "chmod 600"),
        (lambda ca: (ca / "ca.key").unlink(), "key", "roughfed init"),
        (lambda ca: (ca / "authority.db").unlink(), "key", "restore it from a backup"),
        (lambda ca: (ca / "authority.db").write_bytes(b"no database" * 999), "members", "roughfed restore"),
        (lambda ca: (ca / "ca.pem").write_bytes(b"?"), "end", "roughfed restore"),
        (lambda ca: [path.unlink() for path in ca.iterdir()], "key", "roughfed init in an empty"),
    ],
)
def test_a_ca_that_is_damaged(server: Path, fault: Fault, about: str, cure: str) -> None:
    fault(server / "state" / "ca")
    assert failed(one([f for f in authority(site(server)) if f.about == about], about), cure)


@pytest.mark.parametrize(("years", "state"), [(9, CheckState.OK), (9.8, CheckState.WARNING), (11, CheckState.FAILURE)])
def test_a_ca_near_its_end(server: Path, years: float, state: CheckState) -> None:
    found = one(authority(site(server), now=present() + years * 365 * DAY), "end")
    assert found.state is state
    assert state is CheckState.OK or "roughfed init in a new directory" in found.cure


def test_a_ca_elsewhere(server: Path) -> None:
    for path in (server / "state" / "ca").iterdir():
        path.rename(server / path.name)
    papers = client_folder(server / "x", Authority.open(server), name="s1", role="server") / "state" / "papers"
    papers.rename(server / "state" / "papers")
    (finding,) = authority(site(server))
    assert finding.state is CheckState.SKIPPED
    assert states(certificate(site(server)))["papers"] is CheckState.OK
