"""Orders of the federation above: which version an order's model is, what was made of it, and the sum on disk."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import StorageError
from roughfed.params import Flat, write_model
from roughfed.server.aggregate.combine import NotFinite
from roughfed.server.context.round_state import RoundState
from roughfed.server.extensions.edge.upstream import Order
from roughfed.server.extensions.edge.upstream_rounds import begun, folder, made, sum_path, take, written_down
from roughfed.server.storage.lineage import Version, insert_version
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Signed, Spec, TensorSpec
from tests.server_context import context

SPEC = Spec((TensorSpec("w", (5,)),))
ZEROS = content_digest(bytes(20))
KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
ROUND = RoundState(RoundRow(1, Signed(b"", b"", ""), (), 1, 0.0, None, None, None))


def order_of(place: Path, *, number: int, value: float, run: str = "above") -> Order:
    """Round `number` of a run, from a model that holds one value throughout."""
    path = place / f"{value}.safetensors"
    digest = write_model(path, SPEC, [np.full(5, value, np.float32)])
    return Order(run, number, number, 9, path, digest, {}, {}, until=0.0)


def commit(store: Store, base: Version) -> int:
    """What a committed round on a version leaves behind: a new version, and its sum."""
    version = store.latest_model()[0] + 1

    def work(db: Any) -> None:
        insert_version(db, version, content_digest(bytes([version])), round_number=0, now=1.0, base=base.version)

    asyncio.run(store.journal.write(work))
    sum_path(store, version).write_bytes(bytes(20))
    return version


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "state")
    asyncio.run(found.create_run("here", SPEC, ZEROS, 0.0))
    yield found
    found.close()


def test_an_orders_model_becomes_the_newest_version_and_taking_it_again_changes_nothing(
    store: Store, tmp_path: Path
) -> None:
    order = order_of(tmp_path, number=1, value=1.5)
    assert begun(store, order) is None
    first = asyncio.run(take(store, order))
    assert (first, first.digest) == (store.lineage.head(), order.digest)
    assert store.model_path(order.digest).read_bytes() == order.params.read_bytes()
    before = store.versions()
    assert asyncio.run(take(store, order)) == first == begun(store, order)
    assert store.versions() == before
    assert made(store, first) is None


def test_what_a_round_makes_is_found_and_what_is_taken_next_is_not_taken_for_it(store: Store, tmp_path: Path) -> None:
    """A version that was taken stands on the one before as well, without being made of it."""
    one, two = (order_of(tmp_path, number=n, value=n) for n in (1, 2))
    base = asyncio.run(take(store, one))
    after = asyncio.run(take(store, two))  # nothing came of the first
    assert after.base == base.version
    assert made(store, base) is None
    version = commit(store, after)
    found = made(store, after)
    assert found is not None
    assert found.version == version


def test_another_model_under_the_same_number_is_another_order(store: Store, tmp_path: Path) -> None:
    """A federation above that was restored plays a round number anew."""
    known = asyncio.run(take(store, order_of(tmp_path, number=3, value=3.0)))
    other = order_of(tmp_path, number=3, value=4.0)
    assert begun(store, other) is None
    assert begun(store, order_of(tmp_path, number=3, value=3.0, run="another")) is None
    taken = asyncio.run(take(store, other))
    assert taken.version > known.version
    assert begun(store, other) == taken


def test_a_round_above_on_the_same_model_is_the_same_order(store: Store, tmp_path: Path) -> None:
    """One that was abandoned above is followed by another one: what was summed for the first is right for it."""
    one, again = (order_of(tmp_path, number=number, value=1.0) for number in (1, 2))
    base = asyncio.run(take(store, one))
    version = commit(store, base)
    assert begun(store, again) == base
    found = made(store, base)
    assert found is not None
    assert found.version == version


def test_an_order_whose_sum_is_gone_is_taken_anew(store: Store, tmp_path: Path) -> None:
    order = order_of(tmp_path, number=1, value=1.0)
    base = asyncio.run(take(store, order))
    commit(store, base)
    again = asyncio.run(take(store, order))
    assert again.version > base.version
    assert (again.digest, begun(store, order)) == (base.digest, again)
    assert made(store, again) is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(("committed", "abandoned", "again"))), max_size=12))
def test_there_is_one_sum_at_most_and_it_is_the_last_orders(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place) / "state")
        asyncio.run(store.create_run("here", SPEC, ZEROS, 0.0))
        for number, end in steps:
            order = order_of(Path(place), number=number, value=float(number))
            base = asyncio.run(take(store, order))
            assert list(folder(store).iterdir()) == []
            assert begun(store, order) == base == store.lineage.head()
            if end == "committed":
                version = commit(store, base)
                assert list(folder(store).iterdir()) == [sum_path(store, version)]
                assert made(store, base) == store.lineage.version(version)
            if end == "again":
                sum_path(store, 99).with_suffix(".partial").write_bytes(b"half")  # a process died while it wrote
                assert asyncio.run(take(store, order)) == base
                assert list(folder(store).iterdir()) == []
        store.close()


def test_a_model_that_is_gone_is_the_disks_fault(store: Store, tmp_path: Path) -> None:
    order = order_of(tmp_path, number=1, value=1.0)
    order.params.unlink()
    with pytest.raises(StorageError, match="No such file"):
        asyncio.run(take(store, order))
    assert begun(store, order) is None
    assert store.latest_model()[0] == 0


# -- the sum on disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_the_file_is_the_mean_to_the_bit_in_whatever_order_it_is_read(store: Store, step: int) -> None:
    mean = np.random.default_rng(step).normal(size=53).astype(np.float32)
    mean[:3] = (-0.0, np.float32(1e-45), np.finfo(np.float32).max)
    starts = np.random.default_rng(step).permutation(np.arange(0, 53, step)).tolist()
    seen: dict[int, Flat] = {}
    with written_down(store, 7, lambda a, b: mean[a:b]) as noted:
        for start in starts:
            seen[start] = noted(start, min(53, start + step))
        assert not sum_path(store, 7).exists()
    assert np.concatenate([seen[start] for start in sorted(seen)]).tobytes() == mean.tobytes()
    assert sum_path(store, 7).read_bytes() == mean.astype("<f4").tobytes()
    assert [path.name for path in folder(store).iterdir()] == ["00000007.f32"]


def test_a_sum_that_cannot_be_is_not_there(store: Store) -> None:
    def combine() -> None:
        with written_down(store, 7, lambda a, b: np.zeros(b - a, np.float32)) as noted:
            noted(0, 3)
            raise NotFinite("a sum that is none")

    with pytest.raises(NotFinite):
        combine()
    assert not sum_path(store, 7).exists()


def test_a_server_that_is_no_edge_keeps_no_sum(store: Store) -> None:
    def mean(start: int, stop: int) -> Flat:
        return np.zeros(stop - start, np.float32)

    with ThreadPoolExecutor(1) as executor:
        ctx = context(FederationConfig(), store, KEY, executor, SPEC)
        with ctx.extensions.on_mean(ROUND, 1, mean) as noted:
            assert noted is mean
    assert not (store.folder / "sums").exists()
