"""The disclosure record: what it counts and refuses, and that no name or number of the server's changes it."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.client.disclosure import limits as rule
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.disclosure.round import admit_model, admit_stage
from roughfed.client.policy import Rules
from roughfed.client.storage import store as store_module
from roughfed.client.storage.own_secret import COLUMNS, FILE, SIGNS, fingerprint, mixed_seed, own_secret
from roughfed.client.storage.store import DISCLOSURE_STEP, SCHEMA, ClientStore
from roughfed.config.client import ClientConfig, ClientSettings, PolicySettings
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.messages import ServerStage
from roughfed.params import write_model
from roughfed.secagg import messages as m
from roughfed.types import Job, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.secagg import encode_stage

SECRET, C = bytes(range(32)), 1.0
MODEL_ROUNDS = Rules(PolicySettings(server_sees="sketches", max_model_bytes=100)).policy.max_model_rounds
NAMES = tuple(f"client-{number}" for number in range(10))


def header(number: int = 1, *, run: str = "run-1", **changes: object) -> RoundHeader:
    sane = RoundHeader(
        run=run,
        round=number,
        model_digest=bytes([number]) * 32,
        model_version=number - 1,
        spec_digest=bytes(32),
        previous_header_digest=bytes(32),
        codec="lanes",
        server_sees="sketches",
        roster_root=bytes(32),
        deadline_s=60.0,
        clip_norm=C,
        sketch_dim=128,
    )
    return replace(sane, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    opened = ClientStore(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def disclosed(store: ClientStore) -> DisclosureRecord:
    return DisclosureRecord(store.journal, ca=b"ca", model=b"model", federation="fed")


def model_file(folder: Path, values: np.ndarray) -> Path:
    path = folder / "model.safetensors"
    write_model(path, Spec((TensorSpec("w", values.shape),)), [values.astype(np.float32)])
    return path


# -- runs ---------------------------------------------------------------------------------------------------------


def enter(disclosed: DisclosureRecord, run: str, *, allowed: int = 1, spec: bytes = bytes(32)) -> None:
    asyncio.run(disclosed.enter(run, spec, allowed=allowed))


def test_a_run_of_another_name_is_the_owners_to_allow(disclosed: DisclosureRecord) -> None:
    for _ in range(3):  # the same again and again, after restarts
        enter(disclosed, "run-1")
    with pytest.raises(RemoteProtocolError, match=r"client.stay.*join --runs 2") as refused:
        enter(disclosed, "run-2")
    assert refused.value.reason == "policy"
    enter(disclosed, "run-2", allowed=2)
    enter(disclosed, "run-1")  # known ones go on, whatever is allowed now
    assert set(disclosed.runs()) == {"run-1", "run-2"}
    with pytest.raises(RemoteProtocolError):
        enter(disclosed, "run-3", allowed=2)


def test_a_run_keeps_its_tensors(disclosed: DisclosureRecord) -> None:
    enter(disclosed, "run-1")
    with pytest.raises(IdentityError) as refused:
        enter(disclosed, "run-1", spec=bytes([1]) * 32)
    assert refused.value.reason == "two-models"


def test_records_are_of_a_federation_and_a_model(store: ClientStore, disclosed: DisclosureRecord) -> None:
    asyncio.run(disclosed.record_numbers(header()))
    asyncio.run(disclosed.record_given("run-1", 1, {rule.STATIC: 5}))
    enter(disclosed, "run-1")
    for other in (
        DisclosureRecord(store.journal, ca=b"ca", model=b"other"),
        DisclosureRecord(store.journal, ca=b"c", model=b"amodel"),
    ):
        assert (other.numbers(header(2)), other.given(rule.STATIC), other.runs()) == (0, [], {})
    assert disclosed.numbers(header(2)) == disclosed.numbers(header(1, run="run-2")) == 128


@pytest.mark.parametrize(("value", "runs"), [(False, 1), (1, 1), (7, 7)])
def test_stay_is_a_number_of_runs(value: object, runs: int) -> None:
    assert ClientConfig(client=ClientSettings(stay=value)).client.stay == runs  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [True, 0, -1, "many"])
def test_stay_without_a_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="stay"):
        ClientSettings(stay=value)  # pyright: ignore[reportArgumentType]


# -- old directories ------------------------------------------------------------------------------------------------


def test_what_an_older_version_showed_counts_in_every_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SCHEMA", SCHEMA[: SCHEMA.index(DISCLOSURE_STEP)])
    ClientStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "client.db")) as db:
        for sql in (
            "INSERT INTO shown VALUES ('run-1', 1, zeroblob(32), 128), ('run-1', 2, zeroblob(32), 0)",
            "INSERT INTO rounds_used VALUES ('run-1', 1), ('run-0', 4)",
            "INSERT INTO statics_given VALUES ('run-1')",
            "INSERT INTO given VALUES ('run-1', 1, 'transition'), ('run-1', 2, 'transition')",
            "INSERT INTO choices VALUES ('run-1', 3, x'00', 1, 2)",
            "INSERT INTO chain VALUES ('run-2', 1, zeroblob(32), 0)",
        ):
            db.execute(sql)
        db.commit()
    monkeypatch.undo()
    with closing(ClientStore(tmp_path)) as store:
        for disclosed in (DisclosureRecord(store.journal, ca=b"a", model=b"b"), DisclosureRecord(store.journal)):
            assert disclosed.numbers(header(9)) == 128
            assert set(disclosed.runs()) == {"run-0", "run-1", "run-2"}
            assert [each.distance for each in disclosed.earlier(header(9, model_digest=bytes(32)))] == [0.0, 0.0]
            assert disclosed.given(rule.STATIC) == [0]
            assert not rule.may_give_statics(disclosed.given(rule.STATIC), 1000, most=1)
            totals = disclosed.totals()
            assert (totals.given, totals.bits, totals.numbers) == ({"static": 1, "transition": 2}, 2, 128)
            assert totals.rounds == {"sketches": 1, "sums": 1, "": 1}
        (choice,) = store.journal.read("SELECT * FROM choices")
        assert tuple(choice) == ("run-1", 3, b"\0", 1)


# -- models that stand still ------------------------------------------------------------------------------------------


def answer(disclosed: DisclosureRecord, folder: Path, number: int, values: np.ndarray) -> None:
    """One round on a model: the update leaves, and the server asks this client nothing more."""
    one = header(number)
    on_model(disclosed, one, model_file(folder, values))
    asyncio.run(disclosed.record_sent(one, C))


def on_model(disclosed: DisclosureRecord, one: RoundHeader, params: Path) -> bool:
    return asyncio.run(admit_model(disclosed, one, fingerprint(params, SECRET), most=MODEL_ROUNDS))


@pytest.mark.parametrize("step", [0.0, 1.0], ids=["the same", "an ulp"])
def test_a_model_that_stands_still_but_for_an_ulp_is_answered_a_few_times(
    disclosed: DisclosureRecord, tmp_path: Path, step: float
) -> None:
    values = np.random.default_rng(0).normal(size=650).astype(np.float32)
    for number in range(1, MODEL_ROUNDS + 1):
        answer(disclosed, tmp_path, number, values)
        if step:
            values[0] = np.nextafter(values[0], np.float32(np.inf))
    with pytest.raises(RemoteProtocolError, match="on this model") as refused:
        answer(disclosed, tmp_path, 19, values)
    assert refused.value.reason == "policy"
    values += 2 * rule.CLOSE * C / np.sqrt(len(values))
    answer(disclosed, tmp_path, 20, values)


def test_a_clip_norm_that_is_next_to_nothing_makes_no_model_another(
    disclosed: DisclosureRecord, tmp_path: Path
) -> None:
    """A server that names a C far below the updates' norm gets their directions all the same."""
    values, tiny = np.ones(10, dtype=np.float32), 1e-6
    for number, near in ((1, False), (2, True)):
        one = header(number, clip_norm=tiny)
        assert on_model(disclosed, one, model_file(tmp_path, values)) is near
        asyncio.run(disclosed.record_sent(one, rule.scale_of(tiny, C)))
        values[0] += 2 * rule.CLOSE * tiny


