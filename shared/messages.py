"""What the Session stream carries, as plain values (proto/v1/federation.proto describes every field).

`roughfed.wire` turns them into bytes and back; nothing else knows about protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.types import Evaluation, Job, Signed, Spec

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a client. `member` is its serialized SignedRosterEntry."""

    software: str
    protocol: int
    member: bytes
    spec_digest: bytes
    codecs: tuple[str, ...]
    device: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the sender is doing ("idle", "downloading", "training", "uploading") and how far it is, 0 to 1."""

    phase: str = "idle"
    progress: float = 0.0


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """A client's word on its job: `state` is "accepted", "refused" or "failed"."""

    round: int
    state: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Evaluation without training (after the last round)."""

    round: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Welcome:
    """First message of the server. `server` is its serialized SignedRosterEntry.

    `private` has patterns of the names of tensors that stay with each client (`roughfed.scope`).
    """

    software: str
    protocol: int
    run: str
    spec: Spec
    server: bytes
    server_sees: str
    task: str
    rounds: int
    private: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundClosed:
    """How the round ended for this client: `verdict` is "accepted", "excluded", "late" or "absent"."""

    round: int
    outcome: str
    model_version: int
    model_digest: bytes
    verdict: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The server closes this stream; come back after so many seconds."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over."""

    reason: str
    model_version: int
    model_digest: bytes


@dataclass(frozen=True, slots=True)
class ClientStage:
    """A stage of a masked round: "advertise", "shares", "opening", "sketch", "consistency" or "unmask"."""

    kind: str
    signed: Signed


@dataclass(frozen=True, slots=True)
class ServerStage:
    """A stage of a masked round: "roster", "deals", "seed", "conflict", "sets" or "unmask".

    `body` is the serialized message (`roughfed.wire.secagg`); a seed and sets come with the server's signature.
    """

    kind: str
    body: bytes
    signature: bytes = b""


ClientMessage = Hello | Heartbeat | JobUpdate | EvaluationReport | ClientStage
ServerMessage = Welcome | Job | RoundClosed | Reconnect | Finished | Heartbeat | ServerStage
