"""Misuse of metrics never raises, and spoils nothing."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from roughfed.client.metrics import ClientMetrics
from roughfed.server.metrics import ServerMetrics
from tests.unit.server.metrics.test_metrics import recording, samples


class Hostile:
    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")


BAD_VALUES = [None, "text", math.nan, math.inf, -1, -1.0, b"x", [], {}, {"a": "b"}, 10**400, Hostile(), object()]


def call(method: Callable[..., Any], *args: object, **kwargs: object) -> None:
    """Record; what goes around the work that it times is entered, too."""
    around = method(*args, **kwargs)
    if isinstance(around, AbstractContextManager):
        with around:
            pass


@pytest.mark.parametrize("make", [ServerMetrics, ClientMetrics])
def test_misuse_never_raises(make: type) -> None:
    m = make()
    methods = recording(make)
    for name, function in methods.items():
        method = getattr(m, name)
        signature = inspect.signature(function)
        for bad in BAD_VALUES:
            parameters = list(signature.parameters.values())[1:]
            call(
                method,
                *(bad for p in parameters if p.kind is not p.KEYWORD_ONLY),
                **{p.name: bad for p in parameters if p.kind is p.KEYWORD_ONLY},
            )
        call(method)
        call(method, 1, 2, 3, 4, 5, 6, 7)
        call(method, nonsense=True)

    assert len(methods) >= 8
    assert samples(m.render())


def test_a_counter_survives_bad_amounts() -> None:
    m = ServerMetrics()
    m.transfer("up", math.nan, math.nan, "identity")  # pyright: ignore[reportArgumentType]
    m.transfer("up", -5, -5, "identity")
    m.transfer("up", 3, 12, "identity")

    assert samples(m.render())["roughfed_transfer_bytes_total{codec=identity,direction=up}"] == 3
