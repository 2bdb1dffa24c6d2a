"""Hours in which a client takes part: which clock times are in a window, and when it opens and closes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config.client import ClientConfig
from roughfed.config.load import build
from roughfed.config.schema import keys_of
from roughfed.config.sources import from_flags
from roughfed.errors import ConfigError
from roughfed.windows import AHEAD_MINUTES, Schedule, parse, zone_clock

BERLIN = zone_clock("Europe/Berlin")


def schedule(*windows: str) -> Schedule:
    return Schedule(tuple(map(parse, windows)), BERLIN)


def at(text: str) -> float:
    """A moment, by its time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# 2026-11-25 is a Wednesday; Berlin is at UTC+1 in winter.
TABLE = [
    ("22:00-06:00", "2026-11-25 20:59", False, "2026-11-25 21:00"),
    ("22:00-06:00", "2026-11-25 21:00", True, "2026-11-26 05:00"),
    ("22:00-06:00", "2026-11-26 04:59", True, "2026-11-26 05:00"),
    ("22:00-06:00", "2026-11-26 05:00", False, "2026-11-26 21:00"),
    ("Sat 00:00-24:00", "2026-11-27 22:59", False, "2026-11-27 23:00"),
    ("Sat 00:00-24:00", "2026-11-28 22:59", True, "2026-11-28 23:00"),
    ("Fri 22:00-06:00", "2026-11-28 04:00", True, "2026-11-28 05:00"),  # Saturday morning belongs to Friday's
    ("Fri 22:00-06:00", "2026-11-28 22:00", False, "2026-12-04 21:00"),
    ("Mon-Fri 18:00-08:00", "2026-11-30 05:00", False, "2026-11-30 17:00"),  # Monday's early hours are Sunday's
    ("Sat-Mon 09:00-10:00", "2026-11-29 08:30", True, "2026-11-29 09:00"),
    ("Sun 23:00-24:00", "2026-11-29 22:30", True, "2026-11-29 23:00"),
    ("Sun 23:00-00:00", "2026-11-29 22:30", True, "2026-11-29 23:00"),
    # 29 March 2026: at 02:00 the clock jumps to 03:00 (01:00 UTC).
    ("02:30-05:00", "2026-03-29 00:59", False, "2026-03-29 01:00"),
    ("01:00-02:30", "2026-03-29 00:59", True, "2026-03-29 01:00"),
    ("22:00-06:00", "2026-03-28 22:00", True, "2026-03-29 04:00"),  # an hour shorter
    ("Sun 02:15-02:45", "2026-03-22 01:45", False, "2026-04-05 00:15"),  # the whole window is left out once
    # 25 October 2026: at 03:00 the clock goes back to 02:00 (01:00 UTC).
    ("22:00-06:00", "2026-10-24 21:00", True, "2026-10-25 05:00"),  # an hour longer
    ("22:00-02:30", "2026-10-25 00:29", True, "2026-10-25 00:30"),
    ("22:00-02:30", "2026-10-25 00:30", False, "2026-10-25 01:00"),  # the clock shows 02:00 again
    ("02:30-02:40", "2026-10-25 00:40", False, "2026-10-25 01:30"),  # and 02:30 again
]


@pytest.mark.parametrize(("window", "moment", "is_open", "changes"), TABLE)
def test_windows_follow_the_clock_on_the_wall(window: str, moment: str, is_open: bool, changes: str) -> None:
    hours = schedule(window)
    assert hours.is_open(at(moment)) is is_open
    assert hours.changes(at(moment)) == at(changes)


@pytest.mark.parametrize("windows", [(), ("00:00-24:00",), ("00:00-12:00", "12:00-00:00")])
def test_what_is_always_open_never_changes(windows: tuple[str, ...]) -> None:
    hours = schedule(*windows)
    assert hours.is_open(at("2026-11-25 20:59"))
    assert hours.changes(at("2026-11-25 20:59")) is None


clock_times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda t: f"{t[0]:02}:{t[1]:02}")
spans = st.tuples(clock_times, clock_times).filter(lambda s: s[0] != s[1]).map("-".join)


@given(windows=st.lists(spans, min_size=1, max_size=3), minutes=st.integers(0, 525_600))
def test_until_it_changes_nothing_changes(windows: list[str], minutes: int) -> None:
    hours, moment = schedule(*windows), at("2026-01-01 00:00") + 60 * minutes
    changes = hours.changes(moment)
    end = moment + 60 * AHEAD_MINUTES if changes is None else changes
    middle = (moment + end) / 2
    assert hours.is_open(middle) == hours.is_open(moment)
    if changes is not None:
        assert hours.is_open(changes) != hours.is_open(moment)
        assert BERLIN(changes) > BERLIN(moment) - timedelta(hours=1)


BAD = ["", "22-06", "22:00 - 06:00", "24:00-06:00", "22:60-06:00", "22:00-25:00", "Sam 10:00-11:00", "08:00-08:00"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_window_is_refused_by_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"participate\.windows"):
        build(ClientConfig, from_flags({"participate.windows": json.dumps([text])}, keys_of(ClientConfig)))


def test_a_zone_that_nobody_knows_is_refused_by_key() -> None:
    with pytest.raises(ConfigError, match=r"participate\.timezone"):
        build(ClientConfig, from_flags({"participate.timezone": "Mars/Base"}, keys_of(ClientConfig)))
