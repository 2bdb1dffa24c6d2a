"""Telemetry that is broken: everything that records raises, in this process or in one that a test starts."""

from __future__ import annotations

import inspect
import sys


def break_telemetry() -> None:
    """From now on every registry fails at whatever it is told, and so do the series of single clients.

    Its source is run in other processes: what it needs, it imports.
    """
    from roughfed import telemetry
    from roughfed.server.metrics import client_series

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the registry is broken")

    create = telemetry.Telemetry.__init__

    def create_and_break(self: telemetry.Telemetry, *args: object, **kwargs: object) -> None:
        create(self, *args, **kwargs)  # pyright: ignore[reportArgumentType]
        for name in ("add", "set", "choose", "fill", "observe", "render"):
            setattr(self, name, broken)

    telemetry.Telemetry.__init__ = create_and_break
    for name in ("update", "exclude", "seen", "score", "forget", "updates", "exclusions", "last_seen", "scores"):
        setattr(client_series.ClientSeries, name, broken)
    telemetry.resident_bytes = broken


def broken_bench() -> list[str]:
    """The command of a bench process (`federation.BENCH`) with broken telemetry."""
    lines = [inspect.getsource(break_telemetry), "break_telemetry()"]
    lines += ["import runpy", "runpy.run_module('tests.e2e.synthetic_process', run_name='__main__', alter_sys=True)"]
    return [sys.executable, "-c", "\n".join(lines)]