def test_a_model_of_what_is_no_number_is_near_all_others(disclosed: DisclosureRecord, tmp_path: Path) -> None:
    for number in range(1, MODEL_ROUNDS + 1):
        answer(disclosed, tmp_path, number, np.full(10, number * C, dtype=np.float32))
    with pytest.raises(RemoteProtocolError):
        answer(disclosed, tmp_path, 19, np.full(10, np.nan, dtype=np.float32))


def test_a_round_that_showed_nothing_and_one_that_is_taken_up_again_do_not_count(
    disclosed: DisclosureRecord, tmp_path: Path
) -> None:
    values = np.ones(10, dtype=np.float32)
    own = fingerprint(model_file(tmp_path, values), SECRET)
    for number in range(1, 3 * MODEL_ROUNDS):
        asyncio.run(disclosed.record_model(header(number), own))  # trained, and the round came to nothing
    for _ in range(2 * MODEL_ROUNDS):
        answer(disclosed, tmp_path, 99, values)


@pytest.mark.parametrize("size", [5, 300, 40_000])
def test_distances_of_fingerprints_are_those_of_the_models(tmp_path: Path, size: int) -> None:
    rng, ratios = np.random.default_rng(size), list[float]()
    for _ in range(20):
        first = rng.normal(size=size).astype(np.float32)
        second = first + (rng.normal(size=size) * 1e-3).astype(np.float32)
        one, two = (fingerprint(model_file(tmp_path, each), SECRET) for each in (first, second))
        assert one.shape == (SIGNS * COLUMNS,)
        ratios.append(float(np.linalg.norm(one - two) / np.linalg.norm(second - first)))
    assert 0.8 < min(ratios) <= max(ratios) < 1.2
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.03)
    if size > COLUMNS:
        assert not np.allclose(one, fingerprint(model_file(tmp_path, second), bytes(32)))


