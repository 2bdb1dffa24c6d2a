"""The units under a real systemd: started, hardened, killed, refused; the blocks of docs/operate.md as they stand."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roughfed.deploy.cli.install import program, reads
from roughfed.deploy.systemd import IN_HOMES, outermost, template
from tests.unit.documents import blocks

from .booted import Booted

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e
SERVER = "/var/lib/roughfed-server"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    """A machine on which roughfed is installed in /opt/roughfed."""
    with Booted(tmp_path) as booted:
        if program()[0] == sys.executable:
            pytest.skip("needs roughfed installed with its command (make setup)")
        folders = {parent for path in reads() for parent in (path, *path.parents)}
        booted.sh(f"chmod a+x {shlex.join(map(str, sorted(folders)))}; ln -s {shlex.quote(sys.prefix)} /opt/roughfed")
        booted.sh("ln -s /opt/roughfed/bin/roughfed /usr/local/bin/roughfed; mkdir -m 700 /etc/roughfed")
        yield booted


def block(test: str, command: str) -> str:
    """The block that says it is run by a test of this file, and holds a command."""
    (found,) = (b for b in blocks("sh") if b.mark == "run" and f"::{test}" in b.about and command in b.text)
    return found.text


def told(machine: Booted, unit: str, text: str) -> None:
    """Returns once a unit has said it."""
    follow = f"exec journalctl -f -n all -o cat _SYSTEMD_UNIT={unit}.service"
    machine.sh(f"timeout 100 grep -m 1 -E {shlex.quote(text)} <({follow})", timeout_s=120)


def shown(machine: Booted, unit: str, *keys: str) -> dict[str, str]:
    """Properties of a unit."""
    text = machine.sh(f"systemctl show {' '.join(f'-p {key}' for key in keys)} {unit}")
    return dict(line.split("=", 1) for line in text.splitlines())


def invited(script: str, machine: Booted, server: str = SERVER, *, by: str = "") -> str:
    """A block of a document, with the line that an invite of hospital-a printed just now."""
    printed = machine.sh(f"{by} roughfed invite hospital-a --host 127.0.0.1 --dir {server} 2> /dev/null")
    found = re.fullmatch(r"ROUGHFED_JOIN=('[^']+') roughfed join\s*", printed)
    assert found, printed
    assert "'fed.example.org:8444#...'" in script
    agreed = script.replace("roughfed join --install", "roughfed join --accept updates --install")
    return agreed.replace("'fed.example.org:8444#...'", found[1])


@pytest.mark.timeout(300)
def test_a_federation_as_the_document_says(machine: Booted) -> None:
    """Two blocks of commands, a run of two rounds, its end, and a client that is stopped."""
    settings = "PRIVACY__SERVER_SEES=updates", "ROUND__MIN_CLIENTS=1", "ROUND__ROUNDS=2"
    machine.sh("printf '%s\\n' " + " ".join(f"ROUGHFED_{s}" for s in settings) + " > /etc/roughfed/server.env")
    this = "test_a_federation_as_the_document_says"
    machine.sh(block(this, "roughfed server"))
    state = shown(machine, "roughfed-server-roughfed", "ActiveState", "StatusText")
    assert state == {"ActiveState": "active", "StatusText": "serving the federation roughfed on 0.0.0.0:8443"}

    machine.sh(invited(block(this, "roughfed join"), machine))
    told(machine, "roughfed-client-hospital-a", "round 2 committed; this client's update: accepted")
    told(machine, "roughfed-client-hospital-a", "the run is over")

    # A run that is over is no failure; the client stays for the next one until it is stopped.
    told(machine, "roughfed-server-roughfed", "the server ended: rounds")
    machine.sh("systemctl stop roughfed-server-roughfed")  # returns when the process is gone
    assert shown(machine, "roughfed-server-roughfed", "Result") == {"Result": "success"}
    pid = shown(machine, "roughfed-client-hospital-a", "MainPID")["MainPID"]
    facts = machine.sh(f"cat /proc/{pid}/status; tr '\\0' '\\n' < /proc/{pid}/environ")
    assert re.search(r"CapBnd:\s*0+\n", facts)
    assert re.search(r"NoNewPrivs:\s*1\n", facts)
    assert re.search(r"Seccomp:\s*2\n", facts)
    assert "Uid:\t0" not in facts
    assert "ROUGHFED_JOIN" not in facts
    machine.sh("systemctl stop roughfed-client-hospital-a")
    state = shown(machine, "roughfed-client-hospital-a", "Result", "ExecMainStatus")
    assert state == {"Result": "success", "ExecMainStatus": "0"}


def here() -> str:
    """A drop-in for a unit as it comes along: this interpreter is not in /opt."""
    paths = [p for p in outermost(reads()) if any(p.is_relative_to(hidden) for hidden in IN_HOMES)]
    lines = ["[Service]", "ProtectHome=tmpfs", "TemporaryFileSystem=/root:ro,mode=0755"]
    return "\n".join([*lines, *(f"BindReadOnlyPaths={path}" for path in paths)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_masked_rounds_in_the_units_that_come_along(machine: Booted) -> None:
    """numba compiles in there; four clients enrol from files of root's; one whose line is wrong is not tried again."""
    units = ROOT / "deploy" / "systemd"
    machine.sh(f"cp {units}/*.service /etc/systemd/system/")
    for unit in ("roughfed-server", "roughfed-client@"):
        folder = f"/etc/systemd/system/{unit}.service.d"
        machine.sh(f"mkdir {folder}; cat > {folder}/here.conf <<'EOF'\n{here()}\nEOF")
    machine.sh(
        "systemctl daemon-reload\n"
        "useradd --system --home-dir /var/lib/roughfed-server --shell /usr/sbin/nologin roughfed\n"
        "install -d -o roughfed -g roughfed -m 0700 /var/lib/roughfed-server\n"
        "runuser -u roughfed -- roughfed init --dir /var/lib/roughfed-server --data digits -o round.rounds=1000\n"
        "systemctl start roughfed-server"
    )
    for index, name in enumerate("abcd"):
        folder = f"/var/lib/roughfed-client/{name}"
        settings = f'[data]\nname = "digits"\nclients = 4\nindex = {index}\n[model]\nname = "mlp"\n'
        machine.sh(
            f"roughfed invite {name} --host 127.0.0.1 --dir {SERVER} 2> /dev/null"
            f" | sed \"s/' roughfed join//; s/'//\" > /etc/roughfed/{name}.env; chmod 600 /etc/roughfed/{name}.env\n"
            f"mkdir -p {folder}; printf '%s' '{settings}' > {folder}/client.toml; chown -R roughfed {folder}\n"
            f"systemctl start roughfed-client@{name}"
        )
    told(machine, "roughfed-client@a", "round 1 committed; this client's update: accepted")
    machine.sh("systemctl kill --signal=KILL --kill-whom=main roughfed-server roughfed-client@b")
    told(machine, "roughfed-client@a", "round 3 committed; this client's update: accepted")
    for unit in ("roughfed-server", "roughfed-client@b"):
        assert machine.sh(f"journalctl -o cat -u {unit} | grep -c -E 'listening federation|metrics on'") == "2\n", unit

    machine.sh("mkdir /var/lib/roughfed-client/e; cp /var/lib/roughfed-client/{a/client.toml,e}")
    machine.sh("cp /etc/roughfed/a.env /etc/roughfed/e.env; systemctl start roughfed-client@e")
    told(machine, "roughfed-client@e", "error: ")
    machine.sh("systemctl stop roughfed-client@e")  # one that is about to be tried again would be inactive now
    state = shown(machine, "roughfed-client@e", "ExecMainStatus", "NRestarts", "ActiveState")
    assert state == {"ExecMainStatus": "3", "NRestarts": "0", "ActiveState": "failed"}


