"""The fuzz targets: one file and one row each.

A target has `fuzz(data)`, which raises nothing but what is a crash; `seeds()`, real messages that the real encoders
made; and RUNS, how often the short driver calls it (the slower a call, the fewer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from . import (
    backup,
    certificates,
    chunks,
    codecs,
    config,
    enrolment,
    http_head,
    join_line,
    member_lists,
    secagg,
    session,
    shares,
    sketches,
    updates,
)


class Target(Protocol):
    """What a module of a target brings."""

    RUNS: int
    fuzz: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "backup": backup,
        "certificates": certificates,
        "chunks": chunks,
        "codecs": codecs,
        "config": config,
        "enrolment": enrolment,
        "http-head": http_head,
        "join-line": join_line,
        "member-lists": member_lists,
        "secagg": secagg,
        "session": session,
        "shares": shares,
        "sketches": sketches,
        "updates": updates,
    }
)
