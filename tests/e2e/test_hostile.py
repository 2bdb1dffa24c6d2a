"""What a member with valid papers may send: each is refused with its status and reason, and the honest run goes on."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.synthetic import pieces
from roughfed.messages import OLDEST, EvaluationReport, Heartbeat, JobUpdate
from roughfed.types import Evaluation, Job, Receipt, Signed
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import encode_client_message, encode_get_model
from roughfed.wire.updates import decode_update_status, encode_update_status_request

from .federation import Cluster, value
from .peer import Peer, Refusal, chunks, enrol

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

SCHEMA = ("INVALID_ARGUMENT", "schema")
GARBAGE = b"\xff" * 64


def update_of(job: Job, params: int) -> bytes:
    """The bytes that an honest synthetic client would send."""
    return np.concatenate(list(pieces(params, job.seed))).tobytes()


def endless(signed: Signed, at: int) -> Iterator[bytes]:
    """Zeros without end."""
    zeros = bytes(1 << 20)
    for number in itertools.count():
        yield encode_chunk(at + number * len(zeros), zeros, None if number else signed)


def bad_statements(peer: Peer, job: Job, data: bytes) -> dict[str, object]:
    """Statements that no upload may begin with."""

    def tried(*, key: IdentityKey | None = None, **changes: object) -> object:
        return peer.put(chunks(peer.sign(peer.statement(job, data, **changes), key=key), data))

    return {
        "another run": tried(run="another"),
        "a round that never was": tried(round=99),
        "another client's name": tried(client="c0"),
        "another header": tried(header_digest=bytes(32)),
        "a shape that is too small": tried(size_bytes=len(data) - 4),
        "an oversized declaration": tried(size_bytes=1 << 62),
        "no examples": tried(num_examples=0),
        "too many examples": tried(num_examples=1 << 60),
        "a forged signature": tried(key=IdentityKey.generate()),
        "a garbled statement": peer.put([encode_chunk(0, data[:4], Signed(GARBAGE, bytes(64), ""))]),
        "no statement": peer.put([encode_chunk(0, data[:4])]),
        "no chunk at all": peer.put([]),
        "garbage for a chunk": peer.put([GARBAGE]),
    }


BAD_STATEMENTS = {
    "another run": ("FAILED_PRECONDITION", "stale"),
    "a round that never was": ("FAILED_PRECONDITION", "stale"),
    "another client's name": ("INVALID_ARGUMENT", "identity"),
    "another header": ("INVALID_ARGUMENT", "header"),
    "a shape that is too small": SCHEMA,
    "an oversized declaration": ("RESOURCE_EXHAUSTED", "size"),
    "no examples": ("INVALID_ARGUMENT", "count"),
    "too many examples": ("INVALID_ARGUMENT", "count"),
    "a forged signature": ("PERMISSION_DENIED", "signature"),
    "a garbled statement": SCHEMA,
    "no statement": SCHEMA,
    "no chunk at all": ("INVALID_ARGUMENT", "truncated"),
    "garbage for a chunk": SCHEMA,
}


def bad_streams(peer: Peer, job: Job, data: bytes) -> dict[str, object]:
    """Uploads that begin well. The last one spoils this client's update of the round."""
    signed = peer.sign(peer.statement(job, data))
    other = bytes(len(data))
    return {
        "a truncated stream": peer.put([encode_chunk(0, data[:4096], signed)]),
        "a gap": peer.put([encode_chunk(8192, data[8192:12288], signed)]),
        "an overlap": peer.put([encode_chunk(0, data[:4096], signed)]),
        "a float cut in two": peer.put([encode_chunk(4096, data[4096:4102], signed)]),
        "the same id, other bytes": peer.put(chunks(peer.sign(peer.statement(job, other)), other)),
        "a stream of nothing": peer.put(itertools.chain([encode_chunk(4096, b"", signed)], itertools.repeat(b""))),
        "a stream without end": peer.put(endless(signed, 4096)),
    }


