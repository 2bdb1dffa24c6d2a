"""Every target with damaged messages: nothing but refusals, little memory, little time (`make fuzz` goes further)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from . import targets as module
from .laws import Way
from .mutator import damaged
from .targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")  # and then we refuse it

MEMORY_BYTES = 64 << 20
SLOW_S = 1.0
"""Of one input. They take microseconds to milliseconds; the rest is for a machine that is busy."""

SEED = 8


def resident(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    row = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field))
    return int(row.split()[1]) << 10


def drive(name: str, runs: int, seed: int) -> None:
    target = module.TARGETS[name]
    seeds = target.seeds()
    for first in seeds:
        target.fuzz(first)  # what is loaded once is no memory of an input
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before, slowest = resident("VmRSS"), (0.0, b"")
    for data in itertools.islice(damaged(seeds, seed), runs):
        started = time.thread_time()
        try:
            target.fuzz(data)
        except Exception as error:
            error.add_note(f"target {name}, input {data!r}")
            raise
        slowest = max(slowest, (time.thread_time() - started, data))
    assert slowest[0] <= SLOW_S, slowest
    assert resident("VmHWM") - before <= MEMORY_BYTES, name


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_message_is_read_or_refused(name: str) -> None:
    drive(name, TARGETS[name].RUNS, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_messages_are_read_or_refused(name: str) -> None:
    drive(name, 30 * TARGETS[name].RUNS, SEED + 1)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if hasattr(target, "WAYS")])
def test_seeds_are_real_messages(name: str) -> None:
    """A corpus that is refused at its first byte would fuzz nothing. Each decoder has a seed that it takes."""
    ways, seeds = getattr(TARGETS[name], "WAYS"), TARGETS[name].seeds()  # noqa: B009
    for seed in seeds:
        way = ways[seed[0]]
        (way.decode if isinstance(way, Way) else way)(seed[1:])
    assert {seed[0] for seed in seeds} == set(range(len(ways)))


def test_corpora_are_the_same_in_every_run() -> None:
    for name in TARGETS.keys() - {"certificates", "enrolment"}:  # ECDSA signatures are not
        assert TARGETS[name].seeds() == TARGETS[name].seeds(), name


def wrong(_: bytes) -> None:
    raise KeyError("a bug")


def hungry(_: bytes) -> None:
    hungry.kept = bytearray(b"x" * (MEMORY_BYTES + (8 << 20)))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("broken", "error"), [(wrong, KeyError), (hungry, AssertionError)])
def test_the_driver_sees_a_broken_target(
    broken: Callable[[bytes], None], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = iter(range(1 << 20))
    target = SimpleNamespace(fuzz=lambda data: broken(data) if next(seen) > 3 else None, seeds=lambda: [b"a", b"b"])
    monkeypatch.setattr(module, "TARGETS", {"broken": target})
    with pytest.raises(error):
        drive("broken", 10, SEED)
