"""Heartbeats, and what they say of a client's machine. A figure that cannot be true is one that was not told."""

from __future__ import annotations

import math
from dataclasses import fields

from roughfed.messages import Heartbeat, Machine
from roughfed.pb.v1 import federation_pb2 as fed

MAX_PHASE = 40
MOST_BYTES = 1 << 50
MOST_SAMPLES = 1 << 50
MOST_S = 366 * 86_400.0  # of one training
END_OF_TIME = 1 << 40  # Unix seconds: 36,000 years from now


def heartbeat_message(value: Heartbeat) -> fed.Heartbeat:
    """A heartbeat to its message."""
    message = fed.Heartbeat(phase=value.phase, progress=value.progress)
    if (machine := value.machine) is not None:
        told = {f.name: getattr(machine, f.name) for f in fields(Machine)}
        message.machine.CopyFrom(fed.Machine(**told))  # None sets nothing
    return message


def heartbeat_value(m: fed.Heartbeat) -> Heartbeat:
    """The message as a heartbeat: odd numbers are pulled into their range, or were not told."""
    progress = m.progress if math.isfinite(m.progress) else 0.0
    machine = _machine(m.machine) if m.HasField("machine") else None
    return Heartbeat(m.phase[:MAX_PHASE], min(max(progress, 0.0), 1.0), machine)


def moment(value: float) -> float | None:
    """A Unix time, if it can be one."""
    return _within(value, END_OF_TIME)


def _machine(m: fed.Machine) -> Machine:
    return Machine(
        rss_bytes=_count(m.rss_bytes, MOST_BYTES) if m.HasField("rss_bytes") else None,
        gpu_memory_bytes=_count(m.gpu_memory_bytes, MOST_BYTES) if m.HasField("gpu_memory_bytes") else None,
        gpu_utilization=_within(m.gpu_utilization, 1.0) if m.HasField("gpu_utilization") else None,
        train_seconds=_within(m.train_seconds, MOST_S) if m.HasField("train_seconds") else None,
        samples=_count(m.samples, MOST_SAMPLES) if m.HasField("samples") else None,
        time=moment(m.time) if m.HasField("time") else None,
    )


def _count(value: int, most: int) -> int | None:
    return value if value <= most else None


def _within(value: float, most: float) -> float | None:
    return value if 0.0 <= value <= most else None  # NaN is neither


def bounded(value: float, most: float) -> float:
    """Seconds that a peer says, from 0 to `most`; 0 where they are no number."""
    return min(max(value, 0.0), most) if math.isfinite(value) else 0.0