def test_a_difference_that_is_made_for_it_seems_no_more_than_a_few_times_as_large(tmp_path: Path) -> None:
    """All rows alike: the worst that can be chosen without the secret."""
    first = np.zeros(200 * COLUMNS, dtype=np.float32)
    second = np.tile(np.random.default_rng(1).normal(size=COLUMNS).astype(np.float32), 200)
    ratios: list[float] = []
    for number in range(100):
        one, two = (fingerprint(model_file(tmp_path, each), bytes([number]) * 32) for each in (first, second))
        ratios.append(float(np.linalg.norm(one - two) / np.linalg.norm(second)))
    assert np.mean(np.square(ratios)) == pytest.approx(1.0, abs=0.3)
    assert max(ratios) < 3


def test_the_oldest_models_are_forgotten_and_how_far_they_moved_is_not(
    disclosed: DisclosureRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds that come to nothing push none out: they would cost a server that wants it nothing."""
    most = 10
    monkeypatch.setattr("roughfed.client.disclosure.record.MODELS_REMEMBERED", most)
    for number in range(1, most + 6):
        answer(disclosed, tmp_path, number, np.array([number, 0.0], dtype=np.float32))
    far = fingerprint(model_file(tmp_path, np.zeros(2, dtype=np.float32)), SECRET)
    for number in range(100, 100 + 2 * most):
        asyncio.run(disclosed.record_model(header(number), far))
    assert len(disclosed.earlier(header(99), far)) == most
    assert disclosed.totals().least_moved == pytest.approx(1.0)


# -- sums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (NAMES, False),  # the same sum again
        (NAMES[1:], True),
        (NAMES[4:], True),
        (NAMES[5:], False),  # as many as a sum of ten has at least
        ((*NAMES[1:], "another"), True),
    ],
)
def test_sums_that_differ_by_few_are_not_signed(accepted: tuple[str, ...], refused: bool) -> None:
    with pytest.raises(RemoteProtocolError, match="differs") if refused else nullcontext():
        rule.check_sets(rule.members_of(accepted), [rule.members_of(NAMES)], dealers=10)


def test_some_pairs_of_such_sums_on_a_model_let_a_federation_go_on() -> None:
    """A round was void, because somebody lied or was lost; the next one on the same model is without that client."""
    every, fewer, others = (rule.members_of(names) for names in (NAMES, NAMES[1:], NAMES[:-1]))
    rule.check_sets(fewer, [every], dealers=10, most=1)
    for again in (every, fewer):
        rule.check_sets(again, [every, fewer], dealers=10, most=1)
    with pytest.raises(RemoteProtocolError, match="max_differences"):
        rule.check_sets(others, [every, fewer], dealers=10, most=1)


def test_a_sum_that_this_client_was_not_told_of_counts_as_one_that_differs() -> None:
    """t others can open it: a server that has them need not ask."""
    every, untold = rule.members_of(NAMES), b""
    rule.check_sets(every, [untold], dealers=10, most=1)
    for earlier, most in (([untold], 0), ([untold, untold], 1)):
        with pytest.raises(RemoteProtocolError, match="max_differences"):
            rule.check_sets(every, earlier, dealers=10, most=most)


@given(st.sets(st.text(max_size=5), max_size=20))
def test_members_are_known_by_their_names_in_any_order(names: set[str]) -> None:
    backwards = sorted(names, reverse=True)
    assert rule.members_of(backwards) == rule.members_of(names)
    assert len(rule.split_members(rule.members_of(names))) == len(names)


def test_a_sum_counts_from_where_the_update_left(disclosed: DisclosureRecord, tmp_path: Path) -> None:
    one, two = header(1), header(2, model_digest=header(1).model_digest)
    own = fingerprint(model_file(tmp_path, np.ones(3, dtype=np.float32)), SECRET)
    asyncio.run(disclosed.record_model(one, own))
    assert disclosed.earlier(two) == []
    asyncio.run(disclosed.record_sent(one, C))
    assert [each.accepted for each in disclosed.earlier(two)] == [b""]
    assert disclosed.totals().rounds == {"sketches": 1}
    asyncio.run(disclosed.record_sum(one, rule.members_of(NAMES)))
    assert [each.accepted for each in disclosed.earlier(two)] == [rule.members_of(NAMES)]
    assert disclosed.earlier(one) == []


def test_the_record_adds_up_beside_its_limits(disclosed: DisclosureRecord, tmp_path: Path) -> None:
    enter(disclosed, "run-1")
    for number in (1, 2):
        answer(disclosed, tmp_path, number, np.array([2.0 * number, 0.0], dtype=np.float32))
        asyncio.run(disclosed.record_numbers(header(number)))
        asyncio.run(disclosed.record_sum(header(number), rule.members_of(NAMES[number:])))
        asyncio.run(disclosed.record_given("run-1", number, {"transition": 1}))
    asyncio.run(disclosed.record_given("run-1", 1, {rule.STATIC: 10, rule.CHOICE: 3}))
    asyncio.run(disclosed.record_model(header(3, server_sees="updates", sketch_dim=0)))
    totals = disclosed.totals()
    assert (totals.rounds, totals.numbers, totals.bits) == ({"sketches": 2, "updates": 1}, 256, 3)
    assert (totals.smallest_sum, totals.least_moved) == (1, pytest.approx(2.0))  # alone, where updates lie open
    lines = {
        line.name: line
        for line in rule.lines_of(
            totals, Rules(PolicySettings(server_sees="sketches", max_model_bytes=100, max_rounds=6))
        )
    }
    assert {name: (line.used, line.limit) for name, line in lines.items()} == {
        "runs": (1, 1), "rounds": (3, 6), "sketch-numbers": (256, 12_800), "choice-bits": (3, 64), "static": (1, 1),
        "transition": (2, 3),
    }  # fmt: skip
    assert lines["rounds"].share == 0.5
    assert rule.Line("choice-bits", 0, 0, "").share == 0.0


# -- the own secret ---------------------------------------------------------------------------------------------------


def test_a_secret_is_made_once_and_its_owners(tmp_path: Path) -> None:
    secret = own_secret(tmp_path)
    assert (len(secret), own_secret(tmp_path)) == (32, secret)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    assert own_secret(tmp_path / "other") != secret


def test_a_training_follows_from_the_secret_the_round_and_the_servers_word() -> None:
    def job(seed: int, body: bytes = b"header") -> Job:
        return Job(Signed(body, b"", "server"), {}, seed, evaluate=False, train=True, model_bytes=0, seconds_left=0.0)

    seeds = [
        mixed_seed(SECRET)(job(1)),
        mixed_seed(bytes(32))(job(1)),
        mixed_seed(SECRET)(job(2)),
        mixed_seed(SECRET)(job(1, b"another round")),
    ]
    assert mixed_seed(SECRET)(job(1)) == seeds[0]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    assert mixed_seed(SECRET)(job((1 << 64) - 1)) >= 0


# -- the stages of a round ---------------------------------------------------------------------------------------------


def stage(kind: str, value: m.Message) -> ServerStage:
    return ServerStage(kind, encode_stage(value), bytes(64))


def sets_of(accepted: tuple[str, ...]) -> m.Sets:
    left = tuple((name, "absent") for name in NAMES if name not in accepted)
    return m.Sets(bytes(32), 0, accepted, left, bytes(32), ())


def roster_of(size: int) -> m.Roster:
    adverts = tuple(Signed(b"advert", bytes(64), name) for name in NAMES[:size])
    return m.Roster(bytes(32), 0, adverts, (), (), bytes(32))


def test_a_round_is_noted_before_it_is_answered_and_refused_where_it_shows_too_much(
    disclosed: DisclosureRecord, tmp_path: Path
) -> None:
    """As `MaskedPart.hear` calls it, before the machine hears of the stage."""
    rules = Rules(PolicySettings(server_sees="sketches", max_model_bytes=100, max_differences=0))

    def hear(one: RoundHeader, kind: str, value: m.Message) -> None:
        asyncio.run(admit_stage(disclosed, one, stage(kind, value), rules))

    params = model_file(tmp_path, np.ones(20, dtype=np.float32))
    first, second = header(1), header(2)
    for one in (first, second):
        assert on_model(disclosed, one, params) is (one is second)  # its training draws with replacement
        asyncio.run(disclosed.record_sent(first, C))
        hear(replace(one, levels=26), "roster", roster_of(10))
        with pytest.raises(RemoteProtocolError, match="max_levels"):
            hear(replace(one, levels=28), "roster", roster_of(10))  # what is enough for nine
    assert disclosed.totals().numbers == 0
    hear(first, "sets", sets_of(NAMES))
    hear(first, "seed", m.Seed(bytes(32), 0, bytes(32), (), 0, 1, 128, ()))
    assert (disclosed.totals().numbers, disclosed.totals().smallest_sum) == (128, 10)
    with pytest.raises(RemoteProtocolError, match="differs") as refused:
        hear(second, "sets", sets_of(NAMES[1:]))
    assert refused.value.reason == "difference"
    hear(second, "sets", sets_of(NAMES))
    far = model_file(tmp_path, np.zeros(20, dtype=np.float32))
    assert not on_model(disclosed, header(3), far)
    hear(header(3), "sets", sets_of(NAMES[1:]))  # models move: somebody may be lost
    assert disclosed.totals().smallest_sum == 10  # of those that were opened
