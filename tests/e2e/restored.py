"""A backup of a running cluster, the end of its server, and the same run elsewhere at the same ports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roughfed.deploy.aggregator import ServerFiles
from roughfed.deploy.cli import app as cli

from .federation import Cluster


def backup(cluster: Cluster, name: str = "backup.tar", *flags: str) -> Path:
    """What `roughfed backup` writes of the server's directory."""
    out = cluster.folder / name
    assert cli.run(["backup", "--dir", str(cluster.place.folder), "--out", str(out), *flags]) == 0
    return out


def move(cluster: Cluster, file: Path, name: str = "elsewhere") -> ServerFiles:
    """Restore a backup to another directory, which is the cluster's now; the ports stay. Returns the old one."""
    old, new = cluster.place, ServerFiles(cluster.folder / name)
    ports = json.loads(old.ports.read_text())
    assert cli.run(["restore", str(file), "--dir", str(new.folder)]) == 0
    cluster.place = new
    cluster.configure({"server": {"port": ports["federation"], "enrol_port": ports["enrolment"]}})
    return old


def rounds_of(cluster: Cluster) -> list[dict[str, Any]]:
    """The rounds of the journal: number, outcome and reason."""
    return cluster.rows("SELECT round, outcome, reason FROM rounds ORDER BY round")
