"""The best version: by the server's data, by the sum of masked clients, by the clients; in this order."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.model.retention import Quality, class_counts, newest_evaluation, quality
from roughfed.server.storage.store import EVERYBODY, Store
from roughfed.types import Evaluation, Spec, TensorSpec

SPEC = Spec((TensorSpec("w", (5,)),))


def found(*correct: int) -> Evaluation:
    return Evaluation(bytes(32), 10 * len(correct), 5.0, tuple(10 for _ in correct), correct)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A run with versions 0 to 3."""
    with closing(Store(tmp_path)) as store:

        async def work() -> None:
            await store.create_run("r", SPEC, bytes(32), 0.0)
            for version in (1, 2, 3):
                await store.commit(version, version=version, digest=bytes([version]) * 32, now=0.0)

        asyncio.run(work())
        yield store


def measure(store: Store, version: int, **by: Evaluation) -> None:
    sources = {"server": "", "everybody": EVERYBODY}
    asyncio.run(store.add_evaluations(version, [(sources.get(name, name), e) for name, e in by.items()]))


def test_the_servers_data_count_before_sums_and_sums_before_single_clients(store: Store) -> None:
    measure(store, 1, ann=found(2), bob=found(4))
    assert quality(store, 1) == pytest.approx(0.3)
    measure(store, 1, everybody=found(10, 4))
    assert quality(store, 1) == pytest.approx(0.7)
    measure(store, 1, server=found(9))
    assert quality(store, 1) == pytest.approx(0.9)
    assert quality(store, 2) is None


def test_a_masked_run_knows_its_best_version_and_how_long_ago_that_was(store: Store) -> None:
    assert (Quality(store).best(), Quality(store).stale_rounds()) == (None, 0)
    measure(store, 0, everybody=found(9))
    measure(store, 1, everybody=found(7))
    measure(store, 2, everybody=found(8))  # version 3 has none yet: the round after it brings it
    best = Quality(store)
    assert (best.best(), best.stale_rounds()) == (0, 2)
    measure(store, 3, everybody=found(10))
    assert (best.best(), best.stale_rounds()) == (3, 0)


def test_without_classes_the_sums_are_judged_by_their_loss(store: Store) -> None:
    measure(store, 1, everybody=Evaluation(bytes(32), 6, 3.0))
    assert quality(store, 1) == -0.5


def test_the_newest_evaluation_is_that_of_the_version_or_of_the_one_before(store: Store) -> None:
    assert newest_evaluation(store, 3) == (None, None)
    measure(store, 2, ann=found(1), bob=found(2))
    both = Evaluation(bytes(32), 20, 10.0, (20,), (3,))
    assert newest_evaluation(store, 3) == (both, "clients")
    measure(store, 2, everybody=found(5))
    assert newest_evaluation(store, 3) == (found(5), "clients")
    measure(store, 2, server=found(6))
    assert newest_evaluation(store, 3) == (found(6), "server")
    measure(store, 3, everybody=found(7))
    assert newest_evaluation(store, 3) == (found(7), "clients")
    assert newest_evaluation(store, 1) == (None, None)


def test_class_counts_are_summed_over_all_who_told_theirs(store: Store) -> None:
    assert class_counts(store) == []

    async def work() -> None:
        await store.set_sets(1, {}, statics={"ann": {"class-count": (9, 9)}, "round 1": {"class-count": (0, 0, 7)}})
        await store.set_sets(2, {}, statics={"ann": {"class-count": (6, 2)}, "bob": {"examples": (3,)}})

    asyncio.run(work())
    assert class_counts(store) == [6, 2, 7]
