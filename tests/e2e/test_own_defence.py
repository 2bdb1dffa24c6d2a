"""A defence that somebody else wrote, named in fed.toml, decides in a real server whose updates count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .federation import Cluster

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "own_defence"


def installed(folder: Path) -> Path:
    """The example as an installer lays it out."""
    info = folder / "medoid_defence-0.1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(EXAMPLE / "medoid_defence.py", folder)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: medoid-defence\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[roughfed.defences]\nmedoid = medoid_defence:MEDOID\n")
    return folder


def test_an_own_defence_leaves_out_one_of_five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one does not matter here, all are honest: the version is that of the four others, to the bit."""
    site = str(installed(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", site)
    monkeypatch.syspath_prepend(site)  # invites are made in this process
    settings = {"defence": {"rule": "medoid", "f": 1}}
    with Cluster(tmp_path, clients=5, rounds=1, params=5_000, settings=settings) as cluster:
        cluster.start_server().ready()
        cluster.start_clients()
        assert cluster.server.wait(timeout_s=90) == 0
        rows = cluster.rows("SELECT sets FROM rounds ORDER BY round")
        assert [sorted(json.loads(row["sets"]).values()) for row in rows] == [["", "", "", "", "medoid"]]
        assert cluster.model_digests() == cluster.expected_digests(cluster.accepted())
