"""A federation of Flower on this machine: SuperLink, SuperNodes and `flwr run`, each with its defaults."""

from __future__ import annotations

import shutil
from pathlib import Path

from roughfed.deploy.speed.federation import HOST
from roughfed.deploy.speed.options import BenchWork
from roughfed.deploy.speed.peers.crew import CLIENT, SERVER, Crew, free_ports, listens
from roughfed.deploy.speed.peers.notes import Rounds, of_flower
from roughfed.deploy.speed.peers.peer import SCRIPTS, Installed, environment
from roughfed.deploy.speed.peers.table import Row, row_of

PLAIN, SECAGG = "Flower", "Flower SecAgg+"
APPS = {PLAIN: "flower_plain", SECAGG: "flower_secagg"}

PROJECT = """\
[project]
name = "roughfed-peer"
version = "1.0.0"
description = "Nothing is trained."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "roughfed"
[tool.flwr.app.components]
serverapp = "{app}:server"
clientapp = "{app}:client"
[tool.flwr.app.config]
clients = {clients}
params = {params}
rounds = {rounds}
notes = "{notes}"
"""

CONNECTION = """\
[superlink]
default = "bench"
[superlink.bench]
address = "{address}"
insecure = true
"""


def run(system: str, installed: Installed, work: BenchWork, folder: Path) -> Row:
    """Play the rounds with Flower's own processes, without TLS, as in its first steps.

    Args:
        system: PLAIN or SECAGG.
        installed: where Flower is.
        work: what to play.
        folder: an empty one.

    Raises:
        RoughfedError: a process failed, or it took too long.
    """
    link, *nodes = free_ports(work.clients + 1, HOST)
    address, notes = f"{HOST}:{link}", folder / "notes"
    prepare(system, work, folder, address=address, notes=notes)
    inherited = environment(folder, installed.scripts) | {
        "FLWR_HOME": str(folder / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    with Crew(folder, inherited, work.timeout_s) as crew:
        quiet = ["--insecure", "--disable-runtime-dependency-installation"]
        command = [str(installed.scripts / "flower-superlink"), *quiet, "--host", HOST, "--port", str(link)]
        crew.start(SERVER, "superlink", command)
        crew.wait(lambda: listens(HOST, link), "Flower's SuperLink to listen", last="superlink")
        for number, port in enumerate(nodes):
            at = ["--superlink", address, "--host", HOST, "--port", str(port)]
            crew.start(CLIENT, f"supernode-{number}", [str(installed.scripts / "flower-supernode"), "--insecure", *at])
        crew.play("flwr-run", [str(installed.scripts / "flwr"), "run", str(folder / "app"), "bench", "--stream"])
        rounds = read(notes, work)
    return row_of(system, installed.version, rounds, crew.track, crew.server_peak)


def prepare(system: str, work: BenchWork, folder: Path, *, address: str, notes: Path) -> None:
    """Write the app and the connection."""
    app = APPS[system]
    (folder / "app").mkdir()
    (folder / "flower").mkdir()
    shutil.copy(SCRIPTS / f"{app}.py", folder / "app")
    sizes = {"clients": work.clients, "params": work.params, "rounds": work.rounds}
    (folder / "app" / "pyproject.toml").write_text(PROJECT.format(app=app, notes=notes.as_posix(), **sizes))
    (folder / "flower" / "config.toml").write_text(CONNECTION.format(address=address))


def read(notes: Path, work: BenchWork) -> Rounds:
    """The rounds that were noted; an empty text where there is no file."""
    text = notes.read_text() if notes.exists() else ""
    return of_flower(text, rounds=work.rounds, clients=work.clients)
