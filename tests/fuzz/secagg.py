"""What is signed in the stages of a masked round."""

from __future__ import annotations

from functools import partial

from roughfed.wire.secagg import decode_stage, encode_stage

from .laws import Way, read, seeds_of
from .values import STAGES

RUNS = 5000
WAYS = tuple(Way(partial(decode_stage, type(value)), encode_stage) for value in STAGES.values())


def fuzz(data: bytes) -> None:
    read(WAYS, data)


def seeds() -> list[bytes]:
    return seeds_of(*((number, encode_stage(value)) for number, value in enumerate(STAGES.values())))  # type: ignore[arg-type]