@pytest.mark.slow
def test_what_stays_open_must(machine: Booted) -> None:
    """With MemoryDenyWriteExecute=yes nothing that numba compiled would run."""
    code = "import numba; print('sum', numba.njit(lambda x: x + 1)(1))"
    (machine_code,) = (line for line in template("server").splitlines() if line.startswith("MemoryDenyWriteExecute="))
    for line, works in (("MemoryDenyWriteExecute=yes", False), (machine_code, True)):
        unit = f'[Service]\nType=oneshot\n{line}\nExecStart={sys.executable} -c "{code}"\n'
        machine.sh(f"cat > /etc/systemd/system/probe.service <<'EOF'\n{unit}EOF\nsystemctl daemon-reload")
        machine.sh("systemctl start probe", check=False)
        assert ("sum 2" in machine.journal("probe")) is works


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_somebody_without_root_has_units_of_their_own(machine: Booted) -> None:
    """A server and a client under the service manager of a user, by the block of the document."""
    machine.sh(
        "useradd --create-home alice; id=$(id -u alice); install -d -o alice -m 0700 /run/user/$id\n"
        "cat > /etc/systemd/system/alice.service <<EOF\n"
        "[Service]\nType=notify\nUser=alice\nDelegate=yes\nEnvironment=XDG_RUNTIME_DIR=/run/user/$id\n"
        "ExecStart=/usr/lib/systemd/systemd --user\nEOF\n"
        "cat > /usr/local/bin/as-alice <<EOF\n"
        '#!/bin/sh\nexec runuser -u alice -- env XDG_RUNTIME_DIR=/run/user/$id HOME=/home/alice "\\$@"\nEOF\n'
        "chmod +x /usr/local/bin/as-alice; systemctl daemon-reload; systemctl start alice"
    )
    settings, server = "-o privacy.server_sees=updates -o round.min_clients=1", "/home/alice/server"
    machine.sh(f"as-alice mkdir {server}; as-alice roughfed init --dir {server} --data digits {settings}")
    machine.sh(f"as-alice roughfed server --install --start --dir {server}")
    script = block("test_somebody_without_root_has_units_of_their_own", "roughfed join")
    machine.sh(f"as-alice sh -c {shlex.quote(invited(script, machine, server, by='as-alice'))}")
    told(machine, "alice", "round 1 committed; this client's update: accepted")
    assert machine.sh("as-alice systemctl --user is-active roughfed-client-hospital-a").strip() == "active"
