"""What a client still knows after a crash."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.storage import store as store_module
from roughfed.client.storage.store import MODELS_KEPT, SCHEMA, ClientStore, SavedUpdate
from roughfed.errors import StorageError
from roughfed.types import Signed

UPDATE = SavedUpdate("run-1", 3, bytes([1]) * 32, bytes([2]) * 32, Signed(b"statement", bytes(64), "alpha"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def save(store: ClientStore, update: SavedUpdate) -> None:
    store.update_path(update.round).write_bytes(b"bytes")
    asyncio.run(store.save_update(update))


def test_a_promised_update_survives_the_process(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    save(store, UPDATE)
    store.close()
    again = ClientStore(tmp_path)
    assert again.update("run-1", 3) == replace(UPDATE, recovered=True)
    assert again.update_path(3).read_bytes() == b"bytes"
    again.close()


@pytest.mark.parametrize(("run", "number"), [("run-1", 2), ("run-1", 4), ("run-2", 3)])
def test_it_is_found_under_its_own_id_only(store: ClientStore, run: str, number: int) -> None:
    save(store, UPDATE)
    assert store.update(run, number) is None


def test_bytes_without_a_statement_are_no_promise(store: ClientStore) -> None:
    store.update_path(3).write_bytes(b"half")
    assert store.update("run-1", 3) is None
    save(store, UPDATE)
    store.update_path(3).unlink()
    assert store.update("run-1", 3) is None


def test_a_newer_promise_ends_the_older_ones(store: ClientStore) -> None:
    for number in (3, 4, 5):
        save(store, replace(UPDATE, round=number))
    save(store, replace(UPDATE, run="run-2", round=1))
    assert [store.update("run-1", number) for number in (3, 4, 5)] == [None] * 3
    assert store.update("run-2", 1) is not None
    assert [path.name for path in store.folder.glob("update-*.f32")] == [store.update_path(1).name]


def test_an_update_is_written_over_an_older_one_and_nothing_of_that_is_left(store: ClientStore) -> None:
    for number, data in ((1, b"long" * 100), (2, b"short"), (3, b"longer"), (4, b"x")):
        store.write_update(number, memoryview(data))
        assert store.update_path(number).read_bytes() == data
        asyncio.run(store.save_update(replace(UPDATE, round=number)))
    assert store.fresh_update(5) == store.update_path(5)
    assert store.update_path(5).read_bytes() == b"longer"  # for the trainer to write over
    assert len(list(store.folder.glob("update-*.f32"))) == 2


def test_an_update_is_owed_until_there_is_a_receipt(store: ClientStore) -> None:
    assert not store.owes_update()
    save(store, UPDATE)
    assert store.owes_update()
    asyncio.run(store.save_receipt("run-1", 3, b"receipt"))
    assert [tuple(row) for row in store.journal.read("SELECT round, receipt FROM updates")] == [(3, b"receipt")]
    assert not store.owes_update()


def test_an_update_whose_bytes_are_gone_is_not_owed(store: ClientStore) -> None:
    save(store, UPDATE)
    store.update_path(3).unlink()
    assert not store.owes_update()


def test_rounds_are_counted_once_each_over_runs_and_restarts(tmp_path: Path) -> None:
    for _ in range(2):
        store = ClientStore(tmp_path)
        for run, number in (("run-1", 3), ("run-1", 4), ("run-1", 4), ("run-2", 3)):
            save(store, replace(UPDATE, run=run, round=number))
        assert store.rounds_used() == {("run-1", 3), ("run-1", 4), ("run-2", 3)}
        store.close()


def test_a_store_of_the_first_schema_keeps_its_promise_and_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SCHEMA", SCHEMA[:1])
    old = ClientStore(tmp_path)
    old.update_path(3).write_bytes(b"bytes")
    row = ("run-1", 3, UPDATE.header_digest, UPDATE.digest, b"statement", bytes(64), "alpha", None)

    async def insert() -> None:
        await old.journal.write(lambda db: db.execute("INSERT INTO updates VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row))

    asyncio.run(insert())
    old.close()
    monkeypatch.undo()
    store = ClientStore(tmp_path)
    assert store.update("run-1", 3) == replace(UPDATE, recovered=True)
    assert store.rounds_used() == {("run-1", 3)}
    store.close()


def test_a_promise_is_made_once(store: ClientStore) -> None:
    save(store, UPDATE)
    save(store, UPDATE)  # trained again to the same bytes
    other = replace(UPDATE, digest=bytes([9]) * 32)
    with pytest.raises(StorageError, match="round 3 are gone"):
        save(store, other)
    kept = store.update("run-1", 3)
    assert kept is not None
    assert kept.digest == UPDATE.digest


def test_only_the_newest_models_stay_and_the_one_in_use(store: ClientStore) -> None:
    digests = [bytes([n]) * 32 for n in range(6)]
    for age, digest in enumerate(digests):
        store.model_path(digest).write_bytes(b"m")
        os.utime(store.model_path(digest), (1000 + age, 1000 + age))
    store.prune_models(digests[0])
    assert [d for d in digests if store.model_path(d).exists()] == [digests[0], *digests[-MODELS_KEPT:]]
