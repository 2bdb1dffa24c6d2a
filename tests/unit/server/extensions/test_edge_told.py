"""What an edge tells the federation above of its clients: sums of four and more, whatever one of them says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.edge import extension
from roughfed.server.extensions.edge.extension import told_counts, told_evaluation
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation
from roughfed.wire.updates import agrees

NAMES = ("olga", "mia", "yan", "ben", "abe", "zoe", "cat", "dan")
"""Not in the order of the alphabet: who comes later is not to slip in among the first."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    store.close()


def tell(store: Store, said: Mapping[str, Mapping[str, tuple[int, ...]]]) -> None:
    asyncio.run(store.set_sets(1, {}, statics=said))


def told(store: Store, *, masked: bool = False) -> tuple[int, ...]:
    ctx = SimpleNamespace(store=store, config=SimpleNamespace(privacy=SimpleNamespace(masked=masked)))
    return told_counts(cast("ServerContext", ctx))


def test_counts_grow_by_four_clients_at_a_time(store: Store) -> None:
    """Each one's count is a power of two: the sum says who is in it."""
    seen: list[int] = []
    for number in range(len(NAMES)):
        known = reversed(list(enumerate(NAMES[: number + 1])))
        tell(store, {name: {"class-count": (1 << at, 0)} for at, name in known})
        seen.append(sum(told(store)))
    assert seen == [0, 0, 0, 0b1111, 0b1111, 0b1111, 0b1111, 0b11111111]


def test_who_tells_no_counts_is_none_of_the_four(store: Store) -> None:
    tell(store, {name: {"class-count": (1, 2)} for name in NAMES[:3]} | {"dan": {"class-owner": (1, 1)}})
    assert told(store) == ()


def test_behind_masks_each_source_has_four_already(store: Store) -> None:
    tell(store, {"*1": {"class-count": (4, 5)}, "*2": {"class-count": (6, 7)}})
    assert told(store, masked=True) == (10, 12)
    assert told(store) == ()


GOOD = Evaluation(bytes(32), 20, 10.0, (10, 10), (5, 5))
BARE = Evaluation(bytes(32), 5, 1.0)
ABSURD = Evaluation(bytes(32), 1 << 40, 1.0, (1 << 40, 0), (0, 0))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (GOOD, Evaluation(bytes(32), 80, 40.0, (40, 40), (20, 20))),
        (BARE, Evaluation(bytes(32), 65, 31.0)),
        (ABSURD, None),
    ],
)
def test_no_client_can_have_the_word_of_the_whole_edge_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, odd: Evaluation, said: Evaluation | None
) -> None:
    """Each of them alone is what any server takes."""
    assert agrees(odd)
    monkeypatch.setattr(extension, "decode_header", lambda _: SimpleNamespace(masked=False))
    row = cast("RoundRow", SimpleNamespace(header=SimpleNamespace(body=b"")))
    found = dict(zip(NAMES, (GOOD, GOOD, GOOD, odd), strict=False))
    asyncio.run(store.add_evaluations(0, found.items()))
    told = told_evaluation(cast("ServerContext", SimpleNamespace(store=store)), row, 0)
    assert told == said
    assert told is None or agrees(told)
