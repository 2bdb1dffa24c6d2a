"""What a heartbeat says of a machine: every figure is bounded, and one that cannot be true is one that was not told."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from roughfed.messages import Heartbeat, Machine, Welcome
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.types import Spec, TensorSpec
from roughfed.wire import heartbeats
from roughfed.wire.session import decode_client_message, decode_server_message, encode_server_message

MOST = {
    "rss_bytes": heartbeats.MOST_BYTES,
    "gpu_memory_bytes": heartbeats.MOST_BYTES,
    "gpu_utilization": 1,
    "train_seconds": heartbeats.MOST_S,
    "samples": heartbeats.MOST_SAMPLES,
    "time": heartbeats.END_OF_TIME,
}
WHOLE = {"rss_bytes", "gpu_memory_bytes", "samples"}


def heard(**told: float) -> Machine:
    message = fed.ClientMessage(heartbeat=fed.Heartbeat(phase="idle", machine=fed.Machine(**told)))
    beat = decode_client_message(message.SerializeToString())
    assert isinstance(beat, Heartbeat)
    assert beat.machine is not None
    return beat.machine


def test_every_figure_has_a_bound() -> None:
    assert MOST.keys() == {f.name for f in fields(Machine)}
    assert MOST.keys() == {f.name for f in fed.Machine.DESCRIPTOR.fields}
    assert heard(**MOST) == Machine(**MOST)
    assert heard() == Machine()


@pytest.mark.parametrize("name", MOST)
def test_a_figure_that_cannot_be_true_was_not_told(name: str) -> None:
    odd = (2**64 - 1, MOST[name] + 1) if name in WHOLE else (math.nan, math.inf, -math.inf, -1e-9, MOST[name] * 1.001)
    for value in odd:
        assert heard(**{name: value}) == Machine(), value
    assert getattr(heard(**{name: 0}), name) == 0  # absent and zero are told apart


def test_a_peer_that_knows_nothing_of_machines_is_understood() -> None:
    old = fed.ClientMessage(heartbeat=fed.Heartbeat(phase="training", progress=0.5)).SerializeToString()
    assert decode_client_message(old) == Heartbeat("training", 0.5, None)


@pytest.mark.parametrize(("said", "understood"), [(math.nan, None), (-1.0, None), (1.7e9, 1.7e9), (None, None)])
def test_a_server_clock_that_cannot_be_is_not_told(said: float | None, understood: float | None) -> None:
    welcome = Welcome("1", 1, "run", Spec((TensorSpec("w", (2,)),)), b"", "updates", "classification", 1, time=said)
    decoded = decode_server_message(encode_server_message(welcome))
    assert isinstance(decoded, Welcome)
    assert decoded.time == understood
