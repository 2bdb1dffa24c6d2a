"""Uploads without gRPC: resumed, repeated, forged, cut, and with values that are no numbers."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roughfed.codec import CODECS
from roughfed.crypto.identity import IdentityKey, verify
from roughfed.digest import content_digest
from roughfed.errors import Conflict, IdentityError, RemoteProtocolError, RoughfedError, StaleRound, TooLarge
from roughfed.server.storage.store import ReceivedUpdate, Store
from roughfed.server.uploads import payload
from roughfed.server.uploads.intake import Intake
from roughfed.server.uploads.payload import OpenRound
from roughfed.types import Receipt, Signed, UpdateStatement
from roughfed.wire.updates import RECEIPT_DOMAIN, UPDATE_DOMAIN, encode_statement, receipt_body

SIZE, RUN, HEADER = 1000, "run-1", bytes([7]) * 32
SERVER, ALPHA = (IdentityKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
DATA = np.arange(SIZE, dtype="<f4").tobytes()
OPEN = OpenRound(RUN, 3, HEADER, len(DATA), {"alpha": ALPHA.public_key})


class Heard:
    """Who would wake the round engine."""

    def __init__(self) -> None:
        self.updates: list[str] = []
        self.errors: list[str] = []

    def received(self, update: ReceivedUpdate) -> None:
        self.updates.append(update.receipt.client)

    def refused(self, client: str, error: RoughfedError) -> None:
        self.errors.append(f"{client}: {error.reason}")


@contextmanager
def server(folder: Path, *, current: OpenRound | None = OPEN) -> Iterator[tuple[Intake, Heard, Store]]:
    """A server's intake; opening it again on the same folder is what a restart is."""
    store, heard = Store(folder), Heard()
    with ThreadPoolExecutor(2) as executor:
        intake = Intake(store, SERVER, executor, heard)
        if current is not None:
            intake.open_round(current)
        yield intake, heard, store
        store.close()


def signed(data: bytes = DATA, *, key: IdentityKey = ALPHA, **changes: object) -> Signed:
    statement = UpdateStatement(
        run=RUN,
        round=3,
        client="alpha",
        header_digest=HEADER,
        digest=content_digest(data),
        size_bytes=len(data),
        num_examples=10,
    )
    body = encode_statement(replace(statement, **changes))
    return Signed(body, key.sign(UPDATE_DOMAIN, body), "")


async def send(intake: Intake, data: bytes = DATA, *, what: Signed | None = None, piece: int = 400) -> Receipt:
    """What the gRPC adapter does."""
    upload = await intake.begin("alpha", what or signed(data))
    if isinstance(upload, Receipt):
        return upload
    for at in range(upload.position, len(data), piece):
        await intake.write("alpha", upload, offset=at, data=memoryview(data)[at : at + piece])
    return await intake.finish("alpha", upload)


async def send_part(intake: Intake, count: int) -> None:
    upload = await intake.begin("alpha", signed())
    assert not isinstance(upload, Receipt)
    await intake.write("alpha", upload, offset=upload.position, data=memoryview(DATA)[upload.position : count])


def spooled(intake: Intake) -> bytes:
    return intake.spool_path(RUN, 3, "alpha").read_bytes()


def test_a_receipt_is_the_servers_word_on_the_bytes_on_disk(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, heard, store):
        receipt = asyncio.run(send(intake))
        assert spooled(intake) == DATA
        assert (receipt.run, receipt.round, receipt.client, receipt.digest) == (RUN, 3, "alpha", content_digest(DATA))
        verify(SERVER.public_key, RECEIPT_DOMAIN, receipt_body(receipt), receipt.signature)
        assert heard.updates == ["alpha"]
        assert list(store.receipts(RUN, 3)) == ["alpha"]


@pytest.mark.parametrize("held", [0, 4, 400, 404, len(DATA) - 4, len(DATA)])
def test_an_upload_goes_on_where_a_crash_left_it(tmp_path: Path, held: int) -> None:
    with server(tmp_path) as (intake, _, _):
        asyncio.run(send_part(intake, held))
    with server(tmp_path) as (intake, heard, _):
        assert asyncio.run(intake.status("alpha", RUN, 3, content_digest(DATA))) == (held, None)
        asyncio.run(send(intake))
        assert spooled(intake) == DATA
        assert heard.updates == ["alpha"]


