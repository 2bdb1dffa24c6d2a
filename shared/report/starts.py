"""The starts of the server on its run, in the report: what was changed in between, and which process was cut off."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.report.layout import captioned, note
from roughfed.report.summary import RunSummary, StartSummary
from roughfed.report.tables import UNKNOWN, flat, table


def changes(before: Mapping[str, object], now: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """(dotted key, value before, value now) of the settings that differ; a dash for one that there was not."""
    old, new = dict(flat(before)), dict(flat(now))
    keys = [*new, *(key for key in old if key not in new)]
    return [(key, old.get(key, UNKNOWN), new.get(key, UNKNOWN)) for key in keys if old.get(key) != new.get(key)]


def starts(run: RunSummary) -> str:
    """A row for each start; a sentence where there was only one."""
    if not run.starts:
        return ""
    if len(run.starts) == 1:
        return note("The server was started once: no setting was changed during the run.")
    rows = [
        (
            str(number),
            start.at,
            f"after {start.round}" if start.round else "before the first",
            start.software,
            "" if number == 1 else _end(run.starts[number - 2]),
            "" if number == 1 else "; ".join(_change(*each) for each in start.changed) or "none",
        )
        for number, start in enumerate(run.starts, 1)
    ]
    head = ("start", "when", "round", "roughfed", "the one before", "settings that were changed")
    return captioned(f"The server was started {len(rows)} times", table(head, rows, numeric=(0,)))


def _end(start: StartSummary) -> str:
    if not start.ended:
        return "killed, or failed"
    return "was stopped" if start.ended == "drained" else f"ended ({start.ended})"


def _change(key: str, before: str, now: str) -> str:
    return f"{key}: {before or '(empty)'} -> {now or '(empty)'}"
