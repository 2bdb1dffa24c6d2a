"""A federation of NVFlare on this machine: provisioned kits, server, clients and a job, each with its defaults."""

from __future__ import annotations

import json
from pathlib import Path

from roughfed.deploy.speed.options import BenchWork
from roughfed.deploy.speed.peers.crew import CLIENT, SERVER, Crew, free_ports, listens
from roughfed.deploy.speed.peers.notes import Rounds, check_mean, of_nvflare
from roughfed.deploy.speed.peers.peer import SCRIPTS, Installed, environment
from roughfed.deploy.speed.peers.table import Row, row_of
from roughfed.errors import RoughfedError

PLAIN = "NVFlare"
SERVER_NAME, ADMIN, PROJECT_NAME = "localhost", "admin@bench.test", "bench"

PROJECT = """\
api_version: 3
name: {project}
description: Nothing is trained.
participants:
  - {{name: {server}, type: server, org: bench, fed_learn_port: {port}}}
{clients}
  - {{name: {admin}, type: admin, org: bench, role: project_admin}}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
    args: {{template_file: [master_template.yml]}}
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args: {{config_folder: config}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""


def run(installed: Installed, work: BenchWork, folder: Path) -> Row:
    """Play the rounds with NVFlare's own processes over mutual TLS, as it provisions them.

    Args:
        installed: where NVFlare is.
        work: what to play.
        folder: an empty one.

    Raises:
        RoughfedError: a process failed, or it took too long.
    """
    (port,) = free_ports(1, SERVER_NAME)
    names = [f"site-{number + 1}" for number in range(work.clients)]
    clients = "\n".join(f"  - {{name: {name}, type: client, org: bench}}" for name in names)
    given = {"project": PROJECT_NAME, "server": SERVER_NAME, "port": port, "admin": ADMIN}
    (folder / "project.yml").write_text(PROJECT.format(clients=clients, **given))
    (folder / "job").mkdir()
    kits = folder / "kits" / PROJECT_NAME / "prod_00"
    with Crew(folder, environment(folder, installed.scripts), work.timeout_s) as crew:
        provision = ["provision", "-p", "project.yml", "-w", str(folder / "kits"), "--force"]
        crew.play("provision", [str(installed.scripts / "nvflare"), *provision])
        crew.start(SERVER, "server", once(kits / SERVER_NAME))
        crew.wait(lambda: listens(SERVER_NAME, port), "NVFlare's server to listen", last="server")
        for name in names:
            crew.start(CLIENT, name, once(kits / name))
        told = crew.play("job", submission(installed, work, kits / ADMIN, folder))
        check_mean(last_json(told), rounds=work.rounds)
        rounds = read(kits / ADMIN / "transfer", work)
    return row_of(PLAIN, installed.version, rounds, crew.track, crew.server_peak)


def once(kit: Path) -> list[str]:
    """The start-up script of a kit, without the loop that starts it again."""
    return ["bash", str(kit / "startup" / "sub_start.sh"), "--once"]


def submission(installed: Installed, work: BenchWork, kit: Path, folder: Path) -> list[str]:
    """The command that hands in the job and waits for its end."""
    sizes = {"--clients": work.clients, "--params": work.params, "--rounds": work.rounds, "--timeout": work.timeout_s}
    options = [str(part) for pair in sizes.items() for part in pair]
    where = ["--kit", str(kit), "--user", ADMIN, "--folder", str(folder / "job")]
    return [installed.python, str(SCRIPTS / "nvflare_job.py"), *where, *options]


def last_json(text: str) -> dict[str, float]:
    """The last line of JSON in what the job's script printed.

    Raises:
        RoughfedError: there is none.
    """
    found = [line for line in text.splitlines() if line.startswith('{"')]
    if not found:
        raise RoughfedError("NVFlare's job did not say how it ended")
    return json.loads(found[-1])


def read(transfer: Path, work: BenchWork) -> Rounds:
    """The rounds in the server's log, which comes with the job's result.

    Raises:
        RoughfedError: it did not come.
    """
    logs = sorted(transfer.glob("*/workspace/log.json"))
    if len(logs) != 1:
        raise RoughfedError(f"NVFlare's result came with {len(logs)} logs where one was to be")
    return of_nvflare(logs[0].read_text().splitlines(), rounds=work.rounds, clients=work.clients)
