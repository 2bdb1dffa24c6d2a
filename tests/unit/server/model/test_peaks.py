"""Forgetting: the newest model against the best that any before it did, class by class; the same after a restart."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.measures import TaskMatrix, best_of, forgotten
from roughfed.server.metrics.contribution import shares_of
from roughfed.server.model.best_recalls import Peaks
from roughfed.server.storage.store import Store
from roughfed.types import Evaluation, Spec, TensorSpec

share = st.none() | st.floats(0, 1)
matrices = st.integers(1, 5).flatmap(lambda c: st.lists(st.tuples(*[share] * c), min_size=2, max_size=6))


@given(rows=matrices)
def test_forgetting_of_classes_is_that_of_tasks_after_the_last_one(rows: list[tuple[float | None, ...]]) -> None:
    """Where each class is a task and the rows are the ends of tasks, both measures say the same of the earlier ones."""
    best: tuple[float | None, ...] = ()
    for row in rows[:-1]:
        best = best_of(best, row)
    classes = min(len(rows) - 1, len(rows[0]))  # the tasks before the last one
    if len(rows) == classes + 1 and len(rows[0]) > classes:
        matrix = TaskMatrix(tuple(rows), "class-incremental")
        assert forgotten(best[:classes], rows[-1][:classes]) == pytest.approx(matrix.forgetting)
    found = forgotten(best, rows[-1])
    assert found is None or -1 <= found <= 1
    assert forgotten(best, best) in (None, 0)


def evaluation(digest: bytes, *correct: int) -> Evaluation:
    return Evaluation(digest, 10 * len(correct), 1.0, (10,) * len(correct), correct)


ROWS = [(8, 0, 0), (6, 9, 0), (2, 8, 7)]


def test_a_server_that_starts_again_remembers_the_best(tmp_path: Path) -> None:
    digests = [bytes([number]) * 32 for number in range(len(ROWS) + 1)]

    async def journal(store: Store) -> None:
        await store.create_run("r", Spec((TensorSpec("w", (5,)),)), digests[0], 0.0)
        for version, row in enumerate(ROWS, start=1):
            await store.commit(version, version=version, digest=digests[version], now=0.0)
            await store.add_evaluations(version, [("", evaluation(digests[version], *row))])

    with closing(Store(tmp_path)) as store:
        newest = evaluation(digests[3], *ROWS[-1])
        at_first = Peaks(store)
        said = [at_first.forgetting(evaluation(digests[n], *row)) for n, row in enumerate(ROWS, start=1)]
        assert said == [None, pytest.approx((0.2 - 0.9 + 0) / 3), pytest.approx((0.6 + 0.1 - 0.7) / 3)]
        asyncio.run(journal(store))
        assert Peaks(store).forgetting(newest) == pytest.approx(said[-1])
        assert Peaks(store).forgetting(Evaluation(bytes(32), 10, 5.0)) is None  # no classes: a regression


@given(totals=st.dictionaries(st.text(max_size=5), st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=8))
def test_shares_of_what_was_contributed_add_up_to_all_of_it(totals: dict[str, float]) -> None:
    shares = shares_of(totals)
    if any(total > 0 for total in totals.values()):
        assert sum(shares) == pytest.approx(1)
        assert all(0 <= each <= 1 for each in shares)
    else:
        assert shares == []
