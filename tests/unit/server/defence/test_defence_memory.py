"""What a defence remembers from round to round is the same whenever it is asked for, and is only its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from roughfed.errors import LocalProtocolError
from roughfed.server.defence import Rule, Situation, Verdict, view_of_arrays
from roughfed.server.defence.memory import RESERVED, ConfiguredRule, DefenceStore
from roughfed.server.storage.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path)) as opened:
        yield opened


def judged(memory: DefenceStore, number: int, **state: float) -> None:
    """A round of which there is a verdict."""
    asyncio.run(opened(memory, number))
    verdict = Verdict(scores={"a": float(number)}, state={name: np.array([value]) for name, value in state.items()})
    memory.keep(number, verdict, judged=7, tolerated=2)
    asyncio.run(opened(memory, number))


async def opened(memory: DefenceStore, number: int) -> int:
    seed = memory.seed(number)
    await memory._journal.write(lambda _: None)  # pyright: ignore[reportPrivateUsage]
    return seed


def state_of(memory: DefenceStore, number: int) -> dict[str, float]:
    return {name: float(value[0]) for name, value in memory.before(number).items()}


def test_the_state_of_a_verdict_stays_although_rounds_without_a_verdict_came_between(store: Store) -> None:
    """Round 2 and 3 were void: a crash after the verdict of round 4 must find what it was made with."""
    memory = DefenceStore(store.journal, "mine")
    judged(memory, 1, a=1.0)
    for void in (2, 3):
        asyncio.run(opened(memory, void))
    judged(memory, 4, a=4.0)
    assert state_of(memory, 4) == {"a": 1.0}
    judged(memory, 4, a=4.0)
    assert (state_of(memory, 4), state_of(memory, 5)) == ({"a": 1.0}, {"a": 4.0})
    judged(memory, 5, a=5.0)
    rounds = [row["round"] for row in store.journal.read("SELECT round FROM defence ORDER BY round")]
    assert rounds == [4, 5]  # older ones are of no use


def test_a_rule_that_forgets_everything_has_forgotten_it(store: Store) -> None:
    memory = DefenceStore(store.journal, "mine")
    judged(memory, 1, a=1.0)
    judged(memory, 2)
    assert state_of(memory, 3) == {}


def test_a_rule_is_never_given_what_another_one_remembered(store: Store) -> None:
    """Settings may change between rounds, and a client may be called as another rule calls its arrays."""
    judged(DefenceStore(store.journal, "foolsgold"), 1, key=1.0)
    assert state_of(DefenceStore(store.journal, "default"), 2) == {}
    assert state_of(DefenceStore(store.journal, "foolsgold"), 2) == {"key": 1.0}


def test_what_is_told_of_a_round_is_what_the_rule_was_told(store: Store) -> None:
    memory = DefenceStore(store.journal, "mine")
    judged(memory, 1)
    asyncio.run(opened(memory, 2))
    told = memory.told(1)
    assert told is not None
    assert (told.judged, told.tolerated, told.scores) == (7, 2, {"a": 1.0})
    assert memory.told(2) is memory.told(3) is None


@pytest.mark.parametrize("excluded", [{"eve": "far"}, *({"a": reason} for reason in sorted(RESERVED))])
def test_a_rule_leaves_out_only_whom_it_saw_and_for_a_reason_of_its_own(store: Store, excluded: dict[str, str]) -> None:
    rule = Rule("for a test", ("updates",), lambda _: 1, lambda _view, _situation: Verdict(excluded))
    view = view_of_arrays({"a": np.ones(3, dtype=np.float32), "b": np.ones(3, dtype=np.float32)}, kind="updates")
    with pytest.raises(LocalProtocolError, match="eve" if "eve" in excluded else "something else"):
        ConfiguredRule("mine", rule, 0, DefenceStore(store.journal, "mine")).judge(view, Situation(0))
