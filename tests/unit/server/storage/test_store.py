"""The server's facts: written once, read back as they were, the same after reopening."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.errors import Conflict
from roughfed.server.storage import store as store_module
from roughfed.server.storage.store import SCHEMA, ReceivedUpdate, RoundRow, Store
from roughfed.types import Evaluation, Receipt, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire.updates import encode_statement

RUN, SPEC = "run-1", Spec((TensorSpec("w", (2, 3)), TensorSpec("v", (), "float16", "variance")))
ROW = RoundRow(1, Signed(b"header", bytes(64), "server"), ("alpha", "beta"), 2, 5.0, None, None, None)


def received(client: str, number: int = 1, digest: bytes = bytes(32), **changes: Any) -> ReceivedUpdate:
    statement = UpdateStatement(RUN, number, client, bytes(32), digest, 28, 10, metrics={"loss": 0.5})
    statement = replace(statement, **changes)
    signed = Signed(encode_statement(statement), bytes([1]) * 64, client)
    return ReceivedUpdate(Receipt(RUN, number, client, digest, 28, bytes([2]) * 64), statement, signed, 2.5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def do(*works: Coroutine[Any, Any, Any]) -> None:
    async def all_of_them() -> None:
        for work in works:
            await work

    asyncio.run(all_of_them())


FACTS: dict[str, tuple[Callable[[Store], list[Coroutine[Any, Any, Any]]], Callable[[Store], Any], Any]] = {
    "run": (lambda s: [s.create_run(RUN, SPEC, bytes(32), 1.0)], lambda s: s.run(), (RUN, SPEC)),
    "version 0": (lambda s: [s.create_run(RUN, SPEC, bytes(32), 1.0)], lambda s: s.latest_model(), (0, bytes(32))),
    "not finished": (lambda s: [s.create_run(RUN, SPEC, bytes(32), 1.0)], lambda s: s.finished(), None),
    "finished": (
        lambda s: [s.create_run(RUN, SPEC, bytes(32), 1.0), s.set_finished("rounds")],
        lambda s: s.finished(),
        "rounds",
    ),
    "taken up again": (
        lambda s: [s.create_run(RUN, SPEC, bytes(32), 1.0), s.set_finished("rounds"), s.set_finished(None)],
        lambda s: s.finished(),
        None,
    ),
    "open round": (lambda s: [s.open_round(ROW)], lambda s: s.last_round(), ROW),
    "verdicts": (
        lambda s: [s.open_round(ROW), s.set_sets(1, {"beta": "", "alpha": "norm"})],
        lambda s: s.last_round(),
        replace(ROW, sets={"alpha": "norm", "beta": ""}),
    ),
    "committed": (
        lambda s: [s.open_round(ROW), s.commit(1, version=1, digest=bytes([1]) * 32, now=9.0)],
        lambda s: (s.last_round(), s.latest_model(), s.model(1), s.model(7)),
        (replace(ROW, outcome="committed", closed_at=9.0), (1, bytes([1]) * 32), bytes([1]) * 32, None),
    ),
    "abandoned": (
        lambda s: [s.open_round(ROW), s.abandon(1, "deadline", 9.0)],
        lambda s: (s.last_round(), s.versions()),
        (replace(ROW, outcome="abandoned", closed_at=9.0, reason="deadline"), []),
    ),
    "summary": (
        lambda s: [s.open_round(ROW), s.set_summary(1, {"seconds": 1.5})],
        lambda s: s.rounds(),
        [replace(ROW, summary={"seconds": 1.5})],
    ),
    "receipts in order of names": (
        lambda s: [s.add_receipt(received(c), 1.0) for c in ("beta", "alpha", "gamma")],
        lambda s: list(s.receipts(RUN, 1).items()),
        [(c, received(c)) for c in ("alpha", "beta", "gamma")],
    ),
    "one receipt": (
        lambda s: [s.add_receipt(received(c, n), 1.0) for c in ("a", "b") for n in (1, 2)],
        lambda s: (s.receipt(RUN, 2, "b"), s.receipt(RUN, 3, "b"), s.receipt(RUN, 1, "c")),
        (received("b", 2), None, None),
    ),
    "refusals": (
        lambda s: [s.add_refusal(1, "a", digest=b"d", why=("norm", "too far"), now=1.0)],
        lambda s: (s.refusals(1), s.refusals(2)),
        ({"a": (b"d", "norm", "too far")}, {}),
    ),
    "revoked": (lambda s: [s.revoke("a", 1.0), s.revoke("a", 2.0)], lambda s: s.revoked(), {"a"}),
}


@pytest.mark.parametrize(("works", "read", "wanted"), FACTS.values(), ids=FACTS.keys())
def test_facts_are_read_as_they_were_written_also_after_a_restart(
    tmp_path: Path, works: Callable[[Store], list[Any]], read: Callable[[Store], Any], wanted: Any
) -> None:
    store = Store(tmp_path)
    do(*works(store))
    assert read(store) == wanted
    store.close()
    again = Store(tmp_path)
    assert read(again) == wanted
    again.close()


def test_an_empty_folder_knows_nothing(store: Store) -> None:
    assert store.run() is None
    assert store.last_round() is None
    assert (store.rounds(), store.receipts(RUN, 1), store.evaluations(0), store.revoked()) == ([], {}, {}, set())
    assert [(store.folder / name).stat().st_mode & 0o777 for name in ("models", "spool")] == [0o700] * 2


def test_an_update_counts_once_whatever_comes_again(store: Store) -> None:
    do(store.add_receipt(received("a"), 1.0), store.add_receipt(received("a", num_examples=99), 2.0))
    assert store.receipts(RUN, 1) == {"a": received("a")}
    with pytest.raises(Conflict):
        do(store.add_receipt(received("a", digest=bytes([9]) * 32), 3.0))
    assert store.receipts(RUN, 1) == {"a": received("a")}


@pytest.mark.parametrize("again", ["run", "round", "version"])
def test_a_second_run_round_or_version_of_the_same_number_is_a_bug_that_shows(store: Store, again: str) -> None:
    do(store.create_run(RUN, SPEC, bytes(32), 1.0), store.open_round(ROW))
    work = {
        "run": lambda: store.create_run("run-2", SPEC, bytes(32), 2.0),
        "round": lambda: store.open_round(ROW),
        "version": lambda: store.commit(1, version=0, digest=bytes([5]) * 32, now=1.0),
    }[again]
    with pytest.raises(Exception, match="UNIQUE"):
        do(work())
    assert store.run() == (RUN, SPEC)
    assert store.last_round() == ROW  # a commit is all or nothing: its outcome was not written either
    assert store.versions() == [(0, bytes(32))]


finite = st.floats(allow_nan=False)


@settings(max_examples=20)
@given(data=st.data())
def test_evaluations_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    count = data.draw(st.lists(st.integers(0, 2**40), max_size=5).map(tuple))
    evaluation = Evaluation(
        data.draw(st.binary(min_size=32, max_size=32)),
        data.draw(st.integers(0, 2**64 - 1)),
        data.draw(finite),
        count,
        tuple(data.draw(st.integers(0, n)) for n in count),
        data.draw(finite),
    )
    store = Store(tmp_path_factory.mktemp("s"))
    do(store.add_evaluations(3, [("", evaluation), ("alpha", evaluation)]), store.add_evaluations(3, []))
    assert store.evaluations(3) == {"": evaluation, "alpha": evaluation}
    store.close()


def test_a_settled_store_shows_what_was_handed_over_before(store: Store) -> None:
    async def scenario() -> int:
        tasks = [asyncio.create_task(store.add_receipt(received(f"c{i}"), 1.0)) for i in range(50)]
        await asyncio.sleep(0)
        await store.settle()
        seen = len(store.receipts(RUN, 1))
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(scenario()) == 50


def test_files_are_named_by_their_content(store: Store) -> None:
    path = store.model_path(bytes(range(32)))
    assert path.parent == store.folder / "models"
    assert path.stem == bytes(range(32)).hex()
    path.write_bytes(b"1234")
    assert store.sizes()["blob_bytes"] == 4


def test_a_journal_of_the_first_schema_is_read_without_norms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SCHEMA", SCHEMA[:1])
    old = Store(tmp_path)
    known = received("a")
    row = (1, "a", known.receipt.digest, 28, known.signed.body, known.signed.signature, known.receipt.signature, 1.0)
    do(old.journal.write(lambda db: db.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)))
    old.close()
    monkeypatch.undo()
    store = Store(tmp_path)
    assert store.receipts(RUN, 1) == {"a": replace(known, norm=None)}
    store.close()