BAD_STREAMS = {
    "a truncated stream": ("INVALID_ARGUMENT", "truncated"),
    "a gap": ("INVALID_ARGUMENT", "offset"),
    "an overlap": ("INVALID_ARGUMENT", "offset"),
    "a float cut in two": SCHEMA,
    "the same id, other bytes": ("ALREADY_EXISTS", "conflict"),
    "a stream of nothing": SCHEMA,
    "a stream without end": ("RESOURCE_EXHAUSTED", "size"),
}


def bad_requests(peer: Peer, job: Job, model: bytes) -> dict[str, object]:
    """The other calls."""
    run = peer.statement(job, b"").run
    return {
        "a model that is not here": peer.read(encode_get_model(bytes(32), 0)),
        "an offset beyond the end": peer.read(encode_get_model(model, 1 << 40)),
        "garbage for a model request": peer.read(GARBAGE),
        "a short digest": peer.read(encode_get_model(b"short", 0)),
        "the status of another round": peer.ask("UpdateStatus", encode_update_status_request(run, 99, bytes(32))),
        "garbage for a status request": peer.ask("UpdateStatus", GARBAGE),
        "a message beyond the limit": peer.ask("UpdateStatus", bytes(5 << 20)),
        "no such method": peer.ask("Shutdown", b""),
    }


BAD_REQUESTS = {
    "a model that is not here": ("INVALID_ARGUMENT", "unknown-model"),
    "an offset beyond the end": ("INVALID_ARGUMENT", "offset"),
    "garbage for a model request": SCHEMA,
    "a short digest": SCHEMA,
    "the status of another round": ("FAILED_PRECONDITION", "stale"),
    "garbage for a status request": SCHEMA,
    "a message beyond the limit": ("RESOURCE_EXHAUSTED", ""),
    "no such method": ("UNIMPLEMENTED", ""),
}


def bad_sessions(peer: Peer, other: Peer) -> dict[str, Refusal]:
    """First messages, and second ones. `peer` is no member of the cohort."""
    hello = encode_client_message(peer.hello())
    forged = bytearray(peer.papers.member)
    forged[-1] ^= 1
    heartbeat = encode_client_message(Heartbeat("idle", 0.0))
    contradiction = Evaluation(bytes(32), 1, 0.0, (1,), (5,))
    firsts = {
        "no hello": heartbeat,
        "garbage for a hello": GARBAGE,
        "another protocol": encode_client_message(peer.hello(protocol=OLDEST - 1)),
        "another's roster entry": encode_client_message(other.hello()),
        "a forged roster entry": encode_client_message(peer.hello(member=bytes(forged))),
        "another model": encode_client_message(peer.hello(spec_digest=bytes(32))),
    }
    seconds = {
        "a second hello": hello,
        "garbage in a session": GARBAGE,
        "an empty message": b"",
        "a state that is none": encode_client_message(JobUpdate(1, "conquered")),
        "counts that contradict": encode_client_message(EvaluationReport(1, contradiction)),
    }
    ends: dict[str, Refusal] = {}
    for name, first in firsts.items():
        peer.open(first)
        ends[name] = peer.end()
    for name, second in seconds.items():
        peer.join()
        peer.send(second)
        ends[name] = peer.end()
    return ends


BAD_SESSIONS = {
    "no hello": SCHEMA,
    "garbage for a hello": SCHEMA,
    "another protocol": ("INVALID_ARGUMENT", "version"),
    "another's roster entry": ("PERMISSION_DENIED", "impersonation"),
    "a forged roster entry": ("PERMISSION_DENIED", "roster"),
    "another model": SCHEMA,
    "a second hello": SCHEMA,
    "garbage in a session": SCHEMA,
    "an empty message": SCHEMA,
    "a state that is none": SCHEMA,
    "counts that contradict": SCHEMA,
}


