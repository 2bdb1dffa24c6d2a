"""What a client refuses to do, one refusal for each rule, and that a refused job leaves no trace."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.policy import Rules
from roughfed.client.rules.checks import check_chain, check_header, check_rounds, check_welcome, used_up
from roughfed.client.storage.store import ClientStore, SavedUpdate
from roughfed.config.client import PolicySettings
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, ModeRefused, RemoteProtocolError, RoughfedError
from roughfed.messages import Welcome
from roughfed.training import TURN
from roughfed.types import Job, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN, encode_header, job_digest
from roughfed.wire.updates import UPDATE_DOMAIN

KEY, OTHER = (IdentityKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
SPEC = Spec((TensorSpec("w", (10,)),))
RULES = Rules(PolicySettings(server_sees="updates", max_model_bytes=1000))
WELCOME = Welcome("1", 2, "run-1", SPEC, b"", "updates", "classification", 10)


def header(number: int = 3, **changes: object) -> RoundHeader:
    sane = RoundHeader(
        run="run-1",
        round=number,
        model_digest=bytes([1]) * 32,
        model_version=2,
        spec_digest=SPEC.digest,
        previous_header_digest=bytes([number - 1]) * 32,
        codec="identity",
        server_sees="updates",
        roster_root=bytes(32),
        deadline_s=60.0,
        job_digest=job_digest({}, evaluate=True),
    )
    return replace(sane, **changes)


def job(what: RoundHeader | None = None, *, key: IdentityKey = KEY, **changes: object) -> Job:
    body = encode_header(what or header())
    signed = Signed(body, key.sign(HEADER_DOMAIN, body), "server")
    sane = Job(signed, {}, 1, evaluate=True, train=True, model_bytes=40, seconds_left=60.0)
    return replace(sane, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def check(store: ClientStore, what: Job) -> RoundHeader:
    return asyncio.run(
        check_header(
            what,
            WELCOME,
            server_key=KEY.public_key,
            rules=RULES,
            store=store,
            disclosed=DisclosureRecord(store.journal),
        )
    )


def test_an_honest_job_is_taken_and_noted_again_and_again(store: ClientStore) -> None:
    for _ in range(2):  # the server sends it again when the client is back
        assert check(store, job()) == header()
        assert store.chain("run-1") == (3, job().header.digest)


SANE = job().header
REFUSED: dict[str, tuple[Job, type[RoughfedError], str]] = {
    "signed by another": (job(key=OTHER), IdentityError, "signature"),
    "not signed": (job(header=replace(SANE, signature=bytes(64))), IdentityError, "signature"),
    "changed after signing": (job(header=replace(SANE, body=encode_header(header(4)))), IdentityError, "signature"),
    "signed for another purpose": (
        job(header=replace(SANE, signature=KEY.sign(UPDATE_DOMAIN, SANE.body))), IdentityError, "signature"),
    "no header": (job(header=Signed(b"", KEY.sign(HEADER_DOMAIN, b""), "server")), RemoteProtocolError, "schema"),
    "other settings for this client": (job(trainer={"lr": 1e-300}), RemoteProtocolError, "job"),
    "facts of its own for this client": (job(facts={"class-prior": (0.5, 0.5)}), RemoteProtocolError, "job"),
    "an evaluation of this client alone": (job(evaluate=False), RemoteProtocolError, "job"),
    "another run": (job(header(run="run-2")), RemoteProtocolError, "header"),
    "another model": (job(header(spec_digest=bytes(32))), RemoteProtocolError, "header"),
    "a mode nobody agreed on": (job(header(server_sees="sums")), RemoteProtocolError, "policy"),
    "a mode that nobody knows": (job(header(server_sees="all")), ModeRefused, "mode"),
    "an unknown codec": (job(header(codec="lanes")), RemoteProtocolError, "codec"),
    "another size": (job(model_bytes=44), RemoteProtocolError, "size"),
}  # fmt: skip


@pytest.mark.parametrize(("what", "kind", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_each_rule_has_one_refusal_and_notes_nothing(
    store: ClientStore, what: Job, kind: type[RoughfedError], reason: str
) -> None:
    with pytest.raises(kind) as refused:
        check(store, what)
    assert type(refused.value) is kind
    assert refused.value.reason == reason
    assert store.chain("run-1") is None


def test_a_header_that_shows_more_than_the_welcome_said_is_refused(store: ClientStore) -> None:
    welcome, strict = replace(WELCOME, server_sees="sums"), RULES.with_policy(server_sees="sums")
    for rules, kind, reason in ((RULES, RemoteProtocolError, "policy"), (strict, ModeRefused, "mode")):
        with pytest.raises(kind) as refused:
            asyncio.run(
                check_header(
                    job(),
                    welcome,
                    server_key=KEY.public_key,
                    rules=rules,
                    store=store,
                    disclosed=DisclosureRecord(store.journal),
                )
            )
        assert (type(refused.value), refused.value.reason) == (kind, reason)


def chained(number: int, after: Signed) -> Job:
    return job(header(number, previous_header_digest=after.digest))


def test_the_chain_may_go_on_and_may_skip_rounds(store: ClientStore) -> None:
    check(store, job())
    check(store, following := chained(4, SANE))
    check(store, job(header(9)))  # this client was not in the rounds between
    assert following.header.digest != SANE.digest
    assert store.chain("run-1") == (9, job(header(9)).header.digest)


FORKS: dict[str, tuple[Job, type[RoughfedError], str]] = {
    "two headers for a round": (job(header(3, model_version=7)), IdentityError, "two-headers"),
    "a chain that forks": (chained(4, job(header(3, model_version=7)).header), IdentityError, "chain"),
    "an older round": (job(header(2)), RemoteProtocolError, "stale"),
    "the first round again": (job(header(1, previous_header_digest=bytes(32))), RemoteProtocolError, "stale"),
}


@pytest.mark.parametrize(("what", "kind", "reason"), FORKS.values(), ids=FORKS.keys())
@pytest.mark.parametrize("train", [True, False])
def test_a_server_that_tells_two_stories_is_caught(
    tmp_path: Path, what: Job, kind: type[RoughfedError], reason: str, train: bool
) -> None:
    store = ClientStore(tmp_path)
    check(store, job())
    store.close()
    store = ClientStore(tmp_path)  # also after a restart
    with pytest.raises(kind) as refused:
        check(store, replace(what, train=train))
    assert refused.value.reason == reason
    assert store.chain("run-1") == (3, SANE.digest)
    store.close()


def test_an_evaluation_takes_no_place_in_the_chain(store: ClientStore) -> None:
    check(store, job())
    check(store, replace(chained(4, SANE), train=False))
    check(store, job(header(4, previous_header_digest=SANE.digest, model_version=9)))


def test_runs_have_chains_of_their_own(store: ClientStore) -> None:
    asyncio.run(store.extend_chain("run-0", 50, bytes(32)))
    check(store, job())
    assert (store.chain("run-0"), store.chain("run-1")) == ((50, bytes(32)), (3, SANE.digest))


def test_a_round_is_not_answered_again_after_another_run(store: ClientStore) -> None:
    check(store, job())
    noted = SavedUpdate("run-1", 3, SANE.digest, bytes(32), Signed(b"", b"", "alpha"))
    asyncio.run(store.save_update(noted))
    check(store, job())  # what was promised is known: the same again
    asyncio.run(store.save_update(replace(noted, run="run-2", round=1)))
    with pytest.raises(RemoteProtocolError, match="another run") as refused:
        check(store, job())
    assert refused.value.reason == "stale"
    check(store, chained(4, SANE))


def test_check_chain_is_strict_about_the_next_round_only() -> None:
    for number in range(1, 8):
        wrong = header(number, previous_header_digest=bytes(32))
        right = header(number, previous_header_digest=SANE.digest)
        outcome = [_reason(what) for what in (wrong, right)]
        assert outcome == (["stale"] * 2 if number < 3 else ["two-headers"] * 2 if number == 3 else
                           ["chain", ""] if number == 4 else ["", ""])  # fmt: skip


def _reason(what: RoundHeader) -> str:
    try:
        check_chain(what, bytes(32), (3, SANE.digest))
    except RoughfedError as error:
        return error.reason
    return ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec": Spec((TensorSpec("w", (251,)),))}, "max_model_bytes"),
        ({"spec": Spec((TensorSpec("w", (2**63, 2**63)),))}, "max_model_bytes"),
    ],
)
def test_a_run_that_breaks_the_policy_is_left_with_the_key_to_turn(changes: dict[str, object], said: str) -> None:
    check_welcome(WELCOME, RULES)
    check_welcome(replace(WELCOME, spec=Spec((TensorSpec("w", (250,)),))), RULES)
    with pytest.raises(RemoteProtocolError, match=said) as refused:
        check_welcome(replace(WELCOME, **changes), RULES)
    assert refused.value.reason == "policy"
    assert len(json.dumps(str(refused.value))) < 300


def test_in_a_masked_run_nobodys_evaluation_is_told_alone(store: ClientStore) -> None:
    masked = job(header(server_sees="sums", codec="lanes"), train=False)
    rules, welcome = RULES.with_policy(server_sees="sums"), replace(WELCOME, server_sees="sums")
    with pytest.raises(RemoteProtocolError, match="alone"):
        asyncio.run(
            check_header(
                masked,
                welcome,
                server_key=KEY.public_key,
                rules=rules,
                store=store,
                disclosed=DisclosureRecord(store.journal),
            )
        )


@pytest.mark.parametrize("rounds", [1, 100, 1 << 40])
def test_no_number_of_the_servers_enlarges_what_is_shown(store: ClientStore, rounds: int) -> None:
    """Neither the rounds of the welcome nor those in the facts, which an edge passes on from the top."""
    facts = {TURN: (2.0,), "rounds": (float(rounds),)}
    rules = RULES.with_policy(server_sees="sketches", max_sketch_numbers=256)
    shown = header(1, server_sees="sketches", model_digest=bytes(32), sketch_dim=256)
    asyncio.run(DisclosureRecord(store.journal).record_numbers(shown))
    asked = header(
        server_sees="sketches", codec="lanes", levels=16, lane_bits=8, clip_norm=1.0, nonce_commitment=bytes([1]) * 32,
        sketch_dim=2, epoch_round=3, job_digest=job_digest({}, evaluate=True, facts=facts),
    )  # fmt: skip
    one, welcome = job(asked, facts=facts), replace(WELCOME, server_sees="sketches", rounds=rounds)
    with pytest.raises(RemoteProtocolError, match="max_sketch_numbers"):
        asyncio.run(
            check_header(
                one,
                welcome,
                server_key=KEY.public_key,
                rules=rules,
                store=store,
                disclosed=DisclosureRecord(store.journal),
            )
        )


def test_the_limit_of_rounds_counts_what_was_noted_and_survives_a_restart(tmp_path: Path) -> None:
    rules = RULES.with_policy(max_rounds=2)
    for number in (1, 2):
        store = ClientStore(tmp_path)
        check_rounds(header(number), rules=rules, store=store)
        assert not used_up(store, rules.policy.max_rounds)
        update = SavedUpdate("run-1", number, bytes(32), bytes(32), Signed(b"", b"", "alpha"))
        for _ in range(3):  # tried again and again, it is one round
            asyncio.run(store.save_update(update))
        store.close()
    store = ClientStore(tmp_path)
    check_rounds(header(2), rules=rules, store=store)  # the one that is promised already
    with pytest.raises(RemoteProtocolError, match="max_rounds") as refused:
        check_rounds(header(3), rules=rules, store=store)
    assert refused.value.reason == "policy"
    assert used_up(store, 2)
    assert not used_up(store, 0)  # no limit
    store.close()
