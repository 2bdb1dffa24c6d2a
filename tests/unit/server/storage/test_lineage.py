"""Versions form a tree: what each cluster goes on from, what is kept of it, and a journal from before."""

import asyncio
from pathlib import Path

import pytest

from roughfed.errors import LocalProtocolError
from roughfed.server.extensions.clusters.journal import Begun, ClusterJournal, Decided
from roughfed.server.extensions.clusters.members import Move
from roughfed.server.model import downlink
from roughfed.server.model.retention import Quality
from roughfed.server.storage import schema
from roughfed.server.storage import store as store_module
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation, Signed, Spec, TensorSpec

SPEC = Spec((TensorSpec("w", (4,)),))


def digest(version: int) -> bytes:
    return bytes([version]) * 32


def forked(folder: Path) -> Store:
    """Versions 1, 2 in the default; 3 and 5 in the cluster "1" that left it after 2; 4 in the default."""

    async def work() -> Store:
        store = Store(folder)
        await store.create_run("run-1", SPEC, digest(0), 1.0)
        for number, (cluster, base) in enumerate([("0", 0), ("0", 1), ("1", 2), ("0", 2), ("1", 3)], start=1):
            if number == 3:
                begun = [Begun("1", 2, "split from 0")]
                await ClusterJournal(store.journal).decide(2, Decided("split", {}), [Move("b", "1", "split")], begun)
            header = Signed(bytes([number]), bytes(64), "server")
            await store.open_round(RoundRow(number, header, ("a",), 1, 1.0, None, None, None, cluster=cluster))
            await store.commit(number, version=number, digest=digest(number), now=1.0, base=base)
        return store

    return asyncio.run(work())


def test_each_cluster_goes_on_from_its_own(tmp_path: Path) -> None:
    store = forked(tmp_path)
    found = {cluster: (head.version, head.base, head.depth) for cluster, head in store.lineage.heads().items()}
    assert found == {"0": (4, 2, 3), "1": (5, 3, 4)}
    assert [store.lineage.made_in(number) for number in range(7)] == [None, 1, 2, 3, 4, 5, None]
    assert store.latest_model() == (5, digest(5))
    assert [row.cluster for row in store.rounds()] == ["0", "0", "1", "0", "1"]
    with pytest.raises(LocalProtocolError):
        store.lineage.head("2")
    store.close()


def test_a_delta_leads_from_a_versions_base_and_from_no_other(tmp_path: Path) -> None:
    store = forked(tmp_path)
    for version in (3, 4, 5):
        downlink.delta_path(store, version).write_bytes(b"delta")
        downlink.error_path(store, version).write_bytes(b"error")
    assert downlink.find_delta(store, digest(2), digest(4)) == downlink.delta_path(store, 4)
    assert downlink.find_delta(store, digest(3), digest(5)) == downlink.delta_path(store, 5)
    assert downlink.find_delta(store, digest(3), digest(4)) is None
    assert downlink.base_digest(store, 5) == digest(3)
    downlink.prune(store, [4, 5])
    kept = {path.name for path in (tmp_path / "models").iterdir()}
    assert kept == {f"{version:08d}.{kind}" for version in (4, 5) for kind in ("delta", "error")}
    store.close()


def test_the_best_and_the_last_of_every_cluster_are_kept(tmp_path: Path) -> None:
    store = forked(tmp_path)
    for version, right in {0: 1, 1: 9, 2: 5, 3: 8, 4: 4, 5: 3}.items():
        store.model_path(digest(version)).write_bytes(b"model")
        found = Evaluation(digest(version), 10, 1.0, (10,), (right,))
        asyncio.run(store.add_evaluations(version, [("", found)]))
    quality = Quality(store)
    assert (quality.best("0"), quality.best("1")) == (1, 3)
    quality.prune(keep_last=1, keep_best=True)
    kept = [version for version in range(6) if store.model_path(digest(version)).exists()]
    assert kept == [1, 2, 3, 4, 5]  # 2 and 4: the last of the default; 1 and 3: the best
    store.close()


def test_a_journal_from_before_clusters_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = next(number for number, step in enumerate(schema.SCHEMA) if "cluster_moves" in step)
    monkeypatch.setattr(store_module, "SCHEMA", schema.SCHEMA[:at])
    old = Store(tmp_path)
    rows = [(version, digest(version), version, 1.0) for version in range(3)]
    asyncio.run(old.journal.write(lambda db: db.executemany("INSERT INTO models VALUES (?, ?, ?, ?)", rows)))
    old.close()
    monkeypatch.undo()
    store = Store(tmp_path)
    assert [(each.base, each.depth, each.cluster) for each in store.lineage.all()] == [
        (-1, 0, "0"),
        (0, 1, "0"),
        (1, 2, "0"),
    ]
    assert store.lineage.head().version == 2
    store.close()
