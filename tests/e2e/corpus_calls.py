"""Attacks on the calls of the federation port: uploads, downloads, status, sessions, by members and by revoked ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.messages import OLDEST, Choice, Heartbeat, JobUpdate
from roughfed.types import Receipt, Signed
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.enrolment import encode_member, encode_roster_entry, open_member
from roughfed.wire.session import decode_header, encode_client_message, encode_get_model
from roughfed.wire.updates import encode_statement, encode_update_status_request

from .corpus import CALLS, UPDATES, Row, Scene
from .peer import Peer, chunks
from .test_identity import another_ca

ZERO, GARBAGE = bytes(32), b"\xff" * 64
BAD = "INVALID_ARGUMENT"
STALE = "FAILED_PRECONDITION"
DENIED = "PERMISSION_DENIED"
EXHAUSTED = "RESOURCE_EXHAUSTED"


def upload(name: str, how: Callable[[Scene], object], status: str, reason: str, under: str = "") -> Row:
    return Row(name, how, (status, reason), UPDATES, under or reason)


def call(name: str, how: Callable[[Scene], object], status: str, reason: str, under: str = "") -> Row:
    return Row(name, how, (status, reason), CALLS, under or reason)


def data_of(s: Scene) -> bytes:
    """As many bytes as the round asks of a client."""
    return bytes(s.update("c0", 1)[0].size_bytes)


def stated(*, key: IdentityKey | None = None, **changes: Any) -> Callable[[Scene], object]:
    """c5 puts an update whose statement is its own but for the changes."""

    def how(s: Scene) -> object:
        data, peer = data_of(s), s.peers["c5"]
        honest = replace(peer.statement(s.job(1), data), num_examples=0)
        return peer.put(chunks(peer.sign(replace(honest, **changes), key=key), data))

    return how


def of_another(s: Scene) -> object:
    """c0's statement and bytes, put by c5."""
    _, signed, data = s.update("c0", 1)
    return s.peers["c5"].put(chunks(signed, data))


def swapped(s: Scene) -> object:
    """c5's statement under c0's signature."""
    body = encode_statement(replace(s.peers["c5"].statement(s.job(1), data_of(s)), num_examples=0))
    return s.peers["c5"].put(chunks(Signed(body, s.update("c0", 1)[1].signature, "c5"), data_of(s)))


def again(s: Scene) -> object:
    """All of c0's own upload once more: the same receipt, counted once."""
    statement, signed, data = s.update("c0", 1)
    found = s.peers["c0"].put(chunks(signed, data))
    return isinstance(found, Receipt) and (found.digest, found.client) == (statement.digest, "c0")


def other_bytes(number: int, of: int) -> Callable[[Scene], object]:
    """c0 says in a round that its update is another one than it was."""

    def how(s: Scene) -> object:
        peer, data = s.peers["c0"], bytes(s.update("c0", of)[0].size_bytes)
        statement = replace(s.update("c0", of)[0], digest=content_digest(data))
        statement = replace(statement, round=number, header_digest=s.job(number).header.digest)
        return peer.put(chunks(peer.sign(statement), data))

    return how


def replayed(*, header: int = 0) -> Callable[[Scene], object]:
    """c0's upload of round 1, in round 2; or its bytes under a statement for round 2 with the header of round 1."""

    def how(s: Scene) -> object:
        statement, signed, data = s.update("c0", 1)
        if header:
            signed = s.peers["c0"].sign(replace(statement, round=2))
        return s.peers["c0"].put(chunks(signed, data))

    return how


def streamed(make: Callable[[Signed, bytes], Any]) -> Callable[[Scene], object]:
    """c5 begins its update well, and goes on otherwise."""

    def how(s: Scene) -> object:
        data, peer = data_of(s), s.peers["c5"]
        statement = replace(peer.statement(s.job(1), data), num_examples=0)
        return peer.put(make(peer.sign(statement), data))

    return how


def wrong_digest(s: Scene) -> object:
    """What was begun is ended with other bytes: the part that is here may be the disk's fault, the whole is not."""
    data, peer = data_of(s), s.peers["c5"]
    signed = peer.sign(replace(peer.statement(s.job(1), data), num_examples=0))
    return peer.put(itertools.chain([encode_chunk(4096, b"\x01" * (len(data) - 4096), signed)]))


