"""Streams: tasks as a pure function of the round, and what the protocol asks for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import roughfed
from roughfed.data.dataset import Dataset, concatenate
from roughfed.data.stream import Stream, Tasks, tasks_of

Y = np.array([0, 3, 1, 2, 2, 0, 1])
WHOLE = Dataset(np.arange(7, dtype=np.float32)[:, None], Y, np.arange(70, 77), 4, "mine")


def stream(rounds_per_task: int = 2, delay: int = 0) -> Tasks:
    return tasks_of(WHOLE, [(0, 1), (2,), (3,)], rounds_per_task=rounds_per_task, delay=delay)


@given(rounds_per_task=st.integers(1, 5), delay=st.integers(0, 6), rounds=st.permutations(range(1, 30)))
def test_a_task_is_a_function_of_the_round_and_they_come_in_turn(
    rounds_per_task: int, delay: int, rounds: list[int]
) -> None:
    mine = stream(rounds_per_task, delay)
    found = {r: mine.task(r) for r in rounds}  # asked in any order
    turns = [found[r] for r in sorted(found)]
    assert turns == sorted(turns)
    assert turns[0] == 0
    assert turns.count(0) == rounds_per_task + delay
    assert turns.count(1) == rounds_per_task
    assert turns[-1] == 2
    for r in rounds:
        now = mine.at(r)
        assert set(now.y.tolist()) <= set(mine.classes(found[r]))
        assert now.ids.tolist() == stream(rounds_per_task, delay).at(r).ids.tolist()


def test_the_tasks_together_are_the_whole_and_ids_stay() -> None:
    mine = stream()
    assert [mine.parts[task].ids.tolist() for task in range(3)] == [[70, 72, 75, 76], [73, 74], [71]]
    assert (mine.num_tasks, mine.num_classes) == (3, 4)
    together = concatenate([mine.parts[task] for task in range(3)])
    assert sorted(together.ids.tolist()) == WHOLE.ids.tolist()
    assert mine.whole.ids.tolist() == together.ids.tolist()
    assert mine.at(1) is mine.at(2)  # whoever keeps it on a device need not do so again


def test_a_client_may_have_nothing_of_a_task() -> None:
    lonely = tasks_of(WHOLE.take(np.array([0])), [(0, 1), (2, 3)], rounds_per_task=1)
    assert [len(lonely.at(r)) for r in (1, 2)] == [1, 0]
    assert lonely.at(2).input_shape == (1,)


def test_whatever_has_at_is_a_stream() -> None:
    class Mine:
        def at(self, round: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((round, 2)), np.zeros(round)

    assert roughfed.Stream is Stream
    assert isinstance(Mine(), Stream)
    assert isinstance(stream(), Stream)
    assert not isinstance(WHOLE, Stream)


@pytest.mark.parametrize("noisy", [0, 1, 2])
def test_concatenation_counts_unmarked_labels_as_clean(noisy: int) -> None:
    first = Dataset(WHOLE.x, Y, WHOLE.ids, 4, "mine", true_y=np.zeros(7, dtype=np.int64))
    parts = [*[first] * noisy, *[WHOLE] * (2 - noisy)]
    both = concatenate(parts)
    assert both.ids.tolist() == [*WHOLE.ids, *WHOLE.ids]
    want = [*[0] * 7 * noisy, *Y.tolist() * (2 - noisy)]
    assert (both.true_y is None) if not noisy else both.true_y is not None and both.true_y.tolist() == want
