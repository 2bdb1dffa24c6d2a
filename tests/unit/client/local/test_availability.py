"""A client and its hours: what it waits for, which jobs it refuses, when it goes; by a clock that jumps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.local.availability import Availability, discharging
from roughfed.config.participate import Participate
from roughfed.errors import StaleRound
from tests.clock import JumpingClock

NIGHT = ("22:00-06:00",)


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-11-25 {text}").replace(tzinfo=UTC).timestamp()


def availability(now: str, *, windows: tuple[str, ...] = NIGHT, **more: object) -> tuple[Availability, JumpingClock]:
    settings = Participate.model_validate({"windows": windows, "timezone": "UTC", **more})
    clock = JumpingClock(at(now))
    return Availability(settings, clock), clock


async def settled() -> None:
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def phases(mine: Availability) -> tuple[list[str], Callable[[], Coroutine[Any, Any, None]]]:
    said: list[str] = []
    return said, lambda: mine.wait_until_open(lambda phase, _: said.append(phase))


def test_outside_its_hours_a_client_is_away_until_the_window_opens() -> None:
    async def play() -> None:
        mine, clock = availability("12:00")
        said, wait_until_open = phases(mine)
        waiting = asyncio.create_task(wait_until_open())
        await settled()
        assert (said, mine.away_until, mine.shown(at("22:00"))) == (["away"], at("22:00"), "Wed 22:00")
        assert not waiting.done()
        clock.jump()
        await waiting
        assert (said, mine.away_until, clock.now()) == (["away", "idle"], None, at("22:00"))

    asyncio.run(play())


@pytest.mark.parametrize("windows", [NIGHT, ()])
def test_within_its_hours_a_client_waits_for_nothing(windows: tuple[str, ...]) -> None:
    mine, _ = availability("23:00", windows=windows)
    said, wait_until_open = phases(mine)
    asyncio.run(wait_until_open())
    assert said == []


# seconds of the job, time, overrun -> whether it is taken; the window closes at 06:00.
JOBS = [
    ("05:50", 600, "0s", True),
    ("05:50", 601, "0s", False),
    ("05:50", 900, "5m", True),
    ("05:50", 901, "5m", False),
    ("12:00", 1, "5m", False),
    ("06:00", 1, "5m", False),
]


@pytest.mark.parametrize(("now", "seconds", "overrun", "taken"), JOBS)
def test_a_job_that_would_not_be_done_in_time_is_refused(now: str, seconds: float, overrun: str, taken: bool) -> None:
    mine, _ = availability(now, overrun=overrun)
    if taken:
        mine.check(seconds)
        return
    with pytest.raises(StaleRound, match="takes part until") as caught:
        mine.check(seconds)
    assert caught.value.reason == "window"


def test_when_the_window_closes_the_round_under_way_is_ended_first() -> None:
    async def play() -> None:
        mine, clock = availability("23:00")
        finish = asyncio.Event()

        async def work() -> None:
            await finish.wait()

        job = asyncio.create_task(work())
        leaving = asyncio.create_task(mine.wait_until_over(lambda: job))
        clock.jump()
        await settled()
        assert not leaving.done()
        finish.set()
        assert await leaving == 16 * 3600  # from 06:00 to 22:00
        assert not job.cancelled()

    asyncio.run(play())


def test_a_round_that_takes_longer_than_the_overrun_goes_on_without_this_client() -> None:
    async def play() -> None:
        mine, clock = availability("23:00", overrun="10m")
        job: asyncio.Task[None] = asyncio.create_task(asyncio.Event().wait())  # pyright: ignore[reportAssignmentType]
        leaving = asyncio.create_task(mine.wait_until_over(lambda: job))
        clock.jump()
        clock.jump()
        assert await leaving == 16 * 3600 - 600
        assert job.cancelled()

    asyncio.run(play())


def test_once_no_job_fits_any_more_the_client_goes_and_does_not_come_back_for_the_rest_of_the_window() -> None:
    async def play() -> None:
        mine, clock = availability("05:00")
        leaving = asyncio.create_task(mine.wait_until_over(lambda: None))
        await settled()
        with pytest.raises(StaleRound):
            mine.check(7200)
        assert await leaving == 17 * 3600
        said, wait_until_open = phases(mine)
        waiting = asyncio.create_task(wait_until_open())
        await settled()
        assert (said, mine.away_until) == (["away"], at("22:00"))
        clock.jump()
        await waiting
        mine.check(7200)

    asyncio.run(play())


def test_a_wait_that_ends_before_the_window_does_goes_on() -> None:
    async def play() -> None:
        mine, clock = availability("23:00", windows=("00:00-24:00",))
        ends = asyncio.Queue[float]()

        async def until(moment: float) -> None:
            assert moment == float("inf")
            clock._now = await ends.get()  # as of a system clock: at most some weeks later

        clock.until = until  # pyright: ignore[reportAttributeAccessIssue]
        leaving = asyncio.create_task(mine.wait_until_over(lambda: None))
        for weeks in (4, 8):
            ends.put_nowait(at("23:00") + weeks * 7 * 86_400)
            await settled()
        assert not leaving.done()
        leaving.cancel()

    asyncio.run(play())


@pytest.mark.parametrize(("load", "most", "taken"), [(4.0, 0.5, True), (4.1, 0.5, False), (80.0, 0.0, True)])
def test_a_busy_machine_sits_out(monkeypatch: pytest.MonkeyPatch, load: float, most: float, taken: bool) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    mine, _ = availability("12:00", windows=(), max_load=most)
    if taken:
        mine.check(600)
        return
    with pytest.raises(StaleRound) as caught:
        mine.check(600)
    assert caught.value.reason == "load"


SUPPLIES = [
    ({"BAT0": ("Battery", "Discharging", "")}, True),
    ({"BAT0": ("Battery", "Charging", ""), "AC": ("Mains", "", "")}, False),
    ({"mouse": ("Battery", "Discharging", "Device"), "AC": ("Mains", "", "")}, False),
    ({}, False),
]


@pytest.mark.parametrize(("supplies", "wanted"), SUPPLIES)
def test_a_battery_that_gives_the_power(tmp_path: Path, supplies: dict[str, tuple[str, ...]], wanted: bool) -> None:
    for name, words in supplies.items():
        (tmp_path / name).mkdir()
        for file, word in zip(("type", "status", "scope"), words, strict=True):
            if word:
                (tmp_path / name / file).write_text(word + "\n")
    assert discharging(tmp_path) is wanted
    clock = JumpingClock(0.0)
    mine = Availability(Participate(on_battery=False), clock, power=tmp_path)
    if wanted:
        with pytest.raises(StaleRound) as caught:
            mine.check(1)
        assert caught.value.reason == "battery"
    else:
        mine.check(1)