def raw(*pieces: bytes) -> Callable[[Scene], object]:
    """c5 puts these bytes."""
    return lambda s: s.peers["c5"].put(pieces)


def outsider(s: Scene) -> object:
    """A member that this round did not ask."""
    data, peer = data_of(s), s.peers["x0"]
    return peer.put(chunks(peer.sign(replace(peer.statement(s.job(1), data), num_examples=0)), data))


def piece(start: int, stop: int | None = None) -> Callable[[Scene], object]:
    """A first chunk with this part of the update, and no more."""
    return streamed(lambda signed, data: [encode_chunk(start, data[start:stop], signed)])


def reordered(signed: Signed, data: bytes) -> list[bytes]:
    return [encode_chunk(12288, data[12288:], signed), encode_chunk(4096, data[4096:12288])]


def of_nothing(signed: Signed, _: bytes) -> Iterator[bytes]:
    yield encode_chunk(4096, b"", signed)
    yield from itertools.repeat(b"")


NO_STATEMENT = encode_chunk(0, b"abcd")
GARBLED = encode_chunk(0, b"abcd", Signed(GARBAGE, bytes(64), ""))
UPLOADS = [
    upload("an update for another run", stated(run="another"), STALE, "stale"),
    upload("an update for a round to come", stated(round=99), STALE, "stale"),
    upload("an update in another's name", stated(client="c0"), BAD, "identity"),
    upload("an update under another header", stated(header_digest=ZERO), BAD, "header"),
    upload("an update that is too short", stated(size_bytes=4096), BAD, "schema"),
    upload("an update that is said to be huge", stated(size_bytes=1 << 62), EXHAUSTED, "size"),
    upload("an update of another class", stated(tier="thin"), BAD, "class", "other"),
    upload("a masked update with a weight", stated(quarters=2), BAD, "count"),
    upload("a masked update with its examples", stated(num_examples=5), BAD, "count"),
    upload("a masked update with facts", stated(statistics={"trained": (1,)}), BAD, "count"),
    upload("a masked update with metrics", stated(metrics={"loss": 1.0}), BAD, "count"),
    upload("a forged signature", stated(key=IdentityKey.generate()), DENIED, "signature"),
    upload("another's signature", swapped, DENIED, "signature"),
    upload("another's statement and bytes", of_another, DENIED, "signature"),
    upload("a statement that is none", raw(GARBLED), BAD, "schema"),
    upload("no statement", raw(NO_STATEMENT), BAD, "schema"),
    upload("no chunk", raw(), BAD, "truncated"),
    upload("garbage for a chunk", raw(GARBAGE), BAD, "schema"),
    upload("an update of a member outside the cohort", outsider, STALE, "not-in-cohort"),
    upload("an upload that ends early", piece(0, 4096), BAD, "truncated"),
    upload("chunks with a gap", piece(8192), BAD, "offset"),
    upload("chunks in another order", streamed(reordered), BAD, "offset"),
    upload("a chunk twice", piece(0, 4096), BAD, "offset"),
    upload("more than was announced", streamed(lambda s, data: [encode_chunk(4096, data, s)]), EXHAUSTED, "size"),
    upload("chunks of nothing, without end", streamed(of_nothing), BAD, "schema"),
    Row("the own upload again", again, True, "updates_total", "duplicate"),
    upload("other bytes than before", other_bytes(1, 1), "ALREADY_EXISTS", "conflict"),
]
"""In round 1, while c5's own update is held back; `a chunk twice` follows `an upload that ends early`."""


def status(by: str, of: str = "c1", **changes: Any) -> Callable[[Scene], object]:
    """Ask for another's update."""

    def how(s: Scene) -> object:
        statement = replace(s.update(of, 1)[0], **changes)
        return s.peers[by].ask(
            "UpdateStatus", encode_update_status_request(statement.run, statement.round, statement.digest)
        )

    return how


OF_ROUND_1 = [
    upload("the update of the round before", replayed(), STALE, "late"),
    upload("the update of the round before under its old header", replayed(header=1), BAD, "header"),
    upload("other bytes in the next round", other_bytes(2, 2), "ALREADY_EXISTS", "conflict"),
    call("the status of the round before", status("c0", "c0"), STALE, "late", "stale"),
]


