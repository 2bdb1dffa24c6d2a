"""The Session stream and the model request: values to bytes and back (proto/v1/federation.proto)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from roughfed.adapters import Base
from roughfed.errors import RemoteProtocolError
from roughfed.messages import (
    Choice,
    Choose,
    ClientMessage,
    ClientStage,
    EvaluationReport,
    Finished,
    Heartbeat,
    Hello,
    JobUpdate,
    Leave,
    Reconnect,
    RoundClosed,
    ServerMessage,
    ServerStage,
    Welcome,
)
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.training import NO_FACTS
from roughfed.types import Job, RoundHeader, Signed, Spec
from roughfed.wire import cluster_choice
from roughfed.wire.cluster_choice import signed_message
from roughfed.wire.heartbeats import bounded, heartbeat_message, heartbeat_value, moment
from roughfed.wire.job_facts import decode_facts, encode_facts
from roughfed.wire.member_list import member_fields
from roughfed.wire.newest_header import seen_message, seen_value
from roughfed.wire.reports import report_message, report_value
from roughfed.wire.secagg import (
    CLIENT_STAGES,
    STAGE_VALUES,
    client_stage,
    read_client_stage,
    read_server_stage,
    server_stage,
)
from roughfed.wire.sizes import parse_client_message
from roughfed.wire.specs import base_message, base_value, spec_message, spec_value
from roughfed.wire.tiers import tier_messages, tier_name, tier_values
from roughfed.wire.updates import MAX_NAME, digest_field, number_field, parse, text_field

HEADER_DOMAIN = b"roughfed header v1\0"
MAX_TEXT = 2_000
MAX_CODECS = 32
MAX_STATISTICS = 64
MOST_AWAY_S = 8 * 86_400.0  # windows come again within a week
MAX_PATTERNS = 64
MAX_MEMBER_BYTES = 12 << 10  # with a chain of certificates


def encode_client_message(value: ClientMessage) -> bytes:
    """A client's message to bytes."""
    message = fed.ClientMessage()
    match value:
        case Hello():
            member = parse(sec.SignedRosterEntry, value.member)
            message.hello.CopyFrom(
                fed.Hello(
                    software=value.software,
                    protocol=value.protocol,
                    member=member,
                    spec_digest=value.spec_digest,
                    codecs=value.codecs,
                    device=value.device,
                    tier=value.tier,
                    standard_if_few=value.standard_if_few,
                    seen=seen_message(value.seen),
                )
            )
        case Heartbeat():
            message.heartbeat.CopyFrom(heartbeat_message(value))
        case JobUpdate():
            message.job.CopyFrom(
                fed.JobUpdate(
                    round=value.round,
                    state=value.state,
                    reason=text_field(value.reason, MAX_NAME),
                    detail=text_field(value.detail, MAX_TEXT),
                )
            )
        case EvaluationReport():
            message.evaluation.CopyFrom(report_message(value))
        case Leave():
            message.leave.CopyFrom(fed.Leave(reason=value.reason, back_after_s=value.back_after_s))
        case Choice():
            message = cluster_choice.choice_message(value)
        case ClientStage():
            message = client_stage(value)
    return message.SerializeToString()


def decode_client_message(data: bytes) -> ClientMessage:
    """Bytes to a client's message.

    Raises:
        RemoteProtocolError: too long, malformed, or a stage that this version does not speak.
    """
    kind, message = parse_client_message(data)
    match kind:
        case "hello":
            return _hello(message.hello)
        case "heartbeat":
            return heartbeat_value(message.heartbeat)
        case "job":
            return _job_update(message.job)
        case "evaluation":
            return report_value(message.evaluation)
        case "leave":
            return Leave(message.leave.reason[:MAX_NAME], bounded(message.leave.back_after_s, MOST_AWAY_S))
        case "choice":
            return cluster_choice.choice_value(message.choice)
        case str() as kind if kind in CLIENT_STAGES:
            return read_client_stage(kind, message)
        case other:
            raise RemoteProtocolError(f"client message {other} is not spoken here", reason="schema")


def encode_server_message(value: ServerMessage) -> bytes:
    """A server's message to bytes."""
    return _server_message(value).SerializeToString()


