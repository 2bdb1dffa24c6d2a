"""[fairness] in a round: weights from statements, tables from journaled sums, and what a summary keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from roughfed.config.federation import FederationConfig
from roughfed.params import Flat
from roughfed.secagg.statistics import ACCURACY_BUCKETS, accuracy_bucket
from roughfed.secagg.weight_class import FACT, LOSS_POINTS, loss_point, read_table
from roughfed.server.context.round_state import RoundState
from roughfed.server.extensions import fairness as extension
from roughfed.server.extensions.fairness import FairnessExtension
from roughfed.server.fairness import client_weights
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Evaluation, RoundHeader, Signed, UpdateStatement
from roughfed.wire.session import encode_header

BASE = bytes([7] * 32)


def header(number: int = 3, sees: str = "updates") -> RoundHeader:
    z = bytes(32)
    return RoundHeader("run-1", number, BASE, 2, z, z, "identity", sees, z, 1.0)


def evaluation(loss: float, accuracy: float = 0.5, digest: bytes = BASE, n: int = 100) -> Evaluation:
    right = round(accuracy * n)
    return Evaluation(digest, n, loss * n, (n, 0), (right, 0))


def update(name: str, found: Evaluation | None, norm: float | None = 1.0) -> Any:
    statement = UpdateStatement("run-1", 3, name, bytes(32), bytes(32), 8, 10, evaluation=found)
    return SimpleNamespace(receipt=SimpleNamespace(client=name), statement=statement, norm=norm)


def federation(store: Store | None = None, *, masked: bool = False, **fairness: object) -> Any:
    sees = "sketches" if masked else "updates"
    settings = {"fairness": fairness, "privacy": {"server_sees": sees}, "trainer": {"lr": 0.1}}
    return SimpleNamespace(config=FederationConfig.model_validate(settings), store=store, run="run-1")


ACCEPTED = [
    update("a", evaluation(1.0)),
    update("b", evaluation(2.0)),
    update("c", evaluation(1.0)),
    update("d", None),
    update("e", evaluation(9.0, digest=bytes(32))),
    update("f", evaluation(1e12)),
    update("g", evaluation(0.5)),
]


def test_weights_are_multiplied_by_what_the_loss_under_the_rounds_model_says() -> None:
    ctx = federation(rule="q-fedavg", q=1.0, cap=3.0)
    weights, length = client_weights.fair_weights(ctx.config, header(), ACCEPTED, [10.0] * 7)
    assert weights == pytest.approx([10.0, 20.0, 10.0, 10.0, 10.0, 30.0, 5.0])
    assert length == 1.0


@pytest.mark.parametrize("fairness", [{}, {"rule": "none"}, {"rule": "q-fedavg", "q": 0.0}, {"rule": "term", "t": 0.0}])
def test_without_a_rule_or_strength_weights_are_what_they_were(fairness: dict[str, object]) -> None:
    given = [1.0, 2.5, 3.0, 4.0, 1.0, 1.0, 7.0]
    assert client_weights.fair_weights(federation(**fairness).config, header(), ACCEPTED, given) == (given, 1.0)


def test_the_papers_step_is_shorter_the_longer_the_updates_are() -> None:
    ctx = federation(rule="q-fedavg", q=1.0, step="paper")
    lengths = []
    for norm in (0.01, 0.1, 1.0):
        accepted = [update(name, evaluation(1.0), norm) for name in "abcd"]
        weights, length = client_weights.fair_weights(ctx.config, header(), accepted, [1.0] * 4)
        assert weights == [1.0] * 4
        lengths.append(length)
    assert lengths == pytest.approx([1 / (1 + norm**2 / 0.1) for norm in (0.01, 0.1, 1.0)])


def test_a_mean_is_shortened_and_one_of_full_length_left_alone() -> None:
    def mean(start: int, stop: int) -> Flat:
        return np.arange(start, stop, dtype=np.float32)

    assert client_weights.shortened(mean, 1.0) is mean
    short = client_weights.shortened(mean, 0.5)(2, 5)
    np.testing.assert_array_equal(short, np.array([1.0, 1.5, 2.0], dtype=np.float32))
    assert short.dtype == np.float32


# -- masked ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path)) as store:
        yield store


def told(store: Store, number: int, losses: list[float], cluster: str = "0") -> None:
    counts = np.bincount([loss_point(loss) for loss in losses], minlength=LOSS_POINTS).tolist()
    signed = Signed(encode_header(header(number, "sketches")), b"s", "server")
    row = RoundRow(number, signed, ("a",), 1, 1.0, None, None, None, cluster=cluster)

    async def work() -> None:
        await store.open_round(row)
        await store.set_sets(number, {"a": ""}, sums={client_weights.LOSSES: counts})

    asyncio.run(work())


def test_the_table_is_made_of_rounds_that_four_clients_are_behind(store: Store) -> None:
    ctx = federation(store, masked=True, rule="q-fedavg")
    assert tuple(FairnessExtension(ctx).statistics(1, "0")) == (f"eval-loss-histogram:{LOSS_POINTS}",)
    told(store, 1, [1.0, 1.0, 1.0])
    assert FairnessExtension(ctx).facts(1, "0") == {}
    told(store, 2, [1.0, 1.0, 2.0, 8.0])
    told(store, 3, [1.0] * 5, cluster="1")
    found = read_table(FairnessExtension(ctx).facts(1, "0")[FACT])
    assert list(found.rounds) == [2]
    assert list(read_table(FairnessExtension(ctx).facts(1, "1")[FACT]).rounds) == [3]
    for number in range(4, 20):
        told(store, number, [float(number)] * 4)
    newest = read_table(FairnessExtension(ctx).facts(1, "0")[FACT]).rounds
    assert list(newest) == list(range(12, 20))
    assert newest[19][40] < newest[12][40]  # the same loss beside a higher typical one


@pytest.mark.parametrize(("masked", "rule"), [(False, "q-fedavg"), (True, "none")])
def test_nothing_is_asked_for_where_no_classes_are_named(store: Store, masked: bool, rule: str) -> None:
    ctx = federation(store, masked=masked, rule=rule)
    assert tuple(FairnessExtension(ctx).statistics(1, "0")) == ()
    assert FairnessExtension(ctx).facts(1, "0") == {}
    assert not client_weights.by_classes(ctx.config)


# -- what is kept ----------------------------------------------------------------------------------------------------

OF = {"a": (0.5, 0.75, 0.25), "b": (0.25, 0.5, 0.75), "c": (1.0, 1.0, 0.5), "d": (0.75, 0.25, 0.5)}


@pytest.fixture(autouse=True)
def accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "accepted_updates", lambda *_: ACCEPTED)


def kept(store: Store, *, masked: bool, sums: dict[str, Any]) -> dict[str, Any]:
    ctx = federation(store, masked=masked, rule="term", t=1.0)
    sees = "sketches" if masked else "updates"
    row = RoundRow(3, Signed(encode_header(header(sees=sees)), b"", ""), ("a",), 1, 1.0, {}, None, None, sums=sums)
    result: Any = SimpleNamespace(quarters={"a": 4, "b": 1}) if masked else None
    return FairnessExtension(ctx).figures(RoundState(row, result=result))


def test_in_the_clear_a_summary_keeps_exact_figures_and_weights(store: Store) -> None:
    async def keep() -> None:
        for at, kind in enumerate(("global", "personal", "alone")):
            found = [(name, evaluation(1.0, accuracy[at])) for name, accuracy in OF.items()]
            await store.add_evaluations(2, [*found, ("", evaluation(1.0, 0.0))], kind=kind)  # type: ignore[arg-type]

    asyncio.run(keep())
    found = kept(store, masked=False, sums={})
    assert {kind: found["spread"][kind]["mean"] for kind in extension.MODELS} == pytest.approx(
        {"global": 0.625, "personal": 0.625, "alone": 0.5}
    )
    assert found["spread"]["global"]["clients"] == 4
    assert found["spread"]["worse_than_alone"] == 0.25
    assert (found["fairness"]["rule"], found["fairness"]["t"]) == ("term", 1.0)
    assert found["fairness"]["weights"]["f"] == 3.0
    assert found["fairness"]["weights"]["d"] == 1.0


def test_behind_masks_a_summary_keeps_what_four_clients_are_behind(store: Store) -> None:
    accuracies = [accuracy for accuracy, _, _ in OF.values()]
    bins = np.bincount([accuracy_bucket(a) for a in accuracies], minlength=ACCURACY_BUCKETS).tolist()
    few = [3, *[0] * (ACCURACY_BUCKETS - 1)]
    sums = {"accuracy-histogram": bins, "alone-histogram": few, "worse-than-alone": [1, 4]}
    found = kept(store, masked=True, sums=sums)
    assert found["spread"].keys() == {"global", "worse_than_alone"}
    assert found["spread"]["global"]["mean"] == pytest.approx(0.625, abs=0.025)
    assert found["spread"]["worse_than_alone"] == 0.25
    assert found["fairness"]["weights"] == {"a": 1.0, "b": 0.25}  # no table came with the jobs: a whole one is 1
    assert "worse_than_alone" not in kept(store, masked=True, sums=sums | {"worse-than-alone": [1, 3]})["spread"]