@pytest.mark.parametrize("torn", [1, 2, 3, 399, 401, 402])
def test_half_a_float_on_disk_is_sent_again(tmp_path: Path, torn: int) -> None:
    with server(tmp_path) as (intake, _, _):
        asyncio.run(send_part(intake, 400))
        os.truncate(intake.spool_path(RUN, 3, "alpha"), torn)
    with server(tmp_path) as (intake, _, _):
        offset, _ = asyncio.run(intake.status("alpha", RUN, 3, content_digest(DATA)))
        assert offset == torn // 4 * 4
        asyncio.run(send(intake))
        assert spooled(intake) == DATA


def test_a_claim_that_a_power_cut_left_half_written_does_not_shut_the_client_out(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, _, _):
        path = intake.spool_path(RUN, 3, "alpha")
        path.write_bytes(b"\xff" * 100)
        path.with_suffix(".claim").write_bytes(b"")
        asyncio.run(send(intake))
        assert spooled(intake) == DATA


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_bytes_have_one_receipt(tmp_path: Path, restart: bool) -> None:
    with server(tmp_path) as (intake, heard, _):
        first = asyncio.run(send(intake))
        if not restart:
            assert asyncio.run(send(intake, what=signed(num_examples=99))) == first
            assert heard.updates == ["alpha"]
    with server(tmp_path) as (intake, heard, store):
        assert asyncio.run(send(intake)) == first
        assert asyncio.run(intake.status("alpha", RUN, 3, first.digest)) == (len(DATA), first)
        assert heard.updates == []  # the round engine counts what the journal holds
        assert store.receipts(RUN, 3)["alpha"].statement.num_examples == 10


@pytest.mark.parametrize("held", [0, 400, len(DATA)])
def test_other_bytes_under_the_same_id_are_a_conflict_for_ever(tmp_path: Path, held: int) -> None:
    other = DATA[::-1]
    with server(tmp_path) as (intake, heard, _):
        asyncio.run(send_part(intake, held))
        if held == len(DATA):
            asyncio.run(send(intake))
        for _ in range(2):
            with pytest.raises(Conflict):
                asyncio.run(send(intake, other))
            with pytest.raises(Conflict):
                asyncio.run(intake.status("alpha", RUN, 3, content_digest(other)))
        asyncio.run(send(intake))
        assert spooled(intake) == DATA
        assert heard.updates == ["alpha"]


STATEMENTS: dict[str, tuple[Signed, type[RoughfedError], str]] = {
    "another run": (signed(run="run-2"), StaleRound, "stale"),
    "an older round": (signed(round=2), StaleRound, "late"),
    "a round to come": (signed(round=4), StaleRound, "stale"),
    "another's name": (signed(client="beta"), RemoteProtocolError, "identity"),
    "another's key": (signed(key=SERVER), IdentityError, "signature"),
    "no signature": (replace(signed(), signature=b""), IdentityError, "signature"),
    "other bytes signed": (replace(signed(), signature=ALPHA.sign(UPDATE_DOMAIN, b"")), IdentityError, "signature"),
    "another round's header": (signed(header_digest=bytes(32)), RemoteProtocolError, "header"),
    "too many bytes": (signed(size_bytes=len(DATA) + 4), RemoteProtocolError, "size"),
    "absurdly many bytes": (signed(size_bytes=2**63), RemoteProtocolError, "size"),
    "too few bytes": (signed(size_bytes=len(DATA) - 4), RemoteProtocolError, "schema"),
    "no examples": (signed(num_examples=0), RemoteProtocolError, "count"),
    "more examples than there are": (signed(num_examples=2**40 + 1), RemoteProtocolError, "count"),
    "no statement": (Signed(b"", bytes(64), ""), RemoteProtocolError, "schema"),
    "garbage": (Signed(b"\xff\xff", bytes(64), ""), RemoteProtocolError, "schema"),
}  # fmt: skip


