"""Updates and receipts: statement, signature, receipt (proto/v1/tensor.proto, federation.proto)."""

from __future__ import annotations

import math
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from roughfed.digest import DIGEST_BYTES
from roughfed.errors import RemoteProtocolError
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.secagg.adverts import FULL
from roughfed.secagg.messages import STATEMENT_DOMAIN
from roughfed.secagg.statistics import KINDS, MAX_VALUES
from roughfed.types import BINS, CONFIDENCE_ONE, MOST_CONFUSED, Evaluation, Receipt, Signed, UpdateStatement

UPDATE_DOMAIN = STATEMENT_DOMAIN
RECEIPT_DOMAIN = b"roughfed receipt v1\0"
MAX_TIERS = 100_000
MAX_EXAMPLES = 1 << 40
"""Of one evaluation: then every sum over the clients of a federation fits into 64 bits."""
MAX_METRICS = 64
MAX_NAME = 100

MOST = 1 << 62

_MOST_COUNTS = (MAX_TIERS, MAX_TIERS, MOST_CONFUSED**2, 3 * BINS)
"""Numbers of an evaluation, by list."""

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes) -> M:
    """Parse a generated message.

    Raises:
        RemoteProtocolError: the bytes are not such a message.
    """
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise RemoteProtocolError(f"malformed {kind.__name__}: {error}", reason="schema") from None
    return message


def text_field(value: str, limit: int) -> str:
    """Text for the wire: cut, and without the lone surrogates that stand for odd bytes in file names."""
    return value[:limit].encode("utf-8", "replace").decode()


def digest_field(value: bytes, name: str, *, empty: bool = False) -> bytes:
    """Check the length of a digest.

    Raises:
        RemoteProtocolError: it is not 32 bytes (or empty, where that is allowed).
    """
    if len(value) != DIGEST_BYTES and not (empty and not value):
        raise RemoteProtocolError(f"{name} of {len(value)} bytes, want {DIGEST_BYTES}", reason="schema")
    return value


def number_field(value: int, name: str) -> int:
    """Check a number that a journal will hold (SQLite has 63 bits, protobuf 64), and that others will follow.

    Raises:
        RemoteProtocolError: it is beyond all that a run could come to.
    """
    if value >= MOST:
        raise RemoteProtocolError(f"{name} of {value}, beyond {MOST}", reason="schema")
    return value


def encode_signed_update(update: Signed) -> bytes:
    """SignedUpdate to bytes."""
    return ten.SignedUpdate(statement=update.body, signature=update.signature).SerializeToString()


def decode_signed_update(data: bytes) -> Signed:
    """Bytes to a Signed whose body is a serialized UpdateStatement; the signer is whoever the statement names."""
    message = parse(ten.SignedUpdate, data)
    return Signed(message.statement, message.signature, signer="")


def encode_statement(statement: UpdateStatement) -> bytes:
    """UpdateStatement to the bytes that get signed."""
    s = statement
    message = ten.UpdateStatement(
        run=statement.run,
        round=statement.round,
        client=statement.client,
        header_digest=statement.header_digest,
        digest=statement.digest,
        size_bytes=statement.size_bytes,
        num_examples=statement.num_examples,
        num_steps=statement.num_steps,
        train_seconds=statement.train_seconds,
        metrics=dict(statement.metrics),
        tier=statement.tier,
        view_digest=statement.view_digest,
        weight_quarters=0 if statement.quarters == FULL else statement.quarters,
        statistics=[ten.UpdateStatement.Statistic(name=n, values=v) for n, v in sorted(statement.statistics.items())],
    )
    for field, given in (message.evaluation, s.evaluation), (message.personal, s.personal), (message.alone, s.alone):
        if given is not None:
            field.CopyFrom(evaluation_message(given))
    return message.SerializeToString(deterministic=True)