def _server_message(value: ServerMessage) -> fed.ServerMessage:
    match value:
        case Welcome():
            return fed.ServerMessage(
                welcome=fed.Welcome(
                    software=value.software,
                    protocol=value.protocol,
                    run=value.run,
                    spec=spec_message(value.spec),
                    server=parse(sec.SignedRosterEntry, value.server),
                    server_sees=value.server_sees,
                    task=value.task,
                    rounds=value.rounds,
                    private=value.private,
                    tiers=tier_messages(value.tiers),
                    base=None if value.base is None else base_message(value.base),
                    time=value.time,
                    paced=value.paced,
                    clusters=value.clusters,
                )
            )
        case Job():
            return fed.ServerMessage(
                job=fed.Job(
                    header=signed_message(value.header),
                    trainer=json.dumps(dict(value.trainer)),
                    seed=value.seed,
                    evaluate=value.evaluate,
                    train=value.train,
                    model_bytes=value.model_bytes,
                    seconds_left=value.seconds_left,
                    base_digest=value.base_digest,
                    facts=encode_facts(value.facts),
                )
            )
        case Heartbeat():
            return fed.ServerMessage(heartbeat=heartbeat_message(value))
        case Choose():
            return fed.ServerMessage(choose=cluster_choice.choose_message(value))
        case ServerStage():
            return server_stage(value)
        case _:
            return fed.ServerMessage(**_flat_server_message(value))


def _flat_server_message(value: RoundClosed | Reconnect | Finished) -> dict[str, Any]:
    match value:
        case RoundClosed():
            closed = fed.RoundClosed(
                round=value.round,
                outcome=value.outcome,
                model_version=value.model_version,
                model_digest=value.model_digest,
                verdict=value.verdict,
                reason=text_field(value.reason, MAX_NAME),
                detail=text_field(value.detail, MAX_TEXT),
            )
            return {"closed": closed}
        case Reconnect():
            return {"reconnect": fed.Reconnect(after_s=value.after_s, reason=value.reason)}
        case Finished():
            finished = fed.Finished(
                reason=value.reason, model_version=value.model_version, model_digest=value.model_digest
            )
            return {"finished": finished}


def decode_server_message(data: bytes) -> ServerMessage:
    """Bytes to a server's message.

    Raises:
        RemoteProtocolError: malformed, or a stage that this version does not speak.
    """
    message = parse(fed.ServerMessage, data)
    match message.WhichOneof("body"):
        case "welcome":
            return _welcome(message.welcome)
        case "job":
            return _job(message.job)
        case "closed" | "finished":
            return _ending(message)
        case "reconnect":
            return Reconnect(bounded(message.reconnect.after_s, 3600.0), message.reconnect.reason)
        case "heartbeat":
            return heartbeat_value(message.heartbeat)
        case "choose":
            return cluster_choice.choose_value(message.choose)
        case str() as kind if kind in STAGE_VALUES:
            return read_server_stage(kind, message)
        case other:
            raise RemoteProtocolError(f"server message {other} is not spoken here", reason="schema")


def job_digest(
    trainer: Mapping[str, object],
    *,
    evaluate: bool,
    facts: Mapping[str, Sequence[float]] = NO_FACTS,
    base: Base | None = None,
) -> bytes:
    """What a header says about the jobs of its round: the same settings, facts and frozen base for everybody.

    Otherwise a server could let one client train and all others stand still, and their sum would be the one's update.
    """
    said: dict[str, object] = {"trainer": dict(trainer), "evaluate": evaluate}
    if facts:
        said["facts"] = {name: [float(value) for value in values] for name, values in facts.items()}
    if base is not None:
        said["base"] = base.commitment.hex()
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"roughfed job v1\0" + text.encode()).digest()


def encode_header(header: RoundHeader) -> bytes:
    """RoundHeader to the bytes that the server signs."""
    return fed.RoundHeader(
        run=header.run,
        round=header.round,
        model_digest=header.model_digest,
        model_version=header.model_version,
        spec_digest=header.spec_digest,
        previous_header_digest=header.previous_header_digest,
        codec=header.codec,
        server_sees=header.server_sees,
        roster_root=header.roster_root,
        deadline_s=header.deadline_s,
        codec_levels=header.levels,
        codec_lane_bits=header.lane_bits,
        codec_keep_one_in=header.keep_one_in,
        clip_norm=header.clip_norm,
        nonce_commitment=header.nonce_commitment,
        sketch_dim=header.sketch_dim,
        epoch_round=header.epoch_round,
        epoch_beacon=header.epoch_beacon,
        statistics=header.statistics,
        job_digest=header.job_digest,
        tiers=tier_messages(header.tiers),
        heads=header.heads,
        **member_fields(header),
    ).SerializeToString(deterministic=True)


def decode_header(data: bytes) -> RoundHeader:
    """Signed bytes to a RoundHeader."""
    m = parse(fed.RoundHeader, data)
    return RoundHeader(
        run=m.run,
        round=number_field(m.round, "round"),
        model_digest=digest_field(m.model_digest, "model_digest"),
        model_version=number_field(m.model_version, "model_version"),
        spec_digest=digest_field(m.spec_digest, "spec_digest"),
        previous_header_digest=digest_field(m.previous_header_digest, "previous_header_digest"),
        codec=m.codec,
        server_sees=m.server_sees,
        roster_root=digest_field(m.roster_root, "roster_root"),
        deadline_s=m.deadline_s,
        levels=m.codec_levels,
        lane_bits=m.codec_lane_bits,
        keep_one_in=m.codec_keep_one_in,
        clip_norm=m.clip_norm,
        nonce_commitment=digest_field(m.nonce_commitment, "nonce_commitment", empty=True),
        sketch_dim=m.sketch_dim,
        epoch_round=number_field(m.epoch_round, "epoch_round"),
        epoch_beacon=digest_field(m.epoch_beacon, "epoch_beacon", empty=True),
        statistics=tuple(m.statistics)[:MAX_STATISTICS],
        job_digest=digest_field(m.job_digest, "job_digest", empty=True),
        tiers=tier_values(m.tiers),
        heads=tuple(digest_field(head, "heads") for head in m.heads[: cluster_choice.MOST_MODELS]),
        **member_fields(m),
    )


