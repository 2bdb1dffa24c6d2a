"""systemd units: those that come along and those that are written from them, as systemd itself reads them."""

import itertools
import os
import re
import socket
from pathlib import Path

import pytest

from roughfed.deploy import notify, systemd
from roughfed.deploy.cli.command import EXIT_CODES
from roughfed.deploy.systemd import Service
from roughfed.errors import ConfigError, IdentityError
from roughfed.upgrade import NewerSchema
from tests.unit.deployed import DEPLOY, parses, run, tool

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSURE = 25  # in tenths: 2.5
TRUE = Path("/usr/bin/true")
SERVICES = {
    "plain": Service("client", "alpha", Path("/srv/alpha"), (str(TRUE), "join"), "daemon"),
    "gpu": Service("client", "alpha", Path("/srv/alpha"), (str(TRUE), "join"), "daemon", gpu=True),
    "home": Service(
        "client",
        "alpha",
        Path("/home/al/100% mine"),
        (str(TRUE), "join"),
        "daemon",
        reads=(Path("/home/al/venv"), Path("/root/.pyenv"), Path("/tmp/data"), Path("/usr")),
    ),
    "server": Service("server", "fed", Path("/srv/fed"), (str(TRUE), "server", "--no-ca"), "daemon"),
    "own": Service("client", "alpha", Path("/home/al/c"), (str(TRUE), "join"), gpu=True),
}


def entries(text: str) -> list[tuple[str, str]]:
    """(key, value) of each setting, in order."""
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def last(text: str, key: str) -> str:
    return [value for name, value in entries(text) if name == key][-1]


def verified(path: Path, *flags: str) -> str:
    """What systemd-analyze has to say about a unit; empty is good."""
    env = {"PATH": os.environ["PATH"], "HOME": str(path.parent), "XDG_RUNTIME_DIR": str(path.parent)}
    done = run(tool("systemd-analyze"), *flags, "verify", "--man=no", path, env=env)
    return done.stdout + done.stderr or ("" if done.returncode == 0 else f"exit status {done.returncode}")


def exposed(path: Path) -> bool:
    """Whether it is more exposed than is wanted."""
    return (
        run(
            tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", path
        ).returncode
        != 0
    )


def written(service: Service, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / service.unit).write_text(systemd.render(service))
    return folder / service.unit


def runnable(path: Path, folder: Path) -> Path:
    """A unit of /opt/roughfed and the account roughfed, as one that can be looked at on this machine."""
    text = path.read_text().replace("/opt/roughfed/bin/roughfed", str(TRUE)).replace("User=roughfed", "User=daemon")
    (folder / path.name.replace("@", "@alpha")).write_text(text)
    return folder / path.name.replace("@", "@alpha")


# -- the files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_systemd_accepts_a_unit_and_finds_it_closed(path: Path, tmp_path: Path) -> None:
    unit = runnable(path, tmp_path)
    assert verified(unit) == ""
    assert not exposed(unit)


def test_systemd_accepts_the_drop_in(tmp_path: Path) -> None:
    unit = runnable(DEPLOY / "systemd" / "roughfed-client@.service", tmp_path)
    unit.with_name(f"{unit.name}.d").mkdir()
    text = (DEPLOY / "systemd" / systemd.GPU).read_text().replace("/usr/bin/nvidia-modprobe", str(TRUE))
    (unit.with_name(f"{unit.name}.d") / "gpu.conf").write_text(text)
    assert verified(unit) == ""