@pytest.mark.parametrize(("what", "kind", "reason"), STATEMENTS.values(), ids=STATEMENTS.keys())
def test_statements_that_are_refused_leave_nothing_on_disk(
    tmp_path: Path, what: Signed, kind: type[RoughfedError], reason: str
) -> None:
    with server(tmp_path) as (intake, heard, _):
        with pytest.raises(kind) as refused:
            asyncio.run(send(intake, what=what))
        assert refused.value.reason == reason
        assert list((tmp_path / "spool").iterdir()) == []
        assert not heard.updates
        asyncio.run(send(intake))  # and an honest one is still welcome


def test_length_and_signature_come_before_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: bytes) -> UpdateStatement:
        raise AssertionError("it was read")

    body = signed().body
    late, long = signed(round=2), Signed(body + b"\x0a\x00" * 40_000, bytes(64), "")
    stranger = replace(OPEN, members={"ann": ALPHA.public_key})
    with monkeypatch.context() as patch, server(tmp_path) as (intake, _, _):
        patch.setattr(payload, "decode_statement", read)
        for what, kind in ((late, StaleRound), (long, TooLarge), (Signed(body, bytes(64), ""), IdentityError)):
            with pytest.raises(kind):
                asyncio.run(send(intake, what=what))
        intake.open_round(stranger)
        with pytest.raises(StaleRound, match="cohort"):
            asyncio.run(send(intake))


def test_a_round_that_a_statement_names_twice_is_the_last_one(tmp_path: Path) -> None:
    body = signed().body + b"\x10\x02"
    with server(tmp_path) as (intake, _, _), pytest.raises(StaleRound, match="round 2"):
        asyncio.run(send(intake, what=Signed(body, ALPHA.sign(UPDATE_DOMAIN, body), "")))


def test_only_the_cohort_of_an_open_round_may_upload(tmp_path: Path) -> None:
    with server(tmp_path, current=None) as (intake, _, _):
        with pytest.raises(StaleRound) as late:
            asyncio.run(send(intake))
        assert late.value.reason == "late"
        intake.open_round(replace(OPEN, members={"beta": ALPHA.public_key}))
        with pytest.raises(StaleRound) as stranger:
            asyncio.run(send(intake))
        assert stranger.value.reason == "not-in-cohort"


CHUNKS = {
    "a gap": (404, 400, "offset"),
    "an overlap": (396, 400, "offset"),
    "from the start again": (0, 400, "offset"),
    "more than announced": (400, len(DATA), "size"),
    "a float cut in two": (400, 6, "schema"),
}


@pytest.mark.parametrize(("offset", "count", "reason"), CHUNKS.values(), ids=CHUNKS.keys())
def test_chunks_in_the_wrong_place_do_no_harm(tmp_path: Path, offset: int, count: int, reason: str) -> None:
    async def scenario(intake: Intake) -> None:
        upload = await intake.begin("alpha", signed())
        assert not isinstance(upload, Receipt)
        await intake.write("alpha", upload, offset=0, data=memoryview(DATA)[:400])
        with pytest.raises(RemoteProtocolError) as refused:
            await intake.write("alpha", upload, offset=offset, data=memoryview(bytes(count)))
        assert refused.value.reason == reason
        with pytest.raises(RemoteProtocolError) as short:
            await intake.finish("alpha", upload)
        assert short.value.reason == "truncated"
        await intake.write("alpha", upload, offset=400, data=memoryview(DATA)[400:])
        await intake.finish("alpha", upload)

    with server(tmp_path) as (intake, heard, _):
        asyncio.run(scenario(intake))
        assert (spooled(intake), heard.updates, heard.errors) == (DATA, ["alpha"], [])


def poisoned(value: float, at: int) -> bytes:
    values = np.zeros(SIZE, dtype="<f4")
    values[at] = value
    return values.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 99, 100, SIZE - 1])
