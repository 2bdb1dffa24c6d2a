"""Frozen bytes of what is hashed and signed: another version must read and write exactly these."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.crypto.identity import IdentityKey, verify
from roughfed.crypto.roster import RosterEntry
from roughfed.errors import IdentityError
from roughfed.types import Evaluation, Receipt, RoundHeader, Signed, Spec, TensorSpec, UpdateStatement
from roughfed.wire import chunks, enrolment, session, updates

BYTES = {
    name: bytes.fromhex(text)
    for name, text in json.loads((Path(__file__).parents[3] / "vectors" / "wire.json").read_text()).items()
}
KEY = IdentityKey.from_private_bytes(BYTES["identity_seed"])
RUN, ONE, TWO, THREE, FOUR, FIVE, SIX = "demo-1a2b3c4d", *(bytes([n]) * 32 for n in range(1, 7))

HEADER = RoundHeader(RUN, 7, ONE, 6, TWO, THREE, "identity", "updates", FOUR, 600.0)
STATEMENT = UpdateStatement(
    run=RUN,
    round=7,
    client="alpha",
    header_digest=FIVE,
    digest=SIX,
    size_bytes=4096,
    num_examples=120,
    num_steps=30,
    train_seconds=1.25,
    metrics={"loss": 0.5, "acc": 0.75},
    evaluation=Evaluation(ONE, 5, 2.5, (2, 3), (1, 3), 0.0),
)
FIRST, LAST = [2, 1, 600], [3, 3, 3 * 1024]  # the lowest and the highest bin of a calibration
CALIBRATION = tuple(n for low, high in zip(FIRST, LAST, strict=True) for n in (low, *[0] * 13, high))
EVALUATED = replace(STATEMENT, evaluation=Evaluation(ONE, 5, 2.5, (2, 3), (1, 3), 0.0, (1, 1, 0, 3), CALIBRATION))
RECEIPT = Receipt(RUN, 7, "alpha", SIX, 4096, KEY.sign(updates.RECEIPT_DOMAIN, BYTES["receipt_body"]))
SPEC = Spec(
    (
        TensorSpec("conv.weight", (2, 3)),
        TensorSpec("bn.mean", (2,), "float32", "buffer"),
        TensorSpec("bn.var", (2,), "float16", "variance"),
        TensorSpec("t", ()),
    )
)
ENTRY = RosterEntry("alpha", "client", KEY.public_key, "demo", 1_700_000_000)


def test_what_is_signed_is_written_as_it_always_was() -> None:
    assert session.encode_header(HEADER) == BYTES["header"]
    assert updates.encode_statement(STATEMENT) == BYTES["statement"]
    assert updates.encode_statement(EVALUATED) == BYTES["evaluated_statement"]
    assert updates.receipt_body(RECEIPT) == BYTES["receipt_body"]
    assert updates.encode_receipt(RECEIPT) == BYTES["receipt"]
    assert enrolment.encode_roster_entry(ENTRY) == BYTES["roster_entry"]
    assert session.encode_spec(SPEC) == BYTES["spec"]
    assert SPEC.digest == BYTES["spec_digest"]


def test_what_was_signed_is_read_as_it_always_was() -> None:
    assert session.decode_header(BYTES["header"]) == HEADER
    assert updates.decode_statement(BYTES["statement"]) == STATEMENT
    assert updates.decode_statement(BYTES["evaluated_statement"]) == EVALUATED
    assert updates.decode_receipt(BYTES["receipt"]) == RECEIPT
    assert enrolment.decode_roster_entry(BYTES["roster_entry"]) == ENTRY
    assert session.decode_spec(BYTES["spec"]) == SPEC


def test_chunks_are_written_and_read_as_they_always_were() -> None:
    statement = Signed(BYTES["statement"], BYTES["statement_signature"], "")
    assert chunks.encode_chunk(0, bytes(range(16)), statement) == BYTES["first_chunk"]
    assert chunks.encode_chunk(1 << 20, bytes(range(16))) == BYTES["later_chunk"]
    first, later = (chunks.decode_chunk(BYTES[name]) for name in ("first_chunk", "later_chunk"))
    assert (first.offset, bytes(first.data), first.update) == (0, bytes(range(16)), statement)
    assert (later.offset, bytes(later.data), later.update) == (1 << 20, bytes(range(16)), None)


SIGNED = {
    "header": (session.HEADER_DOMAIN, BYTES["header"], BYTES["header_signature"]),
    "statement": (updates.UPDATE_DOMAIN, BYTES["statement"], BYTES["statement_signature"]),
    "receipt": (updates.RECEIPT_DOMAIN, BYTES["receipt_body"], RECEIPT.signature),
}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signature_stands_for_its_bytes_and_purpose_only(name: str) -> None:
    domain, body, signature = SIGNED[name]
    verify(KEY.public_key, domain, body, signature)
    assert KEY.sign(domain, body) == signature
    other_domains = {d for d, _, _ in SIGNED.values()} - {domain}
    for wrong_domain, wrong_body in [*((d, body) for d in other_domains), (domain, body + b"\0"), (domain, body[:-1])]:
        with pytest.raises(IdentityError):
            verify(KEY.public_key, wrong_domain, wrong_body, signature)
