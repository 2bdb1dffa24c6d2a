"""What a client holds against a question about its data, and what it tells."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roughfed.client.disclosure.limits import CHOICE
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.policy import Rules
from roughfed.client.round import cluster_choice
from roughfed.client.round.cluster_choice import check_question
from roughfed.client.storage.store import ClientStore
from roughfed.config.client import PolicySettings
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.messages import Choose
from roughfed.training import Turn
from roughfed.types import RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.cluster_choice import QUESTION_DOMAIN, Question, decode_question, encode_question
from roughfed.wire.session import HEADER_DOMAIN, encode_header

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

    async def loss_of(_ctx: Any, _session: Any, _question: Question, model: bytes) -> float:
        return found[model]

    monkeypatch.setattr(cluster_choice, "loss_of", loss_of)
    return found


def choose(store: ClientStore, session: Any, question: Question) -> int:
    return asyncio.run(cluster_choice.choose(cast(Any, SimpleNamespace(store=store)), session, question))


def member(store: ClientStore, bits: int = 64, *, clusters: bool = True, declared: int = 16) -> Any:
    rules = Rules(
        PolicySettings(server_sees="sketches", max_model_bytes=100, max_choice_bits=bits, clusters=clusters), runs=2
    )
    welcome = SimpleNamespace(run="run-1", spec=SPEC, clusters=declared)
    disclosed = DisclosureRecord(store.journal)
    return SimpleNamespace(disclosed=disclosed, rules=rules, server_key=KEY.public_key, welcome=welcome)


def question(
    number: int = 1, *, run: str = "run-1", models: tuple[bytes, ...] = MODELS, header: Signed | None = None
) -> Question:
    return Question(run, number, SPEC.digest, models, header)


def bits_told(store: ClientStore) -> int:
    return sum(DisclosureRecord(store.journal).given(CHOICE))


def header(number: int = 3, *, heads: tuple[bytes, ...] = MODELS, key: IdentityKey = KEY, run: str = "run-1") -> Signed:
    body = encode_header(
        RoundHeader(
            run=run, round=number, model_digest=MODELS[0], model_version=1, spec_digest=SPEC.digest,
            previous_header_digest=bytes(32), codec="lanes", server_sees="sketches", roster_root=bytes(32),
            deadline_s=1.0, heads=heads,
        )
    )  # fmt: skip
    return Signed(body, key.sign(HEADER_DOMAIN, body), "server")


def asked(one: Question, key: IdentityKey = KEY) -> Choose:
    body = encode_question(one)
    return Choose(Signed(body, key.sign(QUESTION_DOMAIN, body), "server"), 10.0)


def test_the_least_loss_wins_and_is_noted(store: ClientStore, losses: dict[bytes, float]) -> None:
    assert choose(store, member(store), question()) == 2  # of equals the first
    assert bits_told(store) == 2
    assert store.pinned == {MODELS[1]}
    losses[MODELS[0]] = 0.0
    assert choose(store, member(store), question()) == 2  # the same word again, and told once
    assert bits_told(store) == 2
    assert choose(store, member(store), question(2)) == 1
    assert bits_told(store) == 4


@pytest.mark.parametrize("one", [question(1), question(2, models=MODELS[:2])])
def test_a_number_stands_for_one_question(store: ClientStore, losses: dict[bytes, float], one: Question) -> None:
    del losses
    choose(store, member(store), question(2))
    with pytest.raises(RemoteProtocolError) as refused:
        choose(store, member(store), one)
    assert refused.value.reason == "stale"


def test_the_budget_is_for_all_runs_and_ends(store: ClientStore, losses: dict[bytes, float]) -> None:
    del losses
    me = member(store, bits=5)
    for number in (1, 2):
        choose(store, me, question(number))
    with pytest.raises(RemoteProtocolError) as refused:
        choose(store, me, question(3))  # two bits more than four
    assert (refused.value.reason, "max_choice_bits" in str(refused.value)) == ("policy", True)
    with pytest.raises(RemoteProtocolError):
        choose(store, me, question(1, run="run-2"))  # another name changes nothing
    assert choose(store, me, question(1, run="run-2", models=MODELS[:2])) == 2  # one bit more
    with pytest.raises(RemoteProtocolError):
        choose(store, member(store, bits=0), question(4))


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
        check_question(store, member(store), message)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"clusters": False}, "policy.clusters"), ({"declared": 0}, "spoke of 0"), ({"declared": 2}, "spoke of 2")],
)
def test_who_did_not_agree_to_choose_is_not_asked(store: ClientStore, changes: dict[str, Any], said: str) -> None:
    """The owner's word and the welcome's, each alone; a default client has given none."""
    assert not Rules(PolicySettings(server_sees="sketches", max_model_bytes=100)).policy.clusters
    with pytest.raises(RemoteProtocolError, match=said) as refused:
        check_question(store, member(store, **changes), asked(question()))
    assert refused.value.reason == "policy"


def test_models_are_those_that_a_header_named(store: ClientStore) -> None:
    me, other = member(store), IdentityKey.from_private_bytes(bytes([9]) * 32)
    last = header()
    asyncio.run(store.extend_chain("run-1", 3, last.digest))
    check_question(store, me, asked(question(header=last)))
    newest = (*MODELS[:2], bytes([9]) * 32)  # what the last round made
    check_question(store, me, asked(question(models=newest, header=last)))
    check_question(store, me, asked(question(header=header(5))))  # of a round of others
    false: tuple[tuple[Signed | None, tuple[bytes, ...], type[Exception]], ...] = (
        (None, MODELS, RemoteProtocolError),
        (last, (MODELS[0], bytes(32), bytes([9]) * 32), RemoteProtocolError),
        (header(2), MODELS, RemoteProtocolError),
        (header(3, heads=MODELS[:2]), MODELS, IdentityError),  # another one of the round that this client was in
        (header(5, key=other), MODELS, IdentityError),
        (header(5, run="run-2"), MODELS, RemoteProtocolError),
    )
    for signed, models, error in false:
        with pytest.raises(error):
            check_question(store, me, asked(question(models=models, header=signed)))


def test_a_true_one_is_what_was_signed(store: ClientStore) -> None:
    assert check_question(store, member(store), asked(question())) == question()
    assert decode_question(encode_question(question())) == question()


def test_schedules_go_by_the_rounds_of_the_cluster() -> None:
    assert (Turn(9, 5).place, Turn(9, 5).planned) == (9, 9)
    turn = Turn(9, 9, facts={"turn": (4.0,), "rounds": (5.0,)})
    assert (turn.place, turn.planned) == (4, 5)
