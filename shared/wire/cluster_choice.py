"""The question which of several models fits a client best, and its answer, to bytes and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roughfed.errors import LocalProtocolError, RemoteProtocolError
from roughfed.messages import Choice, Choose
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.types import Signed
from roughfed.wire.updates import MAX_NAME, digest_field, number_field, parse, text_field

QUESTION_DOMAIN = b"roughfed question v1\0"
MOST_MODELS = 16
SIGNATURE_BYTES = 64
MOST_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Question:
    """What the server asks between two rounds.

    Attributes:
        run: run id.
        number: from 1; never used twice in a run.
        spec_digest: SHA-256 of the Spec, 32 bytes.
        models: BLAKE3 of each model's parameters, 32 bytes each.
        header: of the last round, signed by the server: all models but the one that it made are its heads; None before
            the first round.
    """

    run: str
    number: int
    spec_digest: bytes
    models: tuple[bytes, ...]
    header: Signed | None = None


def encode_question(question: Question) -> bytes:
    """A question as the bytes that are signed."""
    q = question
    header = None if q.header is None else signed_message(q.header)
    message = fed.Question(run=q.run, number=q.number, spec_digest=q.spec_digest, models=q.models, header=header)
    return message.SerializeToString()


def decode_question(data: bytes) -> Question:
    """The bytes of `encode_question`.

    Raises:
        RemoteProtocolError: malformed, or not between 2 and `MOST_MODELS` models.
    """
    m = parse(fed.Question, data)
    if not 2 <= len(m.models) <= MOST_MODELS:
        raise RemoteProtocolError(f"a choice between {len(m.models)} models", reason="schema")
    models = tuple(digest_field(digest, "models") for digest in m.models)
    number = number_field(m.number, "number")
    header = None
    if m.HasField("header"):
        header = Signed(m.header.body, m.header.signature, m.header.signer[:MAX_NAME])
    return Question(m.run[:MAX_NAME], number, digest_field(m.spec_digest, "spec_digest"), models, header)


def signed_message(signed: Signed) -> sec.Signed:
    """Signed bytes as a message.

    Raises:
        LocalProtocolError: a signature of another length.
    """
    if len(signed.signature) != SIGNATURE_BYTES:
        raise LocalProtocolError(f"a signature is {SIGNATURE_BYTES} bytes")
    return sec.Signed(body=signed.body, signature=signed.signature, signer=signed.signer)


def choose_message(value: Choose) -> fed.Choose:
    """A question with its signature as a message."""
    return fed.Choose(question=signed_message(value.question), seconds_left=value.seconds_left)


def choose_value(m: fed.Choose) -> Choose:
    """A message as a question with its signature; the body is looked at by whoever verifies it.

    Raises:
        RemoteProtocolError: malformed.
    """
    if len(m.question.signature) != SIGNATURE_BYTES:
        raise RemoteProtocolError(f"a signature of {len(m.question.signature)} bytes", reason="schema")
    seconds = min(max(m.seconds_left, 0.0), MOST_SECONDS) if math.isfinite(m.seconds_left) else 0.0
    return Choose(Signed(m.question.body, m.question.signature, m.question.signer[:MAX_NAME]), seconds)


def choice_message(value: Choice) -> fed.ClientMessage:
    """An answer as a message."""
    choice = fed.Choice(number=value.number, place=value.place, reason=text_field(value.reason, MAX_NAME))
    return fed.ClientMessage(choice=choice)


def choice_value(m: fed.Choice) -> Choice:
    """A message as an answer; whether there is a model in that place is the server's to see."""
    return Choice(m.number, m.place, m.reason[:MAX_NAME])
