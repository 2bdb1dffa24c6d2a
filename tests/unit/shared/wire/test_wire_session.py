"""The Session stream: every message comes back as it was, and nothing but a refusal comes out of garbage."""

import json
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed import messages
from roughfed.adapters import Base
from roughfed.errors import LocalProtocolError, RemoteProtocolError, RoughfedError, TooLarge
from roughfed.messages import (
    ClientMessage,
    ClientStage,
    JobUpdate,
    Machine,
    Reconnect,
    Seen,
    ServerMessage,
    ServerStage,
)
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.secagg import messages as m
from roughfed.types import (
    FLOAT_DTYPES,
    MAX_TIERS,
    TIER_NAME,
    ClientTier,
    Evaluation,
    Job,
    RoundHeader,
    Signed,
    Spec,
    TensorSpec,
)
from roughfed.wire import heartbeats as machines_wire
from roughfed.wire import session as wire
from roughfed.wire.enrolment import encode_member
from roughfed.wire.secagg import CLIENT_STAGES, encode_stage

u64, texts, digests = st.integers(0, 2**64 - 1), st.text(max_size=30), st.binary(min_size=32, max_size=32)
u32 = st.integers(0, 2**32 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
members = st.builds(encode_member, st.binary(min_size=1, max_size=40), st.binary(max_size=40))
signed = st.builds(Signed, st.binary(max_size=60), st.binary(min_size=64, max_size=64), texts)
tensors = st.builds(
    TensorSpec,
    st.text(max_size=20),
    st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
    st.sampled_from(FLOAT_DTYPES),
    st.sampled_from(["parameter", "buffer", "variance"]),
)
specs = st.lists(tensors, min_size=1, max_size=6, unique_by=lambda t: t.name).map(lambda rows: Spec(tuple(rows)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
patterns = st.lists(st.text(max_size=30), max_size=5).map(tuple)
tiers = st.lists(
    st.builds(ClientTier, st.from_regex(TIER_NAME, fullmatch=True), u32, patterns, texts, u32, u32, finite, u32, u64,
              digests | st.just(b"")),
    max_size=MAX_TIERS, unique_by=lambda one: one.name,
).map(tuple)  # fmt: skip
counts = st.none() | st.integers(0, machines_wire.MOST_BYTES)
machines = st.builds(
    Machine, counts, counts, st.none() | st.floats(0, 1), st.none() | st.floats(0, machines_wire.MOST_S), counts,
    st.none() | st.floats(0, machines_wire.END_OF_TIME),
)  # fmt: skip
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "software": texts, "protocol": u32, "member": members, "spec_digest": digests | st.just(b""), "device": texts,
    "codecs": st.lists(texts, max_size=5).map(tuple), "phase": texts, "progress": st.floats(0, 1), "round": u64,
    "reason": texts, "detail": texts, "run": texts, "spec": specs, "server": members, "server_sees": texts,
    "task": texts, "rounds": u64, "outcome": texts, "model_version": u64, "model_digest": digests | st.just(b""),
    "verdict": texts, "after_s": st.floats(0, 3600), "header": signed, "seed": u64, "evaluate": st.booleans(),
    "trainer": st.dictionaries(texts, json_values, max_size=4), "train": st.booleans(), "model_bytes": u64,
    "facts": st.dictionaries(texts, st.lists(finite, max_size=4).map(tuple), max_size=3),
    "base_digest": digests | st.just(b""), "seconds_left": st.floats(0, 1e9),
    "private": st.lists(texts, max_size=5).map(tuple), "clusters": u32, "paced": st.booleans(),
    "back_after_s": st.floats(0, wire.MOST_AWAY_S),
    "base": st.none() | st.builds(Base, specs, digests, st.floats(1e-6, 1e6)),
    "state": st.sampled_from(["accepted", "refused", "failed"]),
    "machine": st.none() | machines, "time": st.none() | st.floats(0, machines_wire.END_OF_TIME),
    "tier": st.sampled_from(["", "thin", "h-1"]), "standard_if_few": st.booleans(), "tiers": tiers,
    "number": u64, "place": u32, "question": signed, "seen": st.none() | st.builds(Seen, signed, members),
    "evaluation": st.builds(Evaluation, digests, st.just(3), finite, st.just((1, 2)), st.just((0, 2)), finite),
    "personal": st.none() | st.builds(Evaluation, digests, st.just(2), finite, st.just((2,)), st.just((1,)), finite),
    "alone": st.none() | st.builds(Evaluation, digests, st.just(1), finite, st.just((1,)), st.just((0,)), finite),
}  # fmt: skip


def every(union: Any) -> list[st.SearchStrategy[Any]]:
    """One strategy a message class; a new class or field without a strategy fails here."""
    kinds = [kind for kind in get_args(union) if kind not in (ClientStage, ServerStage)]
    return [st.builds(kind, **{name: FIELDS[name] for name in kind.__slots__}) for kind in kinds] + [STAGES[union]]


client_stages = st.builds(ClientStage, st.sampled_from(sorted(CLIENT_STAGES)), signed)
server_stages = st.one_of(
    st.builds(ServerStage, st.just("seed"), st.binary(max_size=60), st.binary(min_size=64, max_size=64)),
    st.builds(ServerStage, st.just("sets"), st.binary(max_size=60), st.binary(min_size=64, max_size=64)),
    st.builds(
        ServerStage,
        st.just("unmask"),
        st.lists(signed, max_size=3).map(lambda rows: encode_stage(m.UnmaskRequest(tuple(rows)))),
    ),
    st.builds(ServerStage, st.just("conflict"), signed.map(lambda s: encode_stage(m.Conflict("beta", s)))),
)
STAGES: dict[Any, st.SearchStrategy[Any]] = {ClientMessage: client_stages, ServerMessage: server_stages}


@given(message=st.one_of(every(ClientMessage)))
def test_what_a_client_says_comes_back(message: ClientMessage) -> None:
    assert wire.decode_client_message(wire.encode_client_message(message)) == message


@given(message=st.one_of(every(ServerMessage)))
def test_what_the_server_says_comes_back(message: ServerMessage) -> None:
    assert wire.decode_server_message(wire.encode_server_message(message)) == message


headers = st.builds(
    RoundHeader,
    **{name: FIELDS.get(name, digests) for name in RoundHeader.__slots__}
    | dict.fromkeys(("model_digest", "spec_digest"), digests)
    | dict.fromkeys(("nonce_commitment", "epoch_beacon", "members_digest", "draw_beacon"), digests | st.just(b""))
    | dict.fromkeys(("levels", "lane_bits", "keep_one_in", "sketch_dim"), u32)
    | {"codec": texts, "deadline_s": st.floats(0, 1e9), "clip_norm": st.floats(0, 1e9)}
    | {"heads": st.lists(digests, max_size=4).map(tuple)}
    | dict.fromkeys(
        ("round", "model_version", "epoch_round", "members_number", "draw_round"), st.integers(0, 2**62 - 1)
    )
    | {"statistics": st.lists(texts, max_size=5).map(tuple), "tier": st.just("")},
)


@given(header=headers, spec=specs, digest=digests, offset=u64, base=digests | st.just(b""))
def test_headers_specs_and_model_requests_come_back(
    header: RoundHeader, spec: Spec, digest: bytes, offset: int, base: bytes
) -> None:
    assert wire.decode_header(wire.encode_header(header)) == header
    assert wire.decode_spec(wire.encode_spec(spec)) == spec
    assert wire.decode_spec(wire.encode_spec(spec)).digest == spec.digest
    assert wire.decode_get_model(wire.encode_get_model(digest, offset, base)) == (digest, offset, base)


DECODERS: list[Callable[[bytes], Any]] = [
    wire.decode_client_message,
    wire.decode_server_message,
    wire.decode_header,
    wire.decode_spec,
    wire.decode_get_model,
]


def refusal(decode: Callable[[bytes], Any], data: bytes) -> RoughfedError | None:
    try:
        decode(data)
    except RoughfedError as error:
        return error
    return None


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.data())
def test_malformed_bytes_raise_nothing_but_a_refusal(decode: Callable[[bytes], Any], data: st.DataObject) -> None:
    sane = wire.encode_server_message(data.draw(st.one_of(every(ServerMessage))))
    damaged = bytearray(data.draw(st.just(sane) | st.binary(min_size=1, max_size=80)))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    error = refusal(decode, bytes(damaged))
    assert error is None or (type(error) is RemoteProtocolError and len(str(error)) < 1000)


def spec_of(*rows: ten.TensorSpec) -> fed.ServerMessage:
    return fed.ServerMessage(welcome=fed.Welcome(spec=ten.Spec(tensors=rows)))


def row(**fields: Any) -> ten.TensorSpec:
    return ten.TensorSpec(**({"name": "w", "dtype": "float32", "kind": 1, "shape": [2]} | fields))


def job_of(trainer: str) -> fed.ServerMessage:
    return fed.ServerMessage(job=fed.Job(trainer=trainer))


REFUSED_SERVER = {
    "nothing": fed.ServerMessage(),
    "a job taken back, which nobody does": fed.ServerMessage(abort=fed.Abort()),
    "a spec without tensors": spec_of(),
    "a name twice": spec_of(row(), row()),
    "an unknown kind": spec_of(row(kind=7)),
    "no kind": spec_of(row(kind=0)),
    "integers": spec_of(row(dtype="int64")),
    "a shape whose product has a million bits": spec_of(row(shape=[2**64 - 1] * 20_000)),
    "settings that are no JSON": job_of("{"),
    "settings that are no object": job_of("[1]"),
    "settings nested without end": job_of("[" * 200_000),
    "settings with an endless number": job_of('{"a": ' + "9" * 10_000 + "}"),
    "a short digest": fed.ServerMessage(closed=fed.RoundClosed(model_digest=b"x")),
    "a thousand patterns": fed.ServerMessage(
        welcome=fed.Welcome(spec=spec_of(row()).welcome.spec, private=["x"] * 1000)
    ),
}
REFUSED_CLIENT = {
    "nothing": fed.ClientMessage(),
    "a short spec digest": fed.ClientMessage(hello=fed.Hello(spec_digest=b"x")),
    "a thousand codecs": fed.ClientMessage(hello=fed.Hello(codecs=["x"] * 1000)),
    "an unknown state": fed.ClientMessage(job=fed.JobUpdate(state="done")),
    "an evaluation of nothing": fed.ClientMessage(evaluation=fed.EvaluationReport(round=1)),
}


@pytest.mark.parametrize("message", REFUSED_SERVER.values(), ids=REFUSED_SERVER.keys())
def test_server_messages_that_are_refused(message: fed.ServerMessage) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decode_server_message(message.SerializeToString())


@pytest.mark.parametrize("message", REFUSED_CLIENT.values(), ids=REFUSED_CLIENT.keys())
def test_client_messages_that_are_refused(message: fed.ClientMessage) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decode_client_message(message.SerializeToString())


def test_a_peer_cannot_make_us_keep_long_texts() -> None:
    def said(long: str) -> list[bytes]:
        hello = fed.Hello(software=long, device=long, codecs=[long])
        bodies = (
            fed.ClientMessage(hello=hello),
            fed.ClientMessage(heartbeat=fed.Heartbeat(phase=long)),
            fed.ClientMessage(job=fed.JobUpdate(state="failed", reason=long, detail=long)),
        )
        return [body.SerializeToString() for body in bodies]

    for message in said("x" * 3_500):
        assert len(repr(wire.decode_client_message(message))) < 3 * wire.MAX_TEXT
    for message in said("x" * 100_000):
        with pytest.raises(TooLarge):
            wire.decode_client_message(message)


def test_a_message_is_as_long_as_its_kind_may_be_whatever_it_begins_with() -> None:
    small = fed.ClientMessage(leave=fed.Leave(reason="x" * 2_000)).SerializeToString()
    sketch = fed.ClientMessage(sketch=sec.Signed(body=bytes(10))).SerializeToString()
    for message in (small, sketch + small):  # what comes last is what it is
        with pytest.raises(TooLarge, match="at most 1024"):
            wire.decode_client_message(message)
    many = fed.ClientMessage(hello=fed.Hello(codecs=[""] * 40_000)).SerializeToString()
    with pytest.raises(TooLarge, match="at most 65536"):
        wire.decode_client_message(sketch + many)
    with pytest.raises(TooLarge):
        wire.decode_client_message(b"\xfa\x01" + bytes(5_000))  # a field that nobody knows


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_odd_numbers_are_pulled_into_their_range(value: float) -> None:
    beat = fed.ClientMessage(heartbeat=fed.Heartbeat(progress=value)).SerializeToString()
    heartbeat = wire.decode_client_message(beat)
    assert isinstance(heartbeat, messages.Heartbeat)
    assert 0 <= heartbeat.progress <= 1
    again = fed.ServerMessage(reconnect=fed.Reconnect(after_s=value)).SerializeToString()
    reconnect = wire.decode_server_message(again)
    assert isinstance(reconnect, Reconnect)
    assert 0 <= reconnect.after_s <= 3600


def test_an_odd_file_name_in_an_error_reaches_the_server() -> None:
    update = JobUpdate(1, "failed", "storage", "cannot read data-\udce4.csv" + "x" * 5000)
    back = wire.decode_client_message(wire.encode_client_message(update))
    assert isinstance(back, JobUpdate)
    assert back.detail.startswith("cannot read data-?.csv")


def test_a_job_is_not_sent_without_a_signature() -> None:
    job = Job(Signed(b"header", b"", "server"), {}, 1, evaluate=False, train=True, model_bytes=4, seconds_left=1.0)
    with pytest.raises(LocalProtocolError):
        wire.encode_server_message(job)


def test_json_of_a_job_is_the_settings_and_nothing_else() -> None:
    job = Job(Signed(b"h", bytes(64), "s"), {"lr": 0.1}, 1, evaluate=False, train=True, model_bytes=4, seconds_left=1)
    assert json.loads(fed.ServerMessage.FromString(wire.encode_server_message(job)).job.trainer) == {"lr": 0.1}