@pytest.mark.parametrize("restart", [False, True])
def test_values_that_are_no_numbers_are_refused_for_good(tmp_path: Path, value: float, at: int, restart: bool) -> None:
    bad = poisoned(value, at)
    with server(tmp_path) as (intake, heard, _):
        with pytest.raises(RemoteProtocolError) as refused:
            asyncio.run(send(intake, bad))
        assert refused.value.reason == "not-finite"
        assert (heard.updates, heard.errors) == ([], ["alpha: not-finite"])
        if not restart:
            with pytest.raises(RemoteProtocolError, match="refused before"):
                asyncio.run(send(intake))
    with server(tmp_path) as (intake, _, store):
        assert list(store.refusals(3)) == ["alpha"]
        with pytest.raises(RemoteProtocolError, match="refused before"):
            asyncio.run(send(intake))


def test_huge_values_whose_squares_overflow_are_numbers_all_the_same(tmp_path: Path) -> None:
    huge = np.full(SIZE, np.finfo("<f4").max, dtype="<f4").tobytes()
    with server(tmp_path) as (intake, heard, _):
        asyncio.run(send(intake, huge))
        assert heard.updates == ["alpha"]


def test_bytes_that_are_not_the_announced_ones_are_refused(tmp_path: Path) -> None:
    with server(tmp_path) as (intake, heard, store):
        with pytest.raises(RemoteProtocolError) as refused:
            asyncio.run(send(intake, bytes(len(DATA)), what=signed()))
        assert refused.value.reason == "digest"
        assert heard.errors == ["alpha: digest"]
        assert store.receipts(RUN, 3) == {}


# -- other codecs ------------------------------------------------------------------------------------------------------

VALUES = np.random.default_rng(4).normal(size=SIZE).astype(np.float32)
ENCODED = [name for name in CODECS if name != "identity"]


def open_for(codec: str) -> OpenRound:
    return replace(OPEN, size_bytes=CODECS[codec].max_bytes(SIZE), codec=codec, num_params=SIZE)


@pytest.mark.parametrize("piece", [333, 10_000])
@pytest.mark.parametrize("codec", ENCODED)
def test_a_payload_of_any_codec_is_taken_with_the_norm_of_what_it_says(codec: str, piece: int, tmp_path: Path) -> None:
    payload = CODECS[codec].encode(VALUES)
    with server(tmp_path, current=open_for(codec)) as (intake, _, store):
        asyncio.run(send(intake, payload, piece=piece))
        assert spooled(intake) == payload
        said = CODECS[codec].decode(payload, 0, SIZE, size=SIZE).astype(np.float64)
        assert store.receipts(RUN, 3)["alpha"].norm == pytest.approx(np.linalg.norm(said), rel=1e-5)


@pytest.mark.parametrize("codec", ENCODED)
def test_a_malformed_payload_is_refused_for_good(codec: str, tmp_path: Path) -> None:
    payload = CODECS[codec].encode(VALUES)
    bad = b"\xff" * len(payload)  # NaN halves, a NaN scale, places beyond the end
    with server(tmp_path, current=open_for(codec)) as (intake, heard, store):
        with pytest.raises(RemoteProtocolError):
            asyncio.run(send(intake, bad))
        assert len(heard.errors) == 1
        assert store.receipts(RUN, 3) == {}
        with pytest.raises(RemoteProtocolError, match="refused before"):
            asyncio.run(send(intake, bad))


def test_only_a_sparse_codec_may_send_less_and_none_may_send_more(tmp_path: Path) -> None:
    few = np.zeros(SIZE, np.float32)
    few[[3, 500]] = 1
    for number, values in enumerate((few, np.zeros(SIZE, np.float32))):
        payload = CODECS["top-k"].encode(values)
        assert len(payload) == (16, 0)[number]
        folder = tmp_path / str(number)
        with server(folder, current=open_for("top-k")) as (intake, _, _):
            asyncio.run(send(intake, payload))
            assert spooled(intake) == payload
    for codec in ENCODED:
        whole = CODECS[codec].encode(VALUES)
        with server(tmp_path / codec, current=open_for(codec)) as (intake, _, _):
            with pytest.raises(TooLarge):
                asyncio.run(send(intake, whole + bytes(8)))
            if codec != "top-k":
                with pytest.raises(RemoteProtocolError, match="announced"):
                    asyncio.run(send(intake, whole[:-8]))
