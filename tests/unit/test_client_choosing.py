"""What a client holds against a question about its data, and what it tells."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.client import choosing
from roughfed.client.choosing import bits_told, check_question, choose
from roughfed.client.rules import Rules
from roughfed.client.store import ClientStore
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.messages import Choose
from roughfed.training import Turn
from roughfed.types import Signed, Spec, TensorSpec
from roughfed.wire.choosing import QUESTION_DOMAIN, Question, decode_question, encode_question

SPEC = Spec((TensorSpec("w", (3,)),))
MODELS = tuple(bytes([number]) * 32 for number in (1, 2, 3))
KEY = IdentityKey.from_private_bytes(bytes(32))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    opened = ClientStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, float]:
    """Model -> what the trainer finds."""
    found = {MODELS[0]: 2.0, MODELS[1]: 0.5, MODELS[2]: 0.5}

    async def loss_of(_me: Any, _question: Question, model: bytes) -> float:
        return found[model]

    monkeypatch.setattr(choosing, "loss_of", loss_of)
    return found


def member(store: ClientStore, bits: int = 64) -> Any:
    rules = Rules(server_sees="sketches", max_model_bytes=100, max_choice_bits=bits)
    return SimpleNamespace(
        store=store, rules=rules, server_key=KEY.public_key, welcome=SimpleNamespace(run="run-1", spec=SPEC)
    )


def question(number: int = 1, *, run: str = "run-1", models: tuple[bytes, ...] = MODELS) -> Question:
    return Question(run, number, SPEC.digest, models)


def asked(one: Question, key: IdentityKey = KEY) -> Choose:
    body = encode_question(one)
    return Choose(Signed(body, key.sign(QUESTION_DOMAIN, body), "server"), 10.0)


def test_the_least_loss_wins_and_is_noted(store: ClientStore, losses: dict[bytes, float]) -> None:
    assert asyncio.run(choose(member(store), question())) == 2  # of equals the first
    assert bits_told(store, "run-1") == 2
    assert store.held == {MODELS[1]}
    losses[MODELS[0]] = 0.0
    assert asyncio.run(choose(member(store), question())) == 2  # the same word again, and told once
    assert bits_told(store, "run-1") == 2
    assert asyncio.run(choose(member(store), question(2))) == 1
    assert bits_told(store, "run-1") == 4


@pytest.mark.parametrize("one", [question(1), question(2, models=MODELS[:2])])
def test_a_number_stands_for_one_question(store: ClientStore, losses: dict[bytes, float], one: Question) -> None:
    del losses
    asyncio.run(choose(member(store), question(2)))
    with pytest.raises(RemoteProtocolError) as refused:
        asyncio.run(choose(member(store), one))
    assert refused.value.reason == "stale"


def test_the_budget_is_for_the_run_and_ends(store: ClientStore, losses: dict[bytes, float]) -> None:
    del losses
    me = member(store, bits=5)
    for number in (1, 2):
        asyncio.run(choose(me, question(number)))
    with pytest.raises(RemoteProtocolError) as refused:
        asyncio.run(choose(me, question(3)))  # two bits more than four
    assert refused.value.reason == "policy"
    assert asyncio.run(choose(me, question(3, models=MODELS[:2]))) == 2  # one bit more
    with pytest.raises(RemoteProtocolError):
        asyncio.run(choose(member(store, bits=0), question(4)))


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (asked(question(), IdentityKey.from_private_bytes(bytes([9]) * 32)), IdentityError),
        (asked(question(run="run-2")), RemoteProtocolError),
        (asked(Question("run-1", 1, bytes(32), MODELS)), RemoteProtocolError),
        (asked(question(models=MODELS[:1])), RemoteProtocolError),
        (asked(question(models=tuple(bytes([number]) * 32 for number in range(17)))), RemoteProtocolError),
        (asked(question(models=(b"short", *MODELS))), RemoteProtocolError),
    ],
)
def test_a_false_question_is_not_answered(store: ClientStore, message: Choose, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_question(member(store), message)


def test_a_true_one_is_what_was_signed(store: ClientStore) -> None:
    assert check_question(member(store), asked(question())) == question()
    assert decode_question(encode_question(question())) == question()


def test_schedules_go_by_the_rounds_of_the_cluster() -> None:
    assert (Turn(9, 5).place, Turn(9, 5).planned) == (9, 9)
    turn = Turn(9, 9, facts={"turn": (4.0,), "rounds": (5.0,)})
    assert (turn.place, turn.planned) == (4, 5)
