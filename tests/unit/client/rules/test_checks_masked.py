"""What a client demands of a masked round: one refusal for each rule, and what it remembers from round to round."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.policy import Rules
from roughfed.client.rules.checks import check_header, check_masked
from roughfed.client.rules.epochs import Epoch, known_epoch, record_epoch
from roughfed.client.storage.store import SCHEMA, ClientStore
from roughfed.config.client import PolicySettings
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, RemoteProtocolError, RoughfedError
from roughfed.messages import Welcome
from roughfed.types import Job, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN, encode_header, job_digest

SERVER = IdentityKey.from_private_bytes(bytes(32))
SPEC = Spec((TensorSpec("w", (10,)),))
WELCOME = Welcome("1", 2, "run-1", SPEC, b"", "sketches", "classification", 10)
RULES = Rules(PolicySettings(server_sees="sketches", max_model_bytes=1000))
MODEL = bytes([7]) * 32
BEACON = bytes([8]) * 32


def header(number: int = 20, **changes: object) -> RoundHeader:
    sane = RoundHeader(
        run="run-1",
        round=number,
        model_digest=MODEL,
        model_version=number - 1,
        spec_digest=bytes(32),
        previous_header_digest=bytes(32),
        codec="lanes",
        server_sees="sketches",
        roster_root=bytes(32),
        deadline_s=60.0,
        levels=16,
        lane_bits=8,
        keep_one_in=1,
        clip_norm=1.0,
        nonce_commitment=bytes(32),
        sketch_dim=128,
        epoch_round=15,
        epoch_beacon=BEACON,
    )
    return replace(sane, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ClientStore]:
    store = ClientStore(tmp_path)
    yield store
    store.close()


def check(store: ClientStore, what: RoundHeader, *, rules: Rules = RULES) -> None:
    check_masked(what, rules=rules, store=store, disclosed=DisclosureRecord(store.journal))


def refusal(store: ClientStore, what: RoundHeader, *, rules: Rules = RULES) -> RoughfedError:
    with pytest.raises(RoughfedError) as refused:
        check(store, what, rules=rules)
    return refused.value


def test_a_sketch_is_no_larger_than_the_policy_says(store: ClientStore) -> None:
    check(store, header(sketch_dim=RULES.policy.max_sketch_dim))
    error = refusal(store, header(sketch_dim=RULES.policy.max_sketch_dim + 2))
    assert (type(error), error.reason) == (RemoteProtocolError, "policy")
    assert "max_sketch_dim" in str(error)


def test_what_is_shown_in_all_rounds_of_all_runs_together_is_bounded(store: ClientStore) -> None:
    """Rounds that brought nothing count, too; one that is taken up again counts once; another run counts on."""
    rules, disclosed = RULES.with_policy(max_sketch_numbers=1000), DisclosureRecord(store.journal)
    fits = 1000 // 128
    for number in range(1, fits + 1):
        asked = header(number, model_digest=bytes([number]) * 32, epoch_round=number, epoch_beacon=b"")
        check(store, asked, rules=rules)
        for _ in range(2):
            asyncio.run(disclosed.record_numbers(asked))
        check(store, asked, rules=rules)  # taken up again
    for run in ("run-1", "run-2"):
        error = refusal(store, header(fits + 1, run=run, epoch_round=fits + 1, epoch_beacon=b""), rules=rules)
        assert (error.reason, "max_sketch_numbers" in str(error)) == ("policy", True)
    check_masked(
        asked, rules=rules, store=store, disclosed=DisclosureRecord(store.journal, ca=b"another", model=b"federation")
    )


@pytest.mark.parametrize(("levels", "lane_bits"), [(66, 8), (6554, 16), (65536, 32)])
def test_rounding_that_no_group_needs_is_refused(store: ClientStore, levels: int, lane_bits: int) -> None:
    fine = header(levels=levels, lane_bits=lane_bits)
    error = refusal(store, fine)
    assert (error.reason, "max_levels" in str(error)) == ("policy", True)
    check(store, fine, rules=RULES.with_policy(max_levels=levels))
    check(store, header(levels=64))  # what the planner takes for a group of four


@pytest.mark.parametrize("clip", [1.2, 0.7, 0.0])
def test_the_clip_norm_makes_no_leap(store: ClientStore, clip: float) -> None:
    asyncio.run(store.extend_chain("run-1", 19, bytes(32), clip=("", 1.0)))
    check(store, header(clip_norm=1.1))
    assert refusal(store, header(clip_norm=clip)).reason == "codec"
    check(store, header(22, clip_norm=1.3))  # two rounds were missed


def test_a_beacon_is_the_one_that_was_seen(store: ClientStore) -> None:
    check(store, header())  # nobody has told this client of that epoch yet
    asyncio.run(record_epoch(store, header(15, epoch_beacon=b""), BEACON))
    check(store, header())
    error = refusal(store, header(epoch_beacon=bytes(32)))
    assert (type(error), error.reason) == (IdentityError, "beacon")
    check(store, header(epoch_round=16, epoch_beacon=bytes(32)))  # another epoch
    assert refusal(store, header(epoch_round=14, epoch_beacon=bytes(32))).reason == "beacon"  # one that is over
    check(store, header(epoch_round=20, epoch_beacon=b""))


def accept(store: ClientStore, what: RoundHeader) -> None:
    """Hear a header as an agent does: held against the rules, then noted."""
    body = encode_header(what)
    job = Job(
        Signed(body, SERVER.sign(HEADER_DOMAIN, body), "server"),
        {},
        1,
        evaluate=True,
        train=True,
        model_bytes=40,
        seconds_left=9,
    )
    asyncio.run(
        check_header(
            job,
            WELCOME,
            server_key=SERVER.public_key,
            rules=RULES,
            store=store,
            disclosed=DisclosureRecord(store.journal),
        )
    )


def in_run(number: int, epoch: int = 15, beacon: bytes = BEACON, **changes: object) -> RoundHeader:
    """A header of the run of `WELCOME`; rounds are apart, so that their chain says nothing."""
    said = {
        "spec_digest": SPEC.digest,
        "model_digest": bytes([number]) * 32,
        "job_digest": job_digest({}, evaluate=True),
    }
    return header(number, epoch_round=epoch, epoch_beacon=beacon, **said | changes)


INVENTED: dict[str, tuple[int, bytes]] = {
    "an epoch that began in a round in which this client saw that none did": (17, bytes(32)),
    "one that began in the last round that it saw": (18, bytes(32)),
    "another beacon of the same epoch": (15, bytes(32)),
    "an older epoch": (14, bytes(32)),
    "the known beacon under another round": (16, BEACON),
}


@pytest.mark.parametrize(("epoch", "beacon"), INVENTED.values(), ids=INVENTED.keys())
def test_groups_follow_from_no_beacon_that_was_invented_since(tmp_path: Path, epoch: int, beacon: bytes) -> None:
    store = ClientStore(tmp_path)
    accept(store, in_run(18))  # in round 18 the groups of round 15 are in force
    store.close()
    store = ClientStore(tmp_path)  # also after a restart
    with pytest.raises(IdentityError) as refused:
        accept(store, in_run(20, epoch, beacon))
    assert refused.value.reason == "beacon"
    accept(store, in_run(20))
    accept(store, in_run(22, 21, bytes(32)))  # drawn while this client was away
    accept(store, in_run(24, 24, b""))  # or now
    store.close()


def test_who_saw_that_groups_are_drawn_believes_in_none_from_before(store: ClientStore) -> None:
    """It may have missed the roster, and with it the beacon; not that there was a drawing."""
    accept(store, in_run(18, 18, b""))
    with pytest.raises(IdentityError):
        accept(store, in_run(20))
    accept(store, in_run(20, 18, bytes(32)))
    with pytest.raises(IdentityError):
        accept(store, in_run(22, 18, BEACON))


def test_the_beacon_of_the_own_roster_is_the_one_in_force(store: ClientStore) -> None:
    accept(store, drawing := in_run(18, 18, b""))
    asyncio.run(record_epoch(store, drawing, BEACON))
    with pytest.raises(IdentityError):
        accept(store, in_run(20, 18, bytes(32)))
    accept(store, in_run(20, 18, BEACON))


def test_what_an_earlier_version_noted_still_counts(tmp_path: Path) -> None:
    before = next(number for number, script in enumerate(SCHEMA) if "seen_round" in script)
    with closing(sqlite3.connect(tmp_path / "client.db", isolation_level=None)) as db:
        for script in SCHEMA[:before]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {before}")
        db.execute("INSERT INTO epochs VALUES ('run-1', '', 15, ?)", (BEACON,))
    store = ClientStore(tmp_path)
    assert known_epoch(store, "run-1", "") == Epoch(15, 15, BEACON)
    with pytest.raises(IdentityError):
        accept(store, in_run(18, 14, bytes(32)))
    accept(store, in_run(18))
    store.close()


def test_each_class_has_an_epoch_of_its_own(store: ClientStore) -> None:
    asyncio.run(record_epoch(store, replace(in_run(18), tier="thin"), bytes(32)))
    accept(store, in_run(20))


OTHER_DRAWS: dict[str, tuple[int, bytes]] = {
    "of a round in which this client saw that no groups were drawn": (17, bytes(32)),
    "another beacon of that drawing": (15, bytes(32)),
    "of an older drawing": (14, bytes(32)),
}


@pytest.mark.parametrize(("drawn_in", "beacon"), OTHER_DRAWS.values(), ids=OTHER_DRAWS.keys())
def test_members_are_asked_in_the_order_of_no_invented_beacon(store: ClientStore, drawn_in: int, beacon: bytes) -> None:
    accept(store, in_run(18, draw_round=15, draw_beacon=BEACON))
    with pytest.raises(IdentityError) as refused:
        accept(store, in_run(20, draw_round=drawn_in, draw_beacon=beacon))
    assert refused.value.reason == "beacon"
    accept(store, in_run(20, draw_round=15, draw_beacon=BEACON))
    accept(store, in_run(22, 21, bytes(32), draw_round=21, draw_beacon=bytes(32)))  # drawn while it was away
    accept(store, in_run(24, 24, b""))  # of a server whose journal was put back: in the order of the list


def test_a_drawing_that_came_to_nothing_leaves_the_one_before(store: ClientStore) -> None:
    accept(store, in_run(18, 18, b"", draw_round=15, draw_beacon=BEACON))
    accept(store, in_run(20, 20, b"", draw_round=15, draw_beacon=BEACON))  # too few adverts in round 18
    accept(store, drawing := in_run(22, 22, b"", draw_round=20, draw_beacon=bytes(32)))  # it came in 20, unseen here
    asyncio.run(record_epoch(store, drawing, MODEL))
    with pytest.raises(IdentityError):
        accept(store, in_run(24, 24, b"", draw_round=22, draw_beacon=bytes(32)))
    accept(store, in_run(24, 24, b"", draw_round=22, draw_beacon=MODEL))
