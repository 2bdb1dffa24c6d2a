"""Statements, signed updates, receipts, the status of an upload, evaluations."""

from __future__ import annotations

from roughfed.types import Receipt
from roughfed.wire import updates as wire

from .laws import Way, read, seeds_of
from .values import SIGNED, STATEMENT, D

RUNS = 6000
WAYS = (
    Way(wire.decode_statement, wire.encode_statement),
    Way(wire.decode_signed_update, wire.encode_signed_update),
    Way(wire.decode_receipt, wire.encode_receipt),
    Way(wire.decode_update_status_request, lambda value: wire.encode_update_status_request(*value)),
    Way(wire.decode_update_status, lambda value: wire.encode_update_status(*value)),
)


def fuzz(data: bytes) -> None:
    read(WAYS, data)


def seeds() -> list[bytes]:
    receipt, body = Receipt("run", 7, "alpha", D, 1 << 20, bytes(64)), wire.encode_statement(STATEMENT)
    return seeds_of(
        (0, body),
        (1, wire.encode_signed_update(SIGNED(body))),
        (2, wire.encode_receipt(receipt)),
        (3, wire.encode_update_status_request("run", 7, D)),
        (4, wire.encode_update_status(4096, receipt)),
    )