def test_hostile_members_are_refused_and_the_run_ends_as_without_them(tmp_path: Path) -> None:
    settings = {"round": {"quorum": 3, "min_clients": 6}, "metrics": {"per_client": "all"}}
    with Cluster(tmp_path, settings=settings) as cluster:
        server = cluster.start_server()
        server.ready()
        clients = cluster.start_clients()
        papers = [enrol(cluster, name) for name in ("x0", "x1", "x2", "x3")]
        replayer, liar, poisoner, stranger = (Peer(cluster.address, own) for own in papers)
        with replayer, liar, poisoner, stranger:
            for peer in (replayer, liar, poisoner):
                peer.join()
            jobs = {peer: peer.next(Job) for peer in (replayer, liar, poisoner)}
            data = update_of(jobs[liar], cluster.params)
            honest = update_of(jobs[replayer], cluster.params)
            model = bytes.fromhex(cluster.model_digests()[0])

            assert bad_statements(liar, jobs[liar], data) == BAD_STATEMENTS
            assert bad_streams(liar, jobs[liar], data) == BAD_STREAMS
            assert bad_requests(liar, jobs[liar], model) == BAD_REQUESTS
            assert bad_sessions(stranger, liar) == BAD_SESSIONS
            spooled = [path.stat().st_size for path in (cluster.place.state / "spool").iterdir()]
            assert max(spooled) <= 4 * cluster.params

            nan = np.full(cluster.params, np.nan, dtype=np.float32).tobytes()
            poison = poisoner.sign(poisoner.statement(jobs[poisoner], nan))
            assert poisoner.put(chunks(poison, nan)) == ("INVALID_ARGUMENT", "not-finite")
            assert poisoner.put(chunks(poison, nan)) == ("INVALID_ARGUMENT", "not-finite")  # for ever
            recorded = list(chunks(replayer.sign(replayer.statement(jobs[replayer], honest)), honest))
            receipt = replayer.put(recorded)
            assert isinstance(receipt, Receipt)
            # Zeros of the endless stream are what the server holds now; for all it knows, its own disk did that.
            spoilt = liar.statement(jobs[liar], data)
            asked = liar.ask("UpdateStatus", encode_update_status_request(spoilt.run, 1, spoilt.digest))
            assert isinstance(asked, bytes)
            at, _ = decode_update_status(asked)
            assert liar.put(chunks(liar.sign(spoilt), data, at=at)) == ("RESOURCE_EXHAUSTED", "storage")
            assert liar.put(chunks(liar.sign(spoilt), bytes(len(data)))) == ("INVALID_ARGUMENT", "digest")

            again = {peer: peer.next(Job) for peer in (replayer, liar, poisoner)}  # the second round
            assert replayer.put(recorded) == ("FAILED_PRECONDITION", "late")
            old = replayer.statement(again[replayer], honest, header_digest=jobs[replayer].header.digest)
            assert replayer.put(chunks(replayer.sign(old), honest)) == ("INVALID_ARGUMENT", "header")
            page = cluster.page("/metrics")
            for peer in (replayer, liar, poisoner):
                peer.send(encode_client_message(JobUpdate(2, "refused", "policy")))

            assert [p.wait() for p in (server, *clients)] == [0, 0, 0, 0]

        assert cluster.accepted() == {1: [*cluster.names, "x0"], 2: cluster.names}
        assert cluster.model_digests() == cluster.expected_digests(cluster.accepted())
        counted = {reason: value(page, "roughfed_updates_rejected_total", reason=reason) for reason in COUNTED}
        assert counted == COUNTED
        assert "Traceback" not in "\n".join(server.lines)


COUNTED = {
    "stale": 2.0, "identity": 1.0, "header": 2.0, "schema": 6.0, "size": 2.0, "count": 2.0, "signature": 1.0,
    "truncated": 2.0, "offset": 2.0, "conflict": 1.0, "not-finite": 2.0, "digest": 1.0, "late": 1.0, "storage": 1.0,
    "other": 0.0,
}  # fmt: skip
