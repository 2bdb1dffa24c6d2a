"""Several traces as one: a client has the same line in every round. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document (`roughfed.server.trace.chrome.document`) out of several.

    Args:
        documents: of one run.

    Returns:
        their events with common thread ids; "otherData" has what each says of itself under "rounds".
    """
    threads: dict[tuple[int, str], int] = {}
    head: dict[tuple[object, ...], dict[str, Any]] = {}
    events: list[dict[str, Any]] = []
    about: list[Mapping[str, Any]] = []
    for each in documents:
        about.append(each["otherData"])
        names = {
            (event["pid"], event["tid"]): event["args"]["name"]
            for event in each["traceEvents"]
            if event["ph"] == "M" and event["name"] == "thread_name"
        }
        for event in each["traceEvents"]:
            place = event["pid"], event["tid"]
            moved = event
            if place in names:
                tid = threads.setdefault((event["pid"], names[place]), len(threads) + 1)
                moved = {**event, "tid": tid}
            if event["ph"] == "M":
                head.setdefault((event["pid"], moved["tid"], event["name"]), moved)
            else:
                events.append(moved)
    return {
        "traceEvents": [*head.values(), *sorted(events, key=lambda event: event["ts"])],
        "displayTimeUnit": "ms",
        "otherData": {"rounds": about},
    }
