"""Examples from an iterable: each round takes what has arrived."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest

import roughfed
from roughfed.data.arriving import Arriving
from roughfed.data.dataset import Dataset
from roughfed.errors import ConfigError


class Source:
    """Gives what is put into it, in order; a number of examples can be waited for."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def put(self, *values: int) -> None:
        """Returns when all of them were taken and one more is asked for."""
        for value in values:
            self._queue.put((np.full(2, value, dtype=np.float32), value))
        asked = threading.Event()
        self._queue.put(asked)
        assert asked.wait(10)

    def end(self, error: Exception | None = None) -> None:
        self._queue.put(error)

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
            elif item is None:
                return
            elif isinstance(item, Exception):
                raise item
            else:
                yield item


def values(stream: Arriving, round: int) -> list[int]:
    return stream.at(round).y.tolist()


def test_a_round_takes_what_has_arrived_and_keeps_it_until_more_comes() -> None:
    source = Source()
    stream = Arriving(source, num_classes=10)
    assert isinstance(stream, roughfed.Stream)
    source._queue.put((np.zeros(2, dtype=np.float32), 3))
    first = stream.at(1)  # waits for the first example
    assert first.y.tolist() == [3]
    assert (first.num_classes, first.input_shape) == (10, (2,))
    source.put(4, 5)
    assert values(stream, 1) == [3]  # the same round, asked again
    assert values(stream, 2) == [4, 5]
    assert values(stream, 3) == [4, 5]
    source.put(6)
    assert values(stream, 2) == [4, 5]
    assert values(stream, 7) == [6]


def exhaust(stream: Arriving) -> list[Dataset]:
    """All of a short iterable: what the first round has, and what the second has once everything was read."""
    first = stream.at(1)
    stream._reader._thread.join(10)
    return [first, stream.at(2)] if len(stream.at(2)) else [first]


def test_ids_follow_from_the_numbers_whenever_they_come() -> None:
    x = np.arange(6, dtype=np.float64).reshape(3, 2)
    streams = (Arriving(zip(x, [0, 1, 2], strict=True)), Arriving(zip(x[::-1], [2, 1, 0], strict=True)))
    one, two = (
        {label: i for part in exhaust(s) for label, i in zip(part.y.tolist(), part.ids.tolist(), strict=True)}
        for s in streams
    )
    assert one == two
    assert len(set(one.values())) == 3
    assert min(one.values()) >= 0


def test_the_iterable_waits_when_nobody_takes_anything() -> None:
    read: list[int] = []
    changed = threading.Condition()

    def endless() -> Iterator[tuple[Any, int]]:
        for number in count():
            with changed:
                read.append(number)
                changed.notify_all()
            yield np.zeros(1), number % 2

    def was_read(want: int) -> bool:
        with changed:
            return changed.wait_for(lambda: len(read) >= want, 10)

    stream = Arriving(endless(), capacity=2)
    taken = len(stream.at(1))
    for round in (2, 3, 4):
        assert was_read(taken + 3)  # two that wait, and one that finds no room
        taken += len(stream.at(round))
        assert len(stream.at(round)) == 2


def test_an_error_of_the_iterable_is_the_rounds_once_nothing_is_left() -> None:
    source = Source()
    stream = Arriving(source)
    source._queue.put((np.zeros(2), 1))
    assert values(stream, 1) == [1]
    source.put(2)
    source.end(OSError("the sensor is gone"))
    assert values(stream, 2) == [2]
    stream._reader._thread.join(10)
    with pytest.raises(OSError, match="sensor is gone"):
        stream.at(3)


def test_an_iterable_that_ends_leaves_its_last_examples() -> None:
    source = Source()
    stream = Arriving(source)
    source._queue.put((np.zeros(2), 1))
    stream.at(1)
    source.end()
    stream._reader._thread.join(10)
    assert values(stream, 2) == [1]


@pytest.mark.parametrize(
    ("examples", "settings", "cause"),
    [
        ([], {}, "ended without an example"),
        ([(np.zeros(2), 0), (np.zeros(3), 0)], {"wait_s": 5}, "different shapes"),
        ([(np.zeros(2, dtype=np.uint8), 0)], {}, "x is uint8"),
        ([(np.zeros(2), 7)], {"num_classes": 3}, r"7\.\.7"),
        ([(np.zeros(2), "cat")], {}, "y is"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(examples: list[Any], settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        exhaust(Arriving(examples, **settings))


def test_the_first_round_does_not_wait_for_ever() -> None:
    stream = Arriving(Source(), wait_s=0.01)
    with pytest.raises(ConfigError, match=r"no example in 0\.01 s"):
        stream.at(1)


def test_no_capacity_is_refused() -> None:
    with pytest.raises(ConfigError, match="too few"):
        Arriving([], capacity=0)
