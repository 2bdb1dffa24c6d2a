"""Step 1 of a job: parameters that come in pieces, over cut connections, onto a disk that may hold damaged ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import numpy as np
import pytest

from roughfed.client.connection.rpc import Connection
from roughfed.client.context import ClientContext, SessionContext
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.metrics import ClientMetrics
from roughfed.client.policy import Rules
from roughfed.client.round import download
from roughfed.client.round.download import tries
from roughfed.client.round.job import do_job
from roughfed.client.round.partial_model import MARK
from roughfed.client.rules.checks import CODECS
from roughfed.client.storage.store import ClientStore
from roughfed.codec.downlink import payload_bytes, quantise
from roughfed.config.client import PolicySettings
from roughfed.crypto.identity import IdentityKey
from roughfed.digest import content_digest
from roughfed.errors import RemoteProtocolError
from roughfed.messages import EvaluationReport, Welcome
from roughfed.params import model_header, read_flat
from roughfed.trainer_client import Description
from roughfed.transport.names import REASON_KEY
from roughfed.types import Job, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.chunks import encode_chunk
from roughfed.wire.session import HEADER_DOMAIN, decode_get_model, encode_header, job_digest

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
SPEC = Spec((TensorSpec("w", (500,)), TensorSpec("bn.var", (500,), kind="variance")))
MODEL = np.arange(1000, dtype="<f4").tobytes()
DIGEST = content_digest(MODEL)
PREFIX = model_header(SPEC)
PIECE = 500

BASE, BASE_DIGEST = MODEL, DIGEST
"""A client that is one version behind has MODEL, and wants STEPPED."""


def stepped() -> tuple[bytes, bytes]:
    """The payload that leads there, and the parameters as the server has them; one half must not end below zero."""
    update = np.random.default_rng(3).normal(size=1000).astype(np.float32) * 400
    payload = quantise(update, np.zeros(1000, np.float32))
    after = np.frombuffer(BASE, "<f4") + update
    after[500:] = np.maximum(after[500:], 0)
    assert (after[:500] < 0).any()
    assert (np.frombuffer(BASE, "<f4") + update != after).any()
    return payload, after.tobytes()


DELTA, STEPPED = stepped()
STEPPED_DIGEST = content_digest(STEPPED)


@dataclass
class Source:
    """GetModel of a server: sends `data` in pieces, and breaks off after so many of them, call by call.

    `delta` is what leads from BASE to the wanted model; None: this server has none.
    """

    data: bytes = MODEL
    breaks: list[int] = field(default_factory=list[int])
    kindly: bool = False
    steps: bool = False
    shift: int = 0
    delta: bytes | None = None
    asked: list[int] = field(default_factory=list[int])
    asked_delta: list[int] = field(default_factory=list[int])
    back: asyncio.Event | None = None

    async def __call__(self, request: bytes) -> AsyncIterator[bytes]:
        digest, offset, base = decode_get_model(request)
        assert base in (b"", BASE_DIGEST)
        assert digest == (STEPPED_DIGEST if self.steps else DIGEST)
        (self.asked_delta if base else self.asked).append(offset)
        if base and self.delta is None:
            trailing = grpc.aio.Metadata((REASON_KEY, "no-delta"))
            raise grpc.aio.AioRpcError(grpc.StatusCode.INVALID_ARGUMENT, grpc.aio.Metadata(), trailing, "no delta")
        data = self.delta if base and self.delta is not None else self.data
        left = self.breaks.pop(0) if self.breaks else -1
        for at in range(offset, len(data), PIECE):
            if left == 0:
                assert self.back is not None
                self.back.set()  # no wait before the next try
                if self.kindly:
                    return  # the stream ends as if that were all
                nothing = grpc.aio.Metadata()
                raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "connection reset")
            left -= 1
            yield encode_chunk(at + self.shift, data[at : at + PIECE])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def fetch(store: ClientStore, source: Source, *, base: bytes = b"") -> np.ndarray:
    """A job that only asks for the model; what then lies in its place."""

    async def work() -> None:
        source.back, here = asyncio.Event(), asyncio.Event()
        here.set()
        connection = Connection.__new__(Connection)  # its code, without its channel
        connection._get_model = source  # pyright: ignore[reportAttributeAccessIssue]
        ctx = ClientContext(
            store=store,
            trainer=cast(Any, None),
            description=Description(
                spec=SPEC, task="classification", num_train=1, num_test=0, num_classes=2, device="cpu", name="x",
                settings={},
            ),
            metrics=ClientMetrics(codecs=CODECS),
            settings=dict,
            own_secret=bytes(32),
            training_seed=lambda job: job.seed,
            enter=lambda phase, share: None,
            send=lambda message: None,
            resumed=source.back,
            connected=here,
            channel=connection,
        )  # fmt: skip
        session = SessionContext(
            credentials=cast(Any, None),
            welcome=Welcome("1", 1, "run-1", SPEC, b"", "updates", "classification", 10),
            server_key=KEY.public_key,
            rules=Rules(PolicySettings(server_sees="updates", max_model_bytes=10_000)),
            disclosed=DisclosureRecord(store.journal),
        )
        assert isinstance(await do_job(ctx, session, question(base, source), asyncio.Queue()), EvaluationReport)

    asyncio.run(work())
    return read_flat(store.model_path(STEPPED_DIGEST if source.steps else DIGEST))


def question(base: bytes, source: Source) -> Job:
    header = RoundHeader(
        run="run-1",
        round=1,
        model_digest=STEPPED_DIGEST if source.steps else DIGEST,
        model_version=0,
        spec_digest=SPEC.digest,
        previous_header_digest=bytes(32),
        codec="identity",
        server_sees="updates",
        roster_root=bytes(32),
        deadline_s=60.0,
        job_digest=job_digest({}, evaluate=False),
    )
    body = encode_header(header)
    signed = Signed(body, KEY.sign(HEADER_DOMAIN, body), "server")
    return Job(
        signed, {}, 1, evaluate=False, train=False, model_bytes=SPEC.size_bytes, seconds_left=60.0, base_digest=base
    )


def partial(store: ClientStore, data: bytes, *, digest: bytes = DIGEST, behind: bytes = b"") -> Path:
    """What an earlier process left of a download; `behind` are an older file's bytes."""
    path = store.partial_path(digest)
    front = MARK + digest + len(data).to_bytes(8, "little")
    path.write_bytes(front + PREFIX[len(front) :] + data + behind)
    return path


