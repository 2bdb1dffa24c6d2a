"""Spans and instants as Chrome's Trace Event Format (JSON object form), which Perfetto opens. Pure.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. Complete events ("X"),
instants ("i") and metadata ("M"); times in microseconds. Spans that overlap get lanes of their own: viewers nest what
shares a lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SERVER, CLIENTS = "server", "clients"
PROCESSES = {SERVER: 1, CLIENTS: 2}
SERVER_TRACKS = ("round", "phases", "stages")
"""Above one another; clients follow by name."""


@dataclass(frozen=True, slots=True)
class TraceTrack:
    """A line of the picture: a process ("server" or "clients") and what in it."""

    process: str
    name: str


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time.

    Attributes:
        track: where it is drawn.
        name: what it was.
        start: Unix seconds.
        end: Unix seconds; equal to `start`: an instant.
        args: what a viewer shows beside it.
        instant: whether it is a moment.
    """

    track: TraceTrack
    name: str
    start: float
    end: float
    args: Mapping[str, object] = field(default_factory=dict[str, object])
    instant: bool = False


def document(spans: Sequence[Span], *, about: Mapping[str, object]) -> dict[str, Any]:
    """The file's content.

    Args:
        spans: in any order.
        about: goes under "otherData".
    """
    events: list[dict[str, Any]] = []
    for name, pid in PROCESSES.items():
        events += _named(pid, 0, "process", name, pid)
    for number, (track, own) in enumerate(_tracks(spans), start=1):
        pid = PROCESSES[track.process]
        events += _named(pid, number, "thread", track.name, number)
        events += [_event(span, pid, number) for span in own]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": dict(about)}


def _tracks(spans: Iterable[Span]) -> list[tuple[TraceTrack, list[Span]]]:
    """Tracks in the order in which they are drawn; one whose spans overlap is several."""
    by_track: dict[TraceTrack, list[Span]] = {}
    for span in spans:
        by_track.setdefault(span.track, []).append(span)
    found: list[tuple[TraceTrack, list[Span]]] = []
    for track in sorted(by_track, key=_place):
        for number, lane in enumerate(_lanes(by_track[track])):
            found.append((TraceTrack(track.process, f"{track.name} ({number + 1})") if number else track, lane))
    return found


def _place(track: TraceTrack) -> tuple[int, int, str]:
    own = track.process == SERVER and track.name in SERVER_TRACKS
    return PROCESSES[track.process], SERVER_TRACKS.index(track.name) if own else len(SERVER_TRACKS), track.name


def _lanes(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans so distributed that those of a lane follow one another; moments, which overlap nothing, in the first."""
    lanes: list[list[Span]] = [[]]
    for span in sorted((each for each in spans if not each.instant), key=lambda each: (each.start, each.end)):
        free = (lane for lane in lanes if not lane or micros(lane[-1].end) <= micros(span.start))
        if (lane := next(free, None)) is None:
            lanes.append(lane := [])
        lane.append(span)
    lanes[0] = sorted([*lanes[0], *(each for each in spans if each.instant)], key=lambda each: each.start)
    return lanes


def _event(span: Span, pid: int, tid: int) -> dict[str, Any]:
    start = micros(span.start)
    common = {"name": span.name, "cat": span.track.process, "ts": start, "pid": pid, "tid": tid}
    if span.instant:
        return {"ph": "i", **common, "s": "t", "args": dict(span.args)}
    return {"ph": "X", **common, "dur": max(0, micros(span.end) - start), "args": dict(span.args)}


def _named(pid: int, tid: int, kind: str, name: str, order: int) -> list[dict[str, Any]]:
    common = {"ph": "M", "pid": pid, "tid": tid, "ts": 0}
    return [
        {**common, "name": f"{kind}_name", "args": {"name": name}},
        {**common, "name": f"{kind}_sort_index", "args": {"sort_index": order}},
    ]


def micros(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * 1e6)