def model(by: str, digest: bytes | None = None, offset: int = 0, base: bytes = b"") -> Callable[[Scene], object]:
    """Download, by default the present model."""

    def how(s: Scene) -> object:
        present = decode_header(s.job(1).header.body).model_digest
        return s.peers[by].read(encode_get_model(present if digest is None else digest, offset, base))

    return how


DOWNLOADS = [
    call("another's digest: is it here?", status("c0"), "ALREADY_EXISTS", "conflict", "other"),
    call("the status of an update from outside the cohort", status("x0"), STALE, "not-in-cohort", "other"),
    call("the status of an update of another run", status("c0", "c0", run="another"), STALE, "stale"),
    call("the status of an update by a revoked member", status("r0"), DENIED, "revoked"),
    call("garbage for a status", lambda s: s.peers["x0"].ask("UpdateStatus", GARBAGE), BAD, "schema"),
    call("a model that is not here", model("c0", ZERO), BAD, "unknown-model"),
    call("an update's digest as a model", lambda s: model("x0", s.update("c0", 1)[0].digest)(s), BAD, "unknown-model"),
    call("a delta from a model that is not here", model("c0", base=ZERO), BAD, "no-delta", "unknown-model"),
    call("a model from beyond its end", model("c0", offset=1 << 40), BAD, "offset"),
    call("garbage for a model", lambda s: s.peers["x0"].read(GARBAGE), BAD, "schema"),
    call("the model, by a revoked member", model("r0"), DENIED, "revoked"),
]


def first(make: Callable[[Scene, Peer], bytes], by: str = "x1") -> Callable[[Scene], object]:
    """A session that begins with this."""

    def how(s: Scene) -> object:
        s.peers[by].open(make(s, s.peers[by]))
        return s.peers[by].end()

    return how


def second(make: Callable[[Scene, Peer], bytes]) -> Callable[[Scene], object]:
    """A session that begins well, and goes on with this."""

    def how(s: Scene) -> object:
        s.peers["x1"].join()
        s.peers["x1"].send(make(s, s.peers["x1"]))
        return s.peers["x1"].end()

    return how


def hello(**changes: Any) -> Callable[[Scene, Peer], bytes]:
    return lambda _, peer: encode_client_message(peer.hello(**changes))


def of_another_member(s: Scene, peer: Peer) -> bytes:
    return encode_client_message(peer.hello(member=s.relay.papers["c0"].member))


def of_another_ca(_: Scene, peer: Peer) -> bytes:
    """Its own roster entry, signed by a CA that is not this federation's."""
    papers = peer.papers
    entry = encode_roster_entry(open_member(papers.member, papers.ca_certificate))
    return encode_client_message(peer.hello(member=encode_member(entry, another_ca().sign_roster(entry))))


def words(*messages: Any) -> Callable[[Scene], object]:
    """Say things that are not heeded; the session goes on, and a last word that is none ends it."""

    def how(s: Scene) -> object:
        s.peers["x1"].join()
        for message in messages:
            s.peers["x1"].send(encode_client_message(message))
        s.peers["x1"].send(GARBAGE)
        return s.peers["x1"].end()

    return how


SCHEMA = (BAD, "schema")
WORDS = words(Choice(7, 1), JobUpdate(99, "failed", "trainer"))
SESSIONS = [
    call("no hello", first(lambda *_: encode_client_message(Heartbeat("idle", 0.0))), *SCHEMA),
    call("garbage for a hello", first(lambda *_: GARBAGE), *SCHEMA),
    call("another protocol", first(hello(protocol=OLDEST - 1)), BAD, "version", "other"),
    call("another's roster entry", first(of_another_member), DENIED, "impersonation", "identity"),
    call("a roster entry of another CA", first(of_another_ca), DENIED, "roster", "identity"),
    call("another model", first(hello(spec_digest=ZERO)), *SCHEMA),
    call("a session of a revoked member", first(hello(), by="r0"), DENIED, "revoked"),
    call("a second hello", second(hello()), *SCHEMA),
    call("a state that is none", second(lambda *_: encode_client_message(JobUpdate(1, "received"))), *SCHEMA),
    call("an answer to no question, a word about another round, garbage", WORDS, *SCHEMA),
]
"""Nobody of these has a seat in the round. The last one counts three times: twice as stale."""
