"""A value that several checks want and that is worked out once, by whoever comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Call it for the value; the others wait for the first caller."""

    def __init__(self, make: Callable[[], T]) -> None:
        """`make` is called at most once; what it raises is raised to every caller."""
        self._make, self._lock = make, threading.Lock()
        self._made: list[T] = []
        self._failed: BaseException | None = None

    def __call__(self) -> T:
        """The value."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if not self._made:
                try:
                    self._made.append(self._make())
                except BaseException as error:
                    self._failed = error
                    raise
            return self._made[0]
