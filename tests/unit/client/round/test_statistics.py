"""What a client promises and gives: only what it would tell, as often as it may, and its weight a round late."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.round import statistics as own
from roughfed.client.storage.store import ClientStore
from roughfed.secagg.adverts import Gives
from roughfed.secagg.statistics import KINDS, read_statistics
from roughfed.trainer_client import Description
from roughfed.training import FitResult
from roughfed.types import Evaluation, Evaluations, Spec, TensorSpec

TEXTS = ("examples:1", "class-count:2", "class-owner:2", "eval-correct:2", "trained:1", "transition:4")
ASKED = read_statistics(TEXTS, 16)
TOLD = {"transition": (5, 1, 0, 4)}


def description(**changes: Any) -> Description:
    sane: dict[str, Any] = {"num_train": 10, "num_test": 4, "num_classes": 2, "class_counts": (6, 4)}
    sane |= {"statistics": ("transition",)} | changes
    return Description(Spec((TensorSpec("w", (4,)),)), "classification", device="cpu", name="a", settings={}, **sane)


def result(statistics: dict[str, tuple[int, ...]] | None = None, weight: float = 1.0) -> FitResult:
    return FitResult(10, 3, {}, 0.1, TOLD if statistics is None else statistics, weight)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def client(store: ClientStore, *, shares: bool = True, **changes: Any) -> Any:
    policy = SimpleNamespace(share_statistics=shares, max_counts=1, max_statistics=100)
    rules = SimpleNamespace(policy=policy, runs=1)
    session = SimpleNamespace(disclosed=DisclosureRecord(store.journal), rules=rules)
    return SimpleNamespace(ctx=SimpleNamespace(store=store, description=description(**changes)), session=session)


def header(number: int = 2, statistics: tuple[str, ...] = TEXTS) -> Any:
    return SimpleNamespace(run="run-1", round=number, statistics=statistics, masked=True)


def job(**trainer: object) -> Any:
    return SimpleNamespace(trainer=trainer, evaluate=True, facts={})


def task(client: Any, job: Any, header: Any) -> Any:
    return SimpleNamespace(ctx=client.ctx, session=client.session, job=job, header=header)


@pytest.mark.parametrize(
    ("changes", "promised"),
    [
        ({}, Gives(True, True, True)),
        ({"shares": False}, Gives()),
        ({"class_counts": ()}, Gives(False, True, True)),
        ({"num_test": 0}, Gives(True, False, True)),
        ({"statistics": ()}, Gives(True, True, False)),
        ({"statistics": ("loss-histogram",)}, Gives(True, True, False)),
    ],
)
def test_a_client_promises_what_it_has_and_would_tell(
    store: ClientStore, changes: dict[str, Any], promised: Gives
) -> None:
    assert own.promises(task(client(store, **changes), job(), header()), ASKED) == promised
    assert own.asked_of_training(task(client(store, **changes), job(), header())) == (
        ("transition:4",) if promised.training else ()
    )


def test_nothing_is_promised_of_a_training_that_is_not_asked(store: ClientStore) -> None:
    assert not own.promises(task(client(store), job(), header()), read_statistics(TEXTS[:3], 16)).training


def test_a_statistic_of_the_training_leaves_a_few_times(store: ClientStore) -> None:
    often, disclosed = KINDS["transition"].often, DisclosureRecord(store.journal)
    for number in range(1, often + 3):
        told = own.promises(task(client(store), job(), header(number)), ASKED).training
        assert told == (number <= often) == bool(own.asked_of_training(task(client(store), job(), header(number))))
        if told:
            asyncio.run(disclosed.record_given("run-1", number, {"transition": 1}))
            assert own.promises(task(client(store), job(), header(number)), ASKED).training  # again after a restart
    renamed = SimpleNamespace(**vars(header()) | {"run": "run-2"})
    assert not own.promises(
        task(client(store), job(), renamed), ASKED
    ).training  # the server's name for it changes nothing
    two = client(store)
    two.session.rules.runs = 2  # the owner's consent to another run does
    assert own.promises(task(two, job(), renamed), ASKED).training
    two.session.rules.policy.max_statistics = often
    assert not own.promises(task(two, job(), renamed), ASKED).training


def test_examples_and_classes_are_told_once_whatever_the_run_is_called(store: ClientStore) -> None:
    """Two runs with and without somebody would otherwise give the counts by subtraction."""
    one = client(store)
    assert own.promises(task(one, job(), header()), ASKED).statics
    asyncio.run(own.record_statics(task(one, job(), header())))
    renamed = SimpleNamespace(**vars(header()) | {"run": "run-2"})
    assert not own.promises(task(one, job(), header(9)), ASKED).statics
    assert not own.promises(task(one, job(), renamed), ASKED).statics
    assert not own.promises(task(client(store, num_train=19), job(), renamed), ASKED).statics
    assert own.promises(task(client(store, num_train=20), job(), renamed), ASKED).statics  # twice as many: other data
    asyncio.run(own.record_statics(task(client(store, num_train=20), job(), renamed)))
    assert not own.promises(task(client(store, num_train=30), job(), renamed), ASKED).statics
    one.session.rules.policy.max_counts = 3
    third = SimpleNamespace(**vars(header()) | {"run": "run-3"})
    assert own.promises(task(one, job(), third), ASKED).statics  # the owner's word
    assert not own.promises(task(one, job(), renamed), ASKED).statics  # once a run even so


@given(st.builds(Gives, st.booleans(), st.booleans(), st.booleans(), st.integers(1, 4)))
def test_a_promise_is_the_same_after_a_restart(gives: Gives) -> None:
    assert own.promised(own.letters_of(gives)) == gives


def test_the_defaults_write_what_they_always_wrote() -> None:
    assert own.letters_of(Gives(True, True)) == "se"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaves_that_was_not_promised_or_does_not_count(kind: str) -> None:
    everything = Gives(True, True, True)
    assert own.may_give(kind, everything, everything)
    guarded = KINDS[kind].static or KINDS[kind].evaluation or KINDS[kind].training
    for gives, counts in ((Gives(), everything), (everything, Gives())):
        assert own.may_give(kind, gives, counts) == (not guarded)


def test_a_weight_counts_from_the_next_round_on_and_only_where_it_is_offered(store: ClientStore) -> None:
    one = client(store)
    found = {1: 1.0, 2: 0.25, 3: 0.6, 4: 0.0, 5: float("nan")}
    used: list[int] = []
    for number, weight in found.items():
        for _ in range(2):  # trained again after a kill
            asyncio.run(own.record_weight(task(one, job(), header(number)), result(weight=weight)))
            now = own.quarters_of(task(one, job(self_weight=True), header(number)))
        used.append(now)
        assert (
            own.quarters_of(task(one, job(), header(number)))
            == own.quarters_of(task(one, job(self_weight=1), header(number)))
            == 4
        )
    assert used == [4, 4, 1, 3, 1]
    assert own.quarters_of(task(one, job(self_weight=True), SimpleNamespace(run="run-2", round=9))) == 4


def test_a_training_that_works_out_a_part_tells_nothing() -> None:
    wanted = ("transition:4", "loss-histogram:32")
    assert own.trained_values(result(), ()) == {}
    assert own.trained_values(result(), wanted) == own.trained_values(result({"transition": (1,)}), wanted[:1]) == {}
    assert own.trained_values(result(TOLD | {"diary": (1,)}), wanted[:1]) == {"trained": (1,), **TOLD}


def test_a_statement_in_the_clear_holds_what_was_asked_cut_to_its_bounds(store: ClientStore) -> None:
    evaluation = Evaluation(bytes(32), 4, 2.0, (2, 2), (1, 2))
    values = own.client_values(description(), Evaluations(evaluation), result())
    values |= {"trained": (7,), "transition": (-1, 2**40, 0, 1)}
    told = own.clear_values(task(client(store), job(), header()), values)
    assert told == {
        "examples": (10,), "class-count": (6, 4), "class-owner": (1, 1), "eval-correct": (1, 2), "trained": (1,),
        "transition": (0, 2**20, 0, 1),
    }  # fmt: skip
    assert own.clear_values(task(client(store, shares=False), job(), header()), values) == {}


def test_who_trains_by_asking_others_tells_what_they_told() -> None:
    evaluation = Evaluation(bytes(32), 4, 2.0, (2, 2), (1, 2))
    asked = dataclasses.replace(result(), class_counts=(5, 7), evaluation=evaluation)
    edge = dataclasses.replace(description(), class_counts=(), num_test=0)

    values = own.client_values(edge, Evaluations(), asked)

    assert values["class-count"] == (5, 7)
    assert values["class-owner"] == (1, 1)
    assert values["eval-correct"] == (1, 2)
    assert "accuracy-histogram" not in values  # it is no single client's accuracy
