"""Hours in which a client takes part, by the clock on the wall, such as "22:00-06:00" or "Mon-Fri 18:00-08:00".

A window belongs to the day on which it begins; one that ends before it begins ends on the next day. What counts is the
time that a clock of the time zone shows: where an hour is left out in spring, a window that begins in it begins when
the clock has jumped; where an hour comes twice in autumn, a window is open both times that the clock shows its hours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WINDOW = re.compile(r"(?:([A-Z][a-z]{2})(?:-([A-Z][a-z]{2}))?\s+)?(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY = 24 * 60
AHEAD_MINUTES = 15 * _DAY
"""Windows come again within a week; one within the hour that is left out in spring, within two."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of some days of the week.

    Attributes:
        days: on which it begins, 0 (Monday) to 6.
        begin: minutes after midnight, 0 to 1439.
        end: minutes after midnight, 1 to 1440; not after `begin`: on the next day.
    """

    days: frozenset[int]
    begin: int
    end: int

    def has(self, wall: datetime) -> bool:
        """Whether a clock that shows this time is in it."""
        day, minute = wall.weekday(), wall.hour * 60 + wall.minute
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or ((day - 1) % 7 in self.days and minute < self.end)


def parse(text: str) -> Window:
    """Read a window.

    Raises:
        ValueError: it is none; says why in a sentence.
    """
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError("It is no window of hours.")
    first, last, *numbers = found.groups()
    for day in (first, last):
        if day is not None and day not in DAYS:
            raise ValueError(f"There is no day {day}.")
    h0, m0, h1, m1 = map(int, numbers)
    begin, end = 60 * h0 + m0, 60 * h1 + m1
    if m0 > 59 or m1 > 59 or begin >= _DAY or end > _DAY:
        raise ValueError("There is no such time of day.")
    if begin == end % _DAY and end != _DAY:
        raise ValueError("It begins when it ends; a whole day is 00:00-24:00.")
    return Window(_days(first, last), begin, end or _DAY)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    low = DAYS.index(first)
    high = DAYS.index(last or first)
    return frozenset((low + more) % 7 for more in range((high - low) % 7 + 1))


def zone_clock(name: str) -> Callable[[float], datetime]:
    """What a clock of a time zone shows at a moment (Unix seconds); without a name, a clock of this machine.

    Raises:
        zoneinfo.ZoneInfoNotFoundError, ValueError: there is no such zone.
    """
    zone = ZoneInfo(name) if name else None
    return lambda moment: datetime.fromtimestamp(moment, zone)


@dataclass(frozen=True)
class Schedule:
    """Windows by one clock. Moments are Unix seconds.

    Attributes:
        windows: none: always open.
        wall: what the clock shows at a moment.
    """

    windows: Sequence[Window]
    wall: Callable[[float], datetime]

    def is_open(self, moment: float) -> bool:
        """Whether the client may take part then."""
        if not self.windows:
            return True
        wall = self.wall(moment)
        return any(window.has(wall) for window in self.windows)

    def changes(self, moment: float) -> float | None:
        """When it opens if it is closed now, and closes if it is open; None: not within the next two weeks.

        Clocks change by whole minutes, and windows begin and end at such: so it looks at each whole minute to come.
        """
        now, first = self.is_open(moment), math.floor(moment / 60) + 1
        for minute in range(first, first + AHEAD_MINUTES):
            if self.is_open(60.0 * minute) != now:
                return 60.0 * minute
        return None
