"""The weight class of a client where fairness asks for one: by its own losses, secret, and the same after a restart."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.client.round.statistics import fair_quarters, quarters_of, record_loss
from roughfed.client.storage.store import LOSSES_KEPT, ClientStore
from roughfed.errors import RemoteProtocolError
from roughfed.secagg.weight_class import FACT, Table, write_table
from roughfed.server.fairness import RULES
from roughfed.server.fairness.curve import row, usual
from roughfed.types import Evaluation

TABLE = Table(usual(3.0), {4: row(RULES["q-fedavg"], 1.0, strength=1.0, cap=3.0)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    with closing(ClientStore(tmp_path)) as store:
        yield store


def client(store: ClientStore, *, shares: bool = True, key: bytes = bytes(32)) -> Any:
    identity = SimpleNamespace(private_bytes=lambda: key)
    rules = SimpleNamespace(policy=SimpleNamespace(share_statistics=shares))
    session = SimpleNamespace(rules=rules, credentials=SimpleNamespace(identity=identity))
    return SimpleNamespace(ctx=SimpleNamespace(store=store), session=session)


def header(number: int = 6, *, run: str = "run-1", masked: bool = True) -> Any:
    return SimpleNamespace(run=run, round=number, masked=masked)


def job(facts: dict[str, tuple[float, ...]] | None = None, digest: bytes = bytes(32), **trainer: object) -> Any:
    told = {FACT: write_table(TABLE)} if facts is None else facts
    return SimpleNamespace(trainer=trainer, facts=told, header=SimpleNamespace(digest=digest))


def task(client: Any, job: Any, header: Any) -> Any:
    return SimpleNamespace(ctx=client.ctx, session=client.session, job=job, header=header)


def lost(store: ClientStore, loss: float, number: int = 4, run: str = "run-1") -> None:
    found = Evaluation(bytes(32), 10, 10 * loss)
    asyncio.run(record_loss(task(client(store), job(), header(number, run=run)), found))


def classes(one: Any, number: int = 6) -> Counter[int]:
    return Counter(fair_quarters(task(one, job(digest=bytes([at] * 32)), header(number))) for at in range(200))


@pytest.mark.parametrize(("loss", "mean"), [(0.2, 1.0), (1.0, 4 / 3), (2.0, 8 / 3), (2.8, 3.7333), (9.0, 4.0)])
def test_the_class_is_what_the_loss_stands_for_in_the_mean(store: ClientStore, loss: float, mean: float) -> None:
    lost(store, loss)
    found = classes(client(store))
    assert set(found) <= {math.floor(mean), math.ceil(mean)}
    assert sum(q * n for q, n in found.items()) / 200 == pytest.approx(mean, abs=0.12)


def test_a_class_is_the_same_again_and_no_one_elses(store: ClientStore) -> None:
    lost(store, 1.0)
    drawn = [fair_quarters(task(client(store), job(digest=bytes([at] * 32)), header())) for at in range(30)]
    again = [fair_quarters(task(client(store), job(digest=bytes([at] * 32)), header())) for at in range(30)]
    other = [
        fair_quarters(task(client(store, key=bytes([1] * 32)), job(digest=bytes([at] * 32)), header()))
        for at in range(30)
    ]
    assert drawn == again != other


def test_who_tells_nothing_or_knows_nothing_draws_as_a_typical_client(store: ClientStore) -> None:
    typical = classes(client(store))
    assert set(typical) == {1, 2}
    lost(store, 9.0)
    assert classes(client(store, shares=False)) == typical
    assert classes(client(store), number=4) == typical  # of this very round: its advert came before
    assert classes(client(store)) == {4: 200}


def test_without_a_table_or_masks_a_client_counts_whole(store: ClientStore) -> None:
    lost(store, 0.1)
    one = client(store)
    assert fair_quarters(task(one, job({}), header())) == 4
    assert fair_quarters(task(one, job(), header(masked=False))) == 4
    assert quarters_of(task(one, job(), header())) == fair_quarters(task(one, job(), header())) == 1


def test_a_table_that_is_none_refuses_the_job(store: ClientStore) -> None:
    with pytest.raises(RemoteProtocolError, match="numbers"):
        fair_quarters(task(client(store), job({FACT: (1.0, 2.0)}), header()))


def test_losses_are_kept_for_a_while_of_one_run_and_never_what_is_no_number(store: ClientStore) -> None:
    for number in range(1, LOSSES_KEPT + 4):
        lost(store, float(number), number)
    assert list(store.losses("run-1", before=100)) == list(range(4, LOSSES_KEPT + 4))
    for nothing in (math.inf, math.nan):
        lost(store, nothing, 30)
    asyncio.run(record_loss(task(client(store), job(), header(31)), None))
    asyncio.run(record_loss(task(client(store), job(), header(32)), Evaluation(bytes(32), 0, 0.0)))
    assert max(store.losses("run-1", before=100)) == LOSSES_KEPT + 3
    lost(store, 1.0, 2, run="run-2")
    assert store.losses("run-1", before=100) == {}
    assert store.losses("run-2", before=100) == {2: 1.0}