def encode_get_model(digest: bytes, from_offset: int, base_digest: bytes = b"", *, waits: bool = False) -> bytes:
    """GetModelRequest to bytes."""
    request = fed.GetModelRequest(digest=digest, from_offset=from_offset, base_digest=base_digest, waits=waits)
    return request.SerializeToString()


def decode_get_model(data: bytes) -> tuple[bytes, int, bytes]:
    """Bytes to (digest, from_offset, base_digest); the last is empty when the parameters themselves are wanted."""
    message = parse(fed.GetModelRequest, data)
    base = digest_field(message.base_digest, "base_digest", empty=True)
    return digest_field(message.digest, "digest"), message.from_offset, base


def encode_spec(spec: Spec) -> bytes:
    """Spec to bytes (for the journal)."""
    return spec_message(spec).SerializeToString(deterministic=True)


def decode_spec(data: bytes) -> Spec:
    """Bytes to a Spec."""
    return spec_value(parse(ten.Spec, data))


def _welcome(m: fed.Welcome) -> Welcome:
    return Welcome(
        software=m.software,
        protocol=m.protocol,
        run=m.run,
        spec=spec_value(m.spec),
        server=m.server.SerializeToString(),
        server_sees=m.server_sees,
        task=m.task,
        rounds=m.rounds,
        private=_patterns(m.private),
        tiers=tier_values(m.tiers),
        base=base_value(m.base) if m.HasField("base") else None,
        time=moment(m.time) if m.HasField("time") else None,
        paced=m.paced,
        clusters=m.clusters,
    )


def _patterns(given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > MAX_PATTERNS or any(len(pattern) > MAX_NAME for pattern in given):
        raise RemoteProtocolError(f"{len(given)} patterns of private tensors, or long ones", reason="schema")
    return tuple(given)


def _job(m: fed.Job) -> Job:
    try:
        trainer: object = json.loads(m.trainer)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"job.trainer is not JSON: {error}", reason="schema") from None
    if not isinstance(trainer, dict):
        raise RemoteProtocolError("job.trainer is not a JSON object", reason="schema")
    header = Signed(m.header.body, m.header.signature, m.header.signer)
    base, facts = digest_field(m.base_digest, "base_digest", empty=True), decode_facts(m.facts)
    return Job(header, trainer, m.seed, m.evaluate, m.train, m.model_bytes, m.seconds_left, base, facts)  # pyright: ignore[reportUnknownArgumentType]


def _job_update(m: fed.JobUpdate) -> JobUpdate:
    if m.state not in ("accepted", "refused", "failed"):
        raise RemoteProtocolError(f"job state {m.state[:40]!r}", reason="schema")
    return JobUpdate(m.round, m.state, m.reason[:MAX_NAME], m.detail[:MAX_TEXT])


def _ending(message: fed.ServerMessage) -> RoundClosed | Finished:
    if message.WhichOneof("body") == "closed":
        m = message.closed
        digest = digest_field(m.model_digest, "model_digest", empty=True)
        return RoundClosed(m.round, m.outcome, m.model_version, digest, m.verdict, m.reason, m.detail)
    m = message.finished
    return Finished(m.reason, m.model_version, digest_field(m.model_digest, "model_digest", empty=True))


def _hello(m: fed.Hello) -> Hello:
    if m.member.ByteSize() > MAX_MEMBER_BYTES:
        raise RemoteProtocolError(f"a roster entry of {m.member.ByteSize()} bytes", reason="size")
    if len(m.codecs) > MAX_CODECS:
        raise RemoteProtocolError(f"{len(m.codecs)} codecs, at most {MAX_CODECS} allowed", reason="schema")
    return Hello(
        software=m.software[:MAX_TEXT],
        protocol=m.protocol,
        member=m.member.SerializeToString(),
        spec_digest=digest_field(m.spec_digest, "spec_digest", empty=True),
        codecs=tuple(name[:MAX_NAME] for name in m.codecs),
        device=m.device[:MAX_TEXT],
        tier=tier_name(m.tier, empty=True),
        standard_if_few=m.standard_if_few,
        seen=seen_value(m.seen) if m.HasField("seen") else None,
    )
