"""Statements, receipts and status messages: round trips, refusals, bounds."""

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import RemoteProtocolError, RoughfedError
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.secagg.statistics import KINDS, MAX_VALUES
from roughfed.types import BINS, CONFIDENCE_ONE, Evaluation, Receipt, Signed, UpdateStatement
from roughfed.wire import updates as wire
from roughfed.wire.sizes import statement_bytes, statement_round

u64 = st.integers(0, 2**64 - 1)
digests = st.binary(min_size=32, max_size=32)
texts = st.text(max_size=40)
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Of regression (no classes), of many classes (no confusion), or complete."""
    width = draw(st.integers(0, 6))
    table = [[draw(st.integers(0, 1000)) for _ in range(width)] for _ in range(width)]
    count, correct = [sum(row) for row in table], [row[c] for c, row in enumerate(table)]
    examples = sum(count) if width else draw(st.integers(0, wire.MAX_EXAMPLES))
    bare = Evaluation(draw(digests), examples, draw(finite), tuple(count), tuple(correct), draw(finite))
    if not width or draw(st.booleans()):
        return bare
    bins = [[0] * BINS for _ in range(3)]
    for amounts in ((sum(correct), sum(correct)), (examples - sum(correct), 0)):  # two bins, or one
        place = draw(st.integers(0, BINS - 1))
        for row, amount in enumerate((*amounts, draw(st.integers(0, amounts[0] * CONFIDENCE_ONE)))):
            bins[row][place] += amount
    return replace(bare, confusion=sum(map(tuple, table), ()), calibration=sum(map(tuple, bins), ()))


statements = st.builds(
    UpdateStatement,
    run=texts,
    round=u64,
    client=texts,
    header_digest=digests,
    digest=digests,
    size_bytes=u64,
    num_examples=u64,
    num_steps=u64,
    train_seconds=st.floats(0, 1e9),
    metrics=st.dictionaries(texts, finite, max_size=wire.MAX_METRICS),
    evaluation=st.none() | evaluations(),
    quarters=st.integers(1, 4),
    statistics=st.dictionaries(
        st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 1), max_size=5).map(tuple), max_size=4
    ),
)
receipts = st.builds(Receipt, texts, u64, texts, digests, u64, st.binary(max_size=64))


@given(statement=statements)
def test_a_statement_comes_back_and_its_bytes_are_canonical(statement: UpdateStatement) -> None:
    body = wire.encode_statement(statement)
    assert wire.decode_statement(body) == statement
    shuffled = dict(reversed(statement.metrics.items()))
    fields = {f: getattr(statement, f) for f in statement.__slots__} | {"metrics": shuffled}
    assert wire.encode_statement(UpdateStatement(**fields)) == body


@given(receipt=receipts, offset=u64)
def test_receipts_and_status_come_back(receipt: Receipt, offset: int) -> None:
    assert wire.decode_receipt(wire.encode_receipt(receipt)) == receipt
    assert wire.decode_update_status(wire.encode_update_status(offset, receipt)) == (offset, receipt)
    assert wire.decode_update_status(wire.encode_update_status(offset, None)) == (offset, None)


@given(receipt=receipts, signature=st.binary(max_size=64))
def test_what_a_receipt_signs_does_not_depend_on_its_signature(receipt: Receipt, signature: bytes) -> None:
    other = Receipt(receipt.run, receipt.round, receipt.client, receipt.digest, receipt.size_bytes, signature)
    assert wire.receipt_body(receipt) == wire.receipt_body(other)


@given(first=receipts, second=receipts)
def test_different_receipts_sign_different_bytes(first: Receipt, second: Receipt) -> None:
    def fields(r: Receipt) -> tuple[object, ...]:
        return (r.run, r.round, r.client, r.digest, r.size_bytes)

    assert (wire.receipt_body(first) == wire.receipt_body(second)) == (fields(first) == fields(second))


@given(body=st.binary(max_size=200), signature=st.binary(max_size=80))
def test_a_signed_update_carries_its_bytes_untouched(body: bytes, signature: bytes) -> None:
    assert wire.decode_signed_update(wire.encode_signed_update(Signed(body, signature, "c"))) == Signed(
        body, signature, ""
    )


@given(run=texts, number=u64, digest=digests)
def test_a_status_request_comes_back(run: str, number: int, digest: bytes) -> None:
    request = wire.encode_update_status_request(run, number, digest)
    assert wire.decode_update_status_request(request) == (run, number, digest)


DECODERS: list[Callable[[bytes], Any]] = [
    wire.decode_statement,
    wire.decode_receipt,
    wire.decode_signed_update,
    wire.decode_update_status,
    wire.decode_update_status_request,
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
    sane = wire.encode_statement(data.draw(statements)) if data.draw(st.booleans()) else data.draw(st.binary())
    damaged = bytearray(sane or b"\0")
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    error = refusal(decode, bytes(damaged))
    assert error is None or (type(error) is RemoteProtocolError and len(str(error)) < 1000)


def statement_message(**fields: object) -> ten.UpdateStatement:
    base: dict[str, object] = {"header_digest": bytes(32), "digest": bytes(32), "num_examples": 1}
    return ten.UpdateStatement(**(base | fields))  # pyright: ignore[reportArgumentType]


def evaluated(**fields: object) -> ten.UpdateStatement:
    message = statement_message()
    base: dict[str, object] = {"model_digest": bytes(32), "num_examples": 2}
    message.evaluation.CopyFrom(ten.Evaluation(**(base | fields)))  # pyright: ignore[reportArgumentType]
    return message


def two_right(**fields: object) -> ten.UpdateStatement:
    """Two classes with an example each, both right, and what else is said of them."""
    return evaluated(class_count=[1, 1], class_correct=[1, 1], **fields)


def bins(count: int, correct: int, confidence: int, width: int = BINS) -> list[int]:
    return [*([count] + [0] * (width - 1)), *([correct] + [0] * (width - 1)), *([confidence] + [0] * (width - 1))]


WIDE = 65
REFUSED = {
    "short digest": statement_message(digest=bytes(31)),
    "long header digest": statement_message(header_digest=bytes(33)),
    "no digest": statement_message(digest=b""),
    "negative seconds": statement_message(train_seconds=-1.0),
    "seconds that are no number": statement_message(train_seconds=math.nan),
    "endless seconds": statement_message(train_seconds=math.inf),
    "too many metrics": statement_message(metrics={str(i): 0.0 for i in range(wire.MAX_METRICS + 1)}),
    "a metric with a long name": statement_message(metrics={"x" * (wire.MAX_NAME + 1): 0.0}),
    "more correct than there are": evaluated(class_count=[2], class_correct=[3]),
    "counts of other lengths": evaluated(class_count=[1, 1], class_correct=[1]),
    "counts without correct": evaluated(class_count=[2]),
    "correct without counts": evaluated(class_correct=[0]),
    "counts that do not add up": evaluated(class_count=[1], class_correct=[1]),
    "too many classes": evaluated(class_count=[0] * (wire.MAX_TIERS + 1), class_correct=[0] * (wire.MAX_TIERS + 1)),
    "more examples than there are in the world": evaluated(num_examples=wire.MAX_EXAMPLES + 1),
    "a confusion of no classes": evaluated(confusion=[2]),
    "a confusion of another width": two_right(confusion=[1, 0, 0, 0, 1, 0, 0, 0, 0]),
    "a confusion with other rows": two_right(confusion=[1, 0, 0, 2]),
    "a confusion with another diagonal": two_right(confusion=[0, 1, 0, 1]),
    "a confusion of very many classes": evaluated(
        class_count=[2] + [0] * (WIDE - 1), class_correct=[2] + [0] * (WIDE - 1), confusion=[2] + [0] * (WIDE**2 - 1)
    ),
    "a calibration of no classes": evaluated(calibration=bins(2, 2, 2)),
    "a calibration of other bins": two_right(calibration=bins(2, 2, 2, width=BINS - 1)),
    "a calibration of fewer examples": two_right(calibration=bins(1, 1, 1)),
    "a calibration of fewer correct ones": two_right(calibration=bins(2, 1, 1)),
    "a calibration surer than sure": two_right(calibration=bins(2, 2, 2 * CONFIDENCE_ONE + 1)),
    "an evaluation of nothing known": evaluated(model_digest=b""),
}


def test_what_the_refused_were_made_from_is_good() -> None:
    good = two_right(confusion=[1, 0, 0, 1], calibration=bins(2, 2, 2 * CONFIDENCE_ONE))
    assert wire.decode_statement(good.SerializeToString()).evaluation is not None


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED.keys())
def test_numbers_that_no_honest_client_sends_are_refused(message: ten.UpdateStatement) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decode_statement(message.SerializeToString())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_gets_into_the_reports(value: float) -> None:
    statement = wire.decode_statement(statement_message(metrics={"loss": value, "acc": 0.5}).SerializeToString())
    assert statement.metrics == {"acc": 0.5}
    message = evaluated(loss_sum=value, absolute_error_sum=value)
    evaluation = wire.decode_statement(message.SerializeToString()).evaluation
    assert evaluation is not None
    assert evaluation.loss_sum == evaluation.absolute_error_sum == math.inf  # the worst, not "unknown"


@given(text=st.text(st.characters(), max_size=30), limit=st.integers(0, 30))
def test_text_for_the_wire_is_always_valid(text: str, limit: int) -> None:
    made = wire.text_field(text + "\udc80", limit)
    assert len(made) <= limit
    assert made.encode()[: 4 * limit].decode() == made


SAID: dict[str, dict[str, Any]] = {
    "weight 4 said twice": {"weight_quarters": 4},
    "weight 9": {"weight_quarters": 9},
    "an unknown statistic": {"statistics": [{"name": "diary", "values": [1]}]},
    "one twice": {"statistics": [{"name": "trained", "values": [1]}, {"name": "trained", "values": [1]}]},
    "a value too large": {"statistics": [{"name": "class-owner", "values": [0, 2]}]},
    "too many values": {"statistics": [{"name": "class-count", "values": [0] * (MAX_VALUES + 1)}]},
}


@pytest.mark.parametrize("what", SAID)
def test_weights_and_statistics_that_nobody_may_say_are_refused(what: str) -> None:
    d = bytes(32)
    sane = ten.UpdateStatement(run="r", round=1, client="c", header_digest=d, digest=d, size_bytes=4, num_examples=1)
    assert wire.decode_statement(sane.SerializeToString()).quarters == 4
    sane.MergeFrom(ten.UpdateStatement(**SAID[what]))
    with pytest.raises(RemoteProtocolError):
        wire.decode_statement(sane.SerializeToString())


def test_run_and_round_are_read_before_the_rest_is_looked_at() -> None:
    for number in (1, 127, 128, 1 << 40):
        body = statement_message(run="run-1", round=number).SerializeToString(deterministic=True)
        assert statement_round(body + b"\xff" * 50) == ("run-1", number)
    for bad in (b"", b"\x0a", b"\xff" * 64, b"\x0a\x03ab", b"\x0a\x01a\x10" + b"\xff" * 20, b"\x10\x01\x0a\x01a"):
        with pytest.raises(RemoteProtocolError):
            statement_round(bad)


def test_lists_are_counted_before_they_are_copied() -> None:
    many = [ten.UpdateStatement.Statistic() for _ in range(60_000)]
    long = ten.UpdateStatement.Statistic(name="examples", values=[1] * 200_000)
    for message in (
        statement_message(statistics=many),
        statement_message(statistics=[long]),
        statement_message(evaluation=ten.Evaluation(model_digest=bytes(32), calibration=[1] * 200_000)),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(RemoteProtocolError):
                wire.decode_statement(message.SerializeToString())
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_the_longest_statement_of_a_round_fits_and_follows_from_what_it_asks_for() -> None:
    most = max(row.largest for row in KINDS.values())
    given = UpdateStatement(
        "run-1", 1, "c" * 63, bytes(32), bytes(32), 1, 1,
        metrics={f"{number:0100}": 1.5 for number in range(wire.MAX_METRICS)},
        statistics={"feature-outer": (most,) * 30_000},
    )  # fmt: skip
    assert len(wire.encode_statement(given)) < statement_bytes(("feature-outer:30000",), 0) < 256 << 10
    assert statement_bytes((), 0) < 68 << 10
    assert statement_bytes((), 1000) < 256 << 10