def is_whole(flat: np.ndarray, store: ClientStore) -> bool:
    """The right bytes under the right name, and nothing else."""
    path = store.model_path(DIGEST)
    return (
        flat.tobytes() == MODEL
        and path.read_bytes() == PREFIX + MODEL
        and list((store.folder / "models").iterdir()) == [path]
    )


@pytest.mark.parametrize("kindly", [False, True])
def test_a_cut_download_goes_on_where_it_ended(store: ClientStore, kindly: bool) -> None:
    source = Source(breaks=[3, 0, 2], kindly=kindly)
    assert is_whole(fetch(store, source), store)
    assert source.asked == [0, 1500, 1500, 2500]
    fetch(store, source)
    assert source.asked == [0, 1500, 1500, 2500]  # it is here already


@pytest.mark.parametrize("have", [0, 1, 1500, len(MODEL)])
def test_what_an_earlier_process_left_is_taken_up(store: ClientStore, have: int) -> None:
    partial(store, MODEL[:have])
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [have]


def test_an_older_files_bytes_behind_it_count_for_nothing(store: ClientStore) -> None:
    partial(store, MODEL[:1500], behind=bytes(2 * len(MODEL)))
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [1500]


@pytest.mark.parametrize("length", [0, 10, len(PREFIX), 1000, 3 * len(MODEL)])
@pytest.mark.parametrize("cut", [False, True])
def test_a_model_is_written_over_an_old_file(store: ClientStore, length: int, cut: bool) -> None:
    store.spare_model.parent.mkdir(exist_ok=True)
    store.spare_model.write_bytes((PREFIX + 3 * MODEL[::-1])[:length])
    inode = store.spare_model.stat().st_ino
    source = Source(breaks=[2] if cut else [])
    assert is_whole(fetch(store, source), store)
    assert source.asked == ([0, 1000] if cut else [0])
    assert store.model_path(DIGEST).stat().st_ino == inode


