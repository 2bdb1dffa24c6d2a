"""Messages of the session stream, headers, specs and model requests."""

from __future__ import annotations

from roughfed.messages import (
    Choice,
    ClientStage,
    EvaluationReport,
    Finished,
    Heartbeat,
    Hello,
    JobUpdate,
    Leave,
    Reconnect,
    RoundClosed,
    ServerStage,
    Welcome,
)
from roughfed.secagg import messages as m
from roughfed.types import Job
from roughfed.wire import session as wire
from roughfed.wire.secagg import encode_stage

from .laws import Way, read, seeds_of
from .values import BASE, CLASS, EVALUATION, HEADER, MACHINE, MEMBER, SEEN, SIGNED, SPEC, STAGES, D

RUNS = 5000
WAYS = (
    Way(wire.decode_client_message, wire.encode_client_message),
    Way(wire.decode_server_message),  # a job's signature is checked later, and only a whole one is ever encoded
    Way(wire.decode_header, wire.encode_header),
    Way(wire.decode_spec, wire.encode_spec),
    Way(wire.decode_get_model),
)


def fuzz(data: bytes) -> None:
    read(WAYS, data)


def seeds() -> list[bytes]:
    client = [
        Hello("1.0", 1, MEMBER, D, ("identity", "int8"), "cpu", "thin", True, SEEN),
        Heartbeat("training", 0.5, MACHINE), JobUpdate(7, "refused", "policy", "too few classes"),
        EvaluationReport(7, EVALUATION, EVALUATION),
        Leave("stop", 60.0), Choice(7, 2), ClientStage("sketch", SIGNED(encode_stage(STAGES["sketch"]))),  # type: ignore[arg-type]
    ]  # fmt: skip
    job = Job(
        SIGNED(wire.encode_header(HEADER)), {"epochs": 1, "lr": [0.1]}, 9, True, True, 48, 60.0, D, {"prior": (0.5,)}
    )
    server = [
        Welcome("1.0", 1, "run", SPEC, MEMBER, "sums", "classification", 5, ("head.*",), BASE, (CLASS,), 1.7e9), job,
        RoundClosed(7, "committed", 7, D, "excluded", "norm", "too long"), Reconnect(5.0, "renew"),
        Finished("done", 7, D), ServerStage("sets", b"body", bytes(64)),
        ServerStage("unmask", encode_stage(STAGES["unmask-request"])),  # type: ignore[arg-type]
        ServerStage("conflict", encode_stage(m.Conflict("beta", SIGNED(b"sketch")))),
    ]  # fmt: skip
    return seeds_of(
        *((0, wire.encode_client_message(one)) for one in client),
        *((1, wire.encode_server_message(one)) for one in server),
        (2, wire.encode_header(HEADER)),
        (3, wire.encode_spec(SPEC)),
        (4, wire.encode_get_model(D, 4096, D)),
    )
