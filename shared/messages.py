"""What the Session stream carries, as plain values (proto/v1/federation.proto describes every field).

`roughfed.wire` turns them into bytes and back; nothing else knows about protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.adapters import Base
from roughfed.types import ClientTier, Evaluation, Job, Signed, Spec

PROTOCOL = 2
"""The newest version of the protocol that this software speaks, and `OLDEST` the oldest (docs/compatibility.md)."""

OLDEST = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """A header that a client accepted, and the serialized roster entry of the server that signed it."""

    header: Signed
    server: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a client. `member` is its serialized SignedRosterEntry.

    `tier` is the tier that it belongs to ("": the standard one); `standard_if_few`: whether it joins the
    standard tier in rounds that have too few clients of its own. `seen` is the newest header that it accepted.
    """

    software: str
    protocol: int
    member: bytes
    spec_digest: bytes
    codecs: tuple[str, ...]
    device: str
    tier: str = ""
    standard_if_few: bool = False
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """What a client says of its machine; None: not known, or not told.

    Attributes:
        rss_bytes: resident memory of the agent and its trainer together.
        gpu_memory_bytes: memory of the trainer's GPU that is in use.
        gpu_utilization: share of the last moments in which that GPU worked, 0 to 1.
        train_seconds: duration of the last local training.
        samples: examples that it processed; never behind masks, where it would say how much data a client has.
        time: Unix time of the client's clock.
    """

    rss_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    gpu_utilization: float | None = None
    train_seconds: float | None = None
    samples: int | None = None
    time: float | None = None


PHASES = ("idle", "downloading", "choosing", "training", "evaluating", "uploading", "agreeing", "away")
"""What a client may say that it does; a server shows any other word as `OTHER`."""
OTHER = "other"

HELD, ASKED = "held", "asked"
"""Phases of a server's heartbeat to a client that its operator keeps out of the rounds, or not any more."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the sender is doing (`PHASES`) and how far it is, 0 to 1.

    From a server the phase is `HELD` or `ASKED`.
    """

    phase: str = "idle"
    progress: float = 0.0
    machine: Machine | None = None


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """A client's word on its job: `state` is "accepted", "refused" or "failed"."""

    round: int
    state: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Evaluation without training (after the last round); `personal` and `alone` as in an UpdateStatement."""

    round: int
    evaluation: Evaluation
    personal: Evaluation | None = None
    alone: Evaluation | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """The client goes, for example outside its hours ("window"), and will be back after so many seconds."""

    reason: str
    back_after_s: float


@dataclass(frozen=True, slots=True)
class Welcome:
    """First message of the server. `server` is its serialized SignedRosterEntry.

    `private` has patterns of the names of tensors that stay with each client (`roughfed.shared_tensors`), `base` what
    nobody trains and nobody sends (`roughfed.adapters`), `tiers` those that a client may belong to beside the standard
    one. `time` is the server's clock (Unix seconds), where it tells; `paced`, whether transfers wait for their turn;
    `clusters`, how many models clients are asked to choose among, 0 where they never are.
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
    base: Base | None = None
    tiers: tuple[ClientTier, ...] = ()
    time: float | None = None
    paced: bool = False
    clusters: int = 0


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


RENEW = "renew"
"""Reason of a `Reconnect` that leaves the stream open: within `after_s` get a certificate for a new key and return."""


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
class Choose:
    """Which of several models has the least loss here? The server signs it (`roughfed.wire.cluster_choice`)."""

    question: Signed
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The place of a model in a question, from 1; 0 with a reason where the client does not choose."""

    number: int
    place: int
    reason: str = ""


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


ClientMessage = Hello | Heartbeat | JobUpdate | EvaluationReport | Leave | ClientStage | Choice
ServerMessage = Welcome | Job | RoundClosed | Reconnect | Finished | Heartbeat | ServerStage | Choose