def test_another_models_half_counts_for_nothing(store: ClientStore) -> None:
    """A download that was given up is pruned like a model, and becomes the file that the next one is written over."""
    half = partial(store, MODEL[::-1][:1000], digest=STEPPED_DIGEST)
    store.spare_model.parent.mkdir(exist_ok=True)
    half.replace(store.spare_model)
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [0]


def test_an_old_file_that_has_another_name_is_left_alone(store: ClientStore, tmp_path: Path) -> None:
    store.spare_model.parent.mkdir(exist_ok=True)
    store.spare_model.write_bytes(b"of a snapshot" * 1000)
    (tmp_path / "snapshot").hardlink_to(store.spare_model)
    assert is_whole(fetch(store, Source()), store)
    assert (tmp_path / "snapshot").read_bytes() == b"of a snapshot" * 1000


def test_a_file_without_a_whole_header_is_begun_again(store: ClientStore) -> None:
    store.partial_path(DIGEST).write_bytes(PREFIX[:10])
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: bytes(len(whole)),  # the name survived a power cut, the bytes did not
        lambda whole: whole[:-4],
        lambda whole: b"",
        lambda whole: bytes(8) + whole[8:],
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    ],
    ids=["zeros", "short", "empty", "header", "bit"],
)
def test_a_stored_model_is_read_before_it_is_trusted(store: ClientStore, damage: Callable[[bytes], bytes]) -> None:
    store.model_path(DIGEST).write_bytes(damage(PREFIX + MODEL))
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [0]