def decode_statement(data: bytes) -> UpdateStatement:
    """Signed bytes to an UpdateStatement.

    Raises:
        RemoteProtocolError: malformed, or a number that no honest client sends.
    """
    message = parse(ten.UpdateStatement, data)
    if len(message.metrics) > MAX_METRICS or any(len(name) > MAX_NAME for name in message.metrics):
        allowed = f"at most {MAX_METRICS} with names up to {MAX_NAME} characters"
        raise RemoteProtocolError(f"{len(message.metrics)} metrics; {allowed} are allowed", reason="schema")
    if not math.isfinite(message.train_seconds) or message.train_seconds < 0:
        raise RemoteProtocolError(f"train_seconds is {message.train_seconds}", reason="schema")
    return UpdateStatement(
        run=message.run,
        round=message.round,
        client=message.client,
        header_digest=digest_field(message.header_digest, "header_digest"),
        digest=digest_field(message.digest, "digest"),
        size_bytes=message.size_bytes,
        num_examples=message.num_examples,
        num_steps=message.num_steps,
        train_seconds=message.train_seconds,
        metrics={name: value for name, value in message.metrics.items() if math.isfinite(value)},
        evaluation=evaluation_value(message.evaluation) if message.HasField("evaluation") else None,
        quarters=_quarters(message.weight_quarters),
        tier=text_field(message.tier, MAX_NAME),
        view_digest=digest_field(message.view_digest, "view_digest", empty=True),
        statistics=_statistics(message),
        personal=evaluation_value(message.personal) if message.HasField("personal") else None,
        alone=evaluation_value(message.alone) if message.HasField("alone") else None,
    )


def _quarters(number: int) -> int:
    if number >= FULL:  # 0 stands for weight 1
        raise RemoteProtocolError(f"a weight of {number} quarters", reason="schema")
    return number or FULL


def _statistics(message: ten.UpdateStatement) -> dict[str, tuple[int, ...]]:
    given = message.statistics
    if len(given) > len(KINDS) or sum(len(s.values) for s in given) > MAX_VALUES:  # counted before they are copied
        raise RemoteProtocolError(f"{len(given)} statistics, or too many values", reason="schema")
    found = {s.name: tuple(s.values) for s in given}
    if len(found) != len(given):
        raise RemoteProtocolError("a statistic twice", reason="schema")
    for name, values in found.items():
        if name not in KINDS or max(values, default=0) > KINDS[name].largest:
            raise RemoteProtocolError(f"the statistic {name[:40]!r} is unknown, or a value too large", reason="schema")
    return found


def evaluation_message(evaluation: Evaluation) -> ten.Evaluation:
    """Evaluation to its generated message."""
    return ten.Evaluation(
        model_digest=evaluation.model_digest,
        num_examples=evaluation.num_examples,
        loss_sum=evaluation.loss_sum,
        class_count=evaluation.class_count,
        class_correct=evaluation.class_correct,
        absolute_error_sum=evaluation.absolute_error_sum,
        confusion=evaluation.confusion,
        calibration=evaluation.calibration,
    )


def evaluation_value(message: ten.Evaluation) -> Evaluation:
    """Generated message to an Evaluation.

    Raises:
        RemoteProtocolError: counts that contradict one another, or that no data set has.
    """
    counts = (message.class_count, message.class_correct, message.confusion, message.calibration)
    if any(len(given) > most for given, most in zip(counts, _MOST_COUNTS, strict=True)):
        raise RemoteProtocolError("an evaluation of more numbers than there can be", reason="schema")
    found = Evaluation(
        model_digest=digest_field(message.model_digest, "model_digest"),
        num_examples=message.num_examples,
        loss_sum=message.loss_sum if math.isfinite(message.loss_sum) else math.inf,
        class_count=tuple(message.class_count),
        class_correct=tuple(message.class_correct),
        absolute_error_sum=message.absolute_error_sum if math.isfinite(message.absolute_error_sum) else math.inf,
        confusion=tuple(message.confusion),
        calibration=tuple(message.calibration),
    )
    if not agrees(found):
        raise RemoteProtocolError("evaluation counts contradict one another", reason="schema")
    return found


