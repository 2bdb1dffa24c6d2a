"""What Chrome's Trace Event Format asks of a file, checked word by word: what passes here opens in Perfetto.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

COMMON = {"name", "ph", "ts", "pid", "tid"}
ALLOWED = {"X": COMMON | {"cat", "dur", "args"}, "i": COMMON | {"cat", "s", "args"}, "M": COMMON | {"args"}}
METADATA: Mapping[str, tuple[str, type]] = {
    "process_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}


def check(text: str | bytes) -> dict[str, Any]:
    """The document, if it is one; an AssertionError says what is wrong."""
    document = json.loads(text, parse_constant=lambda word: pytest_fail(f"{word} is no JSON"))
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] in ("ms", "ns")
    assert isinstance(document["otherData"], dict)
    named: dict[str, dict[object, str]] = {"process": {}, "thread": {}}
    spans: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    used: set[tuple[int, int]] = set()
    for event in document["traceEvents"]:
        _check_event(event)
        place = event["pid"], event["tid"]
        if event["ph"] == "M":
            kind = event["name"].partition("_")[0]
            if event["name"].endswith("_name"):
                key = event["pid"] if kind == "process" else place
                assert key not in named[kind], f"{key} is named twice"
                named[kind][key] = event["args"]["name"]
            continue
        used.add(place)
        if event["ph"] == "X":
            spans[place].append((event["ts"], event["ts"] + event["dur"]))
    assert used <= named["thread"].keys(), "a thread without a name"
    assert {pid for pid, _ in used} <= named["process"].keys(), "a process without a name"
    names = [(place[0], name) for place, name in named["thread"].items() if isinstance(place, tuple)]
    assert len(names) == len(set(names)), "two threads of a process with one name"
    for place, own in spans.items():
        _check_nesting(place, own)
    return document


def _check_event(event: Mapping[str, Any]) -> None:
    phase = event["ph"]
    assert set(event) == ALLOWED[phase], event
    assert isinstance(event["name"], str)
    assert event["name"]
    assert all(isinstance(event[key], int) and not isinstance(event[key], bool) for key in ("pid", "tid"))
    assert isinstance(event["ts"], int | float)
    assert math.isfinite(event["ts"])
    assert event["ts"] >= 0
    assert isinstance(event["args"], dict)
    if phase == "X":
        assert isinstance(event["dur"], int | float)
        assert 0 <= event["dur"] < math.inf
    if phase == "i":
        assert event["s"] in ("g", "p", "t")
    if phase == "M":
        key, kind = METADATA[event["name"]]
        assert set(event["args"]) == {key}
        assert isinstance(event["args"][key], kind)


def _check_nesting(place: object, spans: list[tuple[int, int]]) -> None:
    """Complete events of a thread are apart, or one lies within the other."""
    open_: list[int] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_ and open_[-1] <= start:
            open_.pop()
        assert not open_ or end <= open_[-1], f"spans of {place} overlap at {start}"
        open_.append(end)


def pytest_fail(why: str) -> None:
    raise AssertionError(why)