def test_a_planted_fault_is_caught(tmp_path: Path) -> None:
    unit = runnable(UNITS[0], tmp_path)
    good = unit.read_text()
    unit.write_text(good.replace("Restart=", "Restrt="))
    assert "Restrt" in verified(unit)
    unit.write_text(re.sub(r"(?m)^(Protect|Private|Restrict|System).*\n", "", good))
    assert exposed(unit)


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_a_unit_runs_the_program(path: Path) -> None:
    text = path.read_text()
    program, *words = last(text, "ExecStart").split()
    role = "server" if "server" in path.stem else "client"

    assert program == "/opt/roughfed/bin/roughfed"
    assert parses(words) == systemd.COMMAND[role]
    assert words[-2:] == ["--dir", last(text, "WorkingDirectory")]
    assert words[-1] == f"/var/lib/{last(text, 'StateDirectory')}"
    assert "JOIN" not in " ".join(f"{key}={value}" for key, value in entries(text))
    assert last(text, "EnvironmentFile").startswith("-/etc/roughfed/")


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_what_trying_again_cannot_help_is_not_tried_again(path: Path) -> None:
    text = path.read_text()
    hopeless = {int(code) for code in last(text, "RestartPreventExitStatus").split()}
    assert last(text, "Restart") == "on-failure"
    # Files of a newer version stay that; a client with code 9 may wait for the upgrade of its server.
    newer = {NewerSchema.exit_code} if "server" in path.stem else set[int]()
    assert hopeless == {ConfigError.exit_code, IdentityError.exit_code} | newer
    assert hopeless < set(EXIT_CODES)
    assert last(text, "StartLimitIntervalSec") == "0", "it would give up after five quick failures"


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_the_one_thing_that_stays_open_says_why(path: Path) -> None:
    before, _, _ = path.read_text().partition("MemoryDenyWriteExecute=no")
    assert "numba" in before[-300:]


# -- what is written from them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_accepts_what_is_written(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    unit = written(service, tmp_path)
    said = verified(unit, *(() if service.user else ("--user",)))
    missing = "/usr/bin/nvidia-modprobe"  # only where there is a driver
    assert [line for line in said.splitlines() if missing not in line] == []
    if service.user:
        assert not exposed(unit)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_written_differs_only_where_it_must(name: str) -> None:
    service = SERVICES[name]
    of_template = entries(systemd.template(service.role))
    changed = {"Description", "User", "WorkingDirectory", "ExecStart", "EnvironmentFile"}
    changed |= {"StateDirectory", "StateDirectoryMode"}
    if not service.user:
        changed |= {*systemd.NEEDS_ROOT, "Wants", "After", "WantedBy"}
    changed |= {"PrivateDevices"} if service.gpu else set()
    changed |= {"ProtectHome"} if name == "home" else set()
    kept = [entry for entry in entries(systemd.render(service)) if entry in of_template]

    assert [entry for entry in of_template if entry[0] not in changed] == [e for e in kept if e[0] not in changed]


def test_a_gpu_gets_the_lines_of_the_drop_in() -> None:
    wanted = entries(systemd.read(systemd.GPU))
    assert len(wanted) == 4
    assert set(wanted) <= set(entries(systemd.render(SERVICES["gpu"])))
    assert last(systemd.render(SERVICES["gpu"]), "PrivateDevices") == "no"
    assert last(systemd.render(SERVICES["plain"]), "PrivateDevices") == "yes"


def test_what_homes_and_tmp_hide_is_bound_and_nothing_else() -> None:
    found = entries(systemd.render(SERVICES["home"]))
    assert ("ProtectHome", "tmpfs") in found
    assert ("BindPaths", '"/home/al/100%% mine"') in found
    bound = {value for key, value in found if key == "BindReadOnlyPaths"}
    assert bound == {"/home/al/venv", "/root/.pyenv", "/tmp/data"}
    assert ("ReadWritePaths", "/srv/alpha") in entries(systemd.render(SERVICES["plain"]))


@pytest.mark.parametrize("text", ["/srv/a:b", '/srv/a"b', "/srv/a\nb", "/srv/a\\b", "/srv/*"])
def test_a_path_that_no_unit_can_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a path"):
        systemd.render(Service("client", "alpha", Path(text), ("/usr/bin/true",), "daemon"))


def test_of_nested_paths_the_outer_one_is_enough() -> None:
    paths = [Path("/home/a/b"), Path("/home/a"), Path("/home/ab"), Path("/home/a")]
    for order in itertools.permutations(paths):
        assert systemd.outermost(order) == [Path("/home/a"), Path("/home/ab")]


# -- telling systemd ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_is_said_once_and_not_by_children(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"@roughfed-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if abstract else name)
        monkeypatch.setenv(notify.VARIABLE, name)
        assert notify.ready("two\nlines")
        assert listener.recv(4096) == b"READY=1\nSTATUS=two lines"
        assert not notify.ready("again")


@pytest.mark.parametrize("name", ["", "nonsense", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_happens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notify.VARIABLE, name)
    assert not notify.ready("up")
