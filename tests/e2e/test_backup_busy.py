"""Backups one after another of a server that commits and deletes all the time: each is whole, and of one moment."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.params import data_offset, digest_file
from roughfed.server.extensions.ledger.check import check_ledger
from roughfed.server.model import downlink
from roughfed.server.storage.store import Store
from roughfed.server.uploads.spool import update_name

from .federation import Cluster
from .restored import backup

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

ROUNDS, PACE_S = 12, {"c0": 0.0, "c1": 0.1, "c2": 0.3}


def test_every_backup_of_a_busy_server_is_whole(tmp_path: Path) -> None:
    settings = {"optimize": {"rule": "fedadam"}, "model": {"keep_last": 2}}
    with Cluster(tmp_path, rounds=ROUNDS, settings=settings) as cluster:
        cluster.start_server().ready()
        clients = [cluster.start_client(name, pace_s=pace) for name, pace in PACE_S.items()]
        seen: list[tuple[int, bool]] = []
        with cluster.watch() as watch:
            watch.until(lambda s: s["round"] >= 1)
            while cluster.server.running and len(seen) < 30:
                seen.append(whole(backup(cluster), tmp_path / f"restored-{len(seen)}"))
        assert cluster.server.wait(timeout_s=120) == 0
        assert all(client.wait() == 0 for client in clients)
        print("backups of (round, open):", seen)
        assert len({number for number, _ in seen}) >= 3
        assert any(is_open for _, is_open in seen)
        assert not (cluster.place.state / "backup").exists()


def whole(file: Path, folder: Path) -> tuple[int, bool]:
    """Restore a backup and hold every file against its journal; (newest round, whether it is open)."""
    assert cli.run(["restore", str(file), "--dir", str(folder)]) == 0
    with closing(Store(folder / "state")) as store:
        known = store.run()
        assert known is not None
        versions, newest = dict(store.versions()), store.latest_model()[0]
        assert store.model_path(versions[newest]).exists()
        for path in (store.folder / "models").glob("*.safetensors"):
            assert digest_file(path, offset=data_offset(path)).hex() == path.stem
            assert bytes.fromhex(path.stem) in versions.values()
        if newest:
            assert downlink.delta_path(store, newest).exists() == downlink.error_path(store, newest).exists()
            states = {path.name for path in (store.folder / "models").glob(f"{newest:08d}.opt-*")}
            assert states == {f"{newest:08d}.opt-fedadam-{vector}" for vector in "mv"}
        last = store.last_round()
        assert last is not None
        if last.outcome is None:
            for client, update in store.receipts(known[0], last.round).items():
                path = store.folder / "spool" / update_name(known[0], last.round, client)
                assert digest_file(path, offset=0) == update.receipt.digest
        if store.judged():
            assert check_ledger(store).problem is None
        assert json.loads(json.dumps(store.began()))["name"] == "e2e"
        return last.round, last.outcome is None