def test_a_stored_model_is_read_once_in_a_process(store: ClientStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(download, "digest_file", lambda path, offset: read.append(path) or DIGEST)
    store.model_path(DIGEST).write_bytes(PREFIX + MODEL)
    for _ in range(3):
        fetch(store, Source())
    assert read == [store.model_path(DIGEST)]


def test_a_partial_file_with_another_header_is_begun_again(store: ClientStore) -> None:
    store.partial_path(DIGEST).write_bytes(bytes(len(PREFIX)) + MODEL[:1000])
    source = Source()
    assert is_whole(fetch(store, source), store)
    assert source.asked == [0]


def test_other_bytes_than_the_headers_are_refused_and_deleted(store: ClientStore) -> None:
    source = Source(data=MODEL[::-1])
    with pytest.raises(RemoteProtocolError) as refused:
        fetch(store, source)
    assert refused.value.reason == "digest"
    assert list((store.folder / "models").iterdir()) == []


def test_after_a_damaged_partial_file_the_next_job_starts_clean(store: ClientStore) -> None:
    flipped = bytearray(MODEL[:1500])
    flipped[700] ^= 1
    partial(store, bytes(flipped))
    source = Source()
    with pytest.raises(RemoteProtocolError) as refused:
        fetch(store, source)
    assert refused.value.reason == "digest"
    assert list((store.folder / "models").iterdir()) == []
    assert is_whole(fetch(store, source), store)
    assert source.asked == [1500, 0]


def test_a_chunk_that_leaves_a_gap_is_refused(store: ClientStore) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        fetch(store, Source(shift=8))
    assert refused.value.reason == "offset"
    assert not store.model_path(DIGEST).exists()


# -- one version behind ------------------------------------------------------------------------------------------------


def one_behind(**options: Any) -> Source:
    """A server whose newest model is STEPPED."""
    return Source(data=STEPPED, steps=True, **options)


def has_base(store: ClientStore) -> None:
    store.model_path(BASE_DIGEST).write_bytes(PREFIX + BASE)


def is_stepped(flat: np.ndarray, store: ClientStore) -> bool:
    """The right bytes under the right name, beside those that they were made from, and nothing else."""
    wanted = {store.model_path(BASE_DIGEST): PREFIX + BASE, store.model_path(STEPPED_DIGEST): PREFIX + STEPPED}
    found = {path: path.read_bytes() for path in (store.folder / "models").iterdir()}
    return flat.tobytes() == STEPPED and found == wanted


@pytest.mark.parametrize("kindly", [False, True])
def test_a_client_one_version_behind_downloads_the_delta_over_cut_lines(store: ClientStore, kindly: bool) -> None:
    has_base(store)
    source = one_behind(delta=DELTA, breaks=[1, 0, 1], kindly=kindly)
    assert is_stepped(fetch(store, source, base=BASE_DIGEST), store)
    assert source.asked_delta == [0, 500, 500, 1000]
    assert source.asked == []


@pytest.mark.parametrize("have", [1, 600, len(DELTA)])
def test_a_delta_that_an_earlier_process_began_is_taken_up(store: ClientStore, have: int) -> None:
    has_base(store)
    store.partial_path(STEPPED_DIGEST).with_suffix(".delta").write_bytes(DELTA[:have])
    source = one_behind(delta=DELTA)
    assert is_stepped(fetch(store, source, base=BASE_DIGEST), store)
    assert (source.asked_delta, source.asked) == ([have], [])


def test_a_delta_that_is_longer_than_it_can_be_is_begun_again(store: ClientStore) -> None:
    has_base(store)
    store.partial_path(STEPPED_DIGEST).with_suffix(".delta").write_bytes(bytes(payload_bytes(1000) + 1))
    source = one_behind(delta=DELTA)
    assert is_stepped(fetch(store, source, base=BASE_DIGEST), store)
    assert (source.asked_delta, source.asked) == ([0], [])


@pytest.mark.parametrize(
    "delta",
    [
        None,  # pruned meanwhile
        DELTA[:40] + bytes([DELTA[40] ^ 1]) + DELTA[41:],  # a level
        b"\xff\xff\xff\xff" + DELTA[4:],  # a scale that is no number
        DELTA + b"\0",
    ],
    ids=["no-delta", "bit", "malformed", "long"],
)
def test_what_does_not_lead_there_costs_one_whole_download(store: ClientStore, delta: bytes | None) -> None:
    has_base(store)
    source = one_behind(delta=delta)
    assert is_stepped(fetch(store, source, base=BASE_DIGEST), store)
    assert (source.asked_delta, source.asked) == ([0], [0])


def test_a_whole_download_that_was_begun_is_gone_on_with(store: ClientStore) -> None:
    has_base(store)
    partial(store, STEPPED[:1500], digest=STEPPED_DIGEST)
    source = one_behind(delta=DELTA)
    assert is_stepped(fetch(store, source, base=BASE_DIGEST), store)
    assert (source.asked_delta, source.asked) == ([], [1500])


@pytest.mark.parametrize("damaged", [False, True])
def test_without_the_base_everything_is_downloaded(store: ClientStore, damaged: bool) -> None:
    if damaged:
        store.model_path(BASE_DIGEST).write_bytes(PREFIX + bytes(len(BASE)))
    source = one_behind(delta=DELTA)
    assert fetch(store, source, base=BASE_DIGEST).tobytes() == STEPPED
    assert (source.asked_delta, source.asked) == ([], [0])


def test_a_model_that_is_longer_than_it_can_be_is_refused_before_it_fills_the_disk(store: ClientStore) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        fetch(store, Source(data=MODEL + bytes(4)))
    assert refused.value.reason == "size"
    assert not store.model_path(DIGEST).exists()


def test_a_transfer_is_not_tried_again_before_the_session_is_back() -> None:
    async def work() -> list[int]:
        ctx, tried = SimpleNamespace(resumed=asyncio.Event(), connected=asyncio.Event()), list[int]()

        async def transfer() -> None:
            async for attempt in tries(cast(Any, ctx)):
                tried.append(attempt)
                ctx.resumed.set()  # no jitter
                if attempt:
                    return

        trying = asyncio.create_task(transfer())
        await asyncio.wait({trying}, timeout=0.05)
        assert tried == [0]  # the first try waits for nothing
        ctx.connected.set()
        await trying
        return tried

    assert asyncio.run(work()) == [0, 1]