def agrees(evaluation: Evaluation) -> bool:
    """Whether its counts are those of some data set, as every reader demands."""
    return all(good(evaluation) for good in (_counts_agree, _confusion_agrees, _calibration_agrees))


def _counts_agree(e: Evaluation) -> bool:
    if e.num_examples > MAX_EXAMPLES or len(e.class_count) != len(e.class_correct) or len(e.class_count) > MAX_TIERS:
        return False
    if e.class_count and sum(e.class_count) != e.num_examples:
        return False
    return all(k <= n for k, n in zip(e.class_correct, e.class_count, strict=True))


def _confusion_agrees(e: Evaluation) -> bool:
    """Empty, or [C x C] with the counts as row sums and the correct ones on the diagonal."""
    if not e.confusion:
        return True
    width = len(e.class_count)
    if width > MOST_CONFUSED or len(e.confusion) != width * width:
        return False
    rows = [e.confusion[at : at + width] for at in range(0, width * width, width)]
    return tuple(map(sum, rows)) == e.class_count and e.confusion[:: width + 1] == e.class_correct


def _calibration_agrees(e: Evaluation) -> bool:
    """Empty, or every example in one bin, and no bin with more correct ones or more confidence than it has examples."""
    if not e.calibration:
        return True
    if not e.class_count or len(e.calibration) != 3 * BINS:
        return False
    count, correct, confidence = (e.calibration[at : at + BINS] for at in (0, BINS, 2 * BINS))
    whole = sum(count) == e.num_examples and sum(correct) == sum(e.class_correct)
    return whole and all(k <= n and s <= n * CONFIDENCE_ONE for n, k, s in zip(count, correct, confidence, strict=True))


def receipt_body(receipt: Receipt) -> bytes:
    """The bytes that the server signs: the receipt without its signature."""
    return _receipt_message(receipt, signed=False).SerializeToString(deterministic=True)


def encode_receipt(receipt: Receipt) -> bytes:
    """Receipt to bytes."""
    return _receipt_message(receipt).SerializeToString()


def decode_receipt(data: bytes) -> Receipt:
    """Bytes to a Receipt."""
    return receipt_value(parse(fed.Receipt, data))


def receipt_value(message: fed.Receipt) -> Receipt:
    """Generated message to a Receipt."""
    return Receipt(
        run=message.run,
        round=message.round,
        client=message.client,
        digest=digest_field(message.digest, "digest"),
        size_bytes=message.size_bytes,
        signature=message.signature,
    )


def encode_update_status_request(run: str, round_number: int, digest: bytes) -> bytes:
    """UpdateStatusRequest to bytes."""
    return fed.UpdateStatusRequest(run=run, round=round_number, digest=digest).SerializeToString()


def decode_update_status_request(data: bytes) -> tuple[str, int, bytes]:
    """Bytes to (run, round, digest)."""
    message = parse(fed.UpdateStatusRequest, data)
    return message.run, message.round, digest_field(message.digest, "digest")


def encode_update_status(offset: int, receipt: Receipt | None) -> bytes:
    """UpdateStatusReply to bytes."""
    message = fed.UpdateStatusReply(committed_offset=offset)
    if receipt is not None:
        message.receipt.CopyFrom(_receipt_message(receipt))
    return message.SerializeToString()


def decode_update_status(data: bytes) -> tuple[int, Receipt | None]:
    """Bytes to (committed offset, receipt if the upload is complete)."""
    message = parse(fed.UpdateStatusReply, data)
    return message.committed_offset, receipt_value(message.receipt) if message.HasField("receipt") else None


def _receipt_message(receipt: Receipt, *, signed: bool = True) -> fed.Receipt:
    return fed.Receipt(
        run=receipt.run,
        round=receipt.round,
        client=receipt.client,
        digest=receipt.digest,
        size_bytes=receipt.size_bytes,
        signature=receipt.signature if signed else b"",
    )
