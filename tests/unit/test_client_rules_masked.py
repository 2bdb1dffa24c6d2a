"""What a client demands of a masked round: one refusal for each rule, and what it remembers from round to round."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.disclosure_ledger import Ledger
from roughfed.client.rules import Rules, check_masked
from roughfed.client.store import ClientStore
from roughfed.errors import IdentityError, RemoteProtocolError, RoughfedError
from roughfed.types import RoundHeader

RULES = Rules("sketches", 1000)
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
    check_masked(what, rules=rules, store=store, ledger=Ledger(store.journal))


def refusal(store: ClientStore, what: RoundHeader, *, rules: Rules = RULES) -> RoughfedError:
    with pytest.raises(RoughfedError) as refused:
        check(store, what, rules=rules)
    return refused.value


def test_a_sketch_is_no_larger_than_the_policy_says(store: ClientStore) -> None:
    check(store, header(sketch_dim=RULES.max_sketch_dim))
    error = refusal(store, header(sketch_dim=RULES.max_sketch_dim + 2))
    assert (type(error), error.reason) == (RemoteProtocolError, "policy")
    assert "max_sketch_dim" in str(error)


def test_what_is_shown_in_all_rounds_of_all_runs_together_is_bounded(store: ClientStore) -> None:
    """Rounds that brought nothing count, too; one that is taken up again counts once; another run counts on."""
    rules, ledger = replace(RULES, max_sketch_numbers=1000), Ledger(store.journal)
    fits = 1000 // 128
    for number in range(1, fits + 1):
        asked = header(number, model_digest=bytes([number]) * 32, epoch_round=number, epoch_beacon=b"")
        check(store, asked, rules=rules)
        for _ in range(2):
            asyncio.run(ledger.note_shown(asked, opened=False))
        check(store, asked, rules=rules)  # taken up again
    for run in ("run-1", "run-2"):
        error = refusal(store, header(fits + 1, run=run, epoch_round=fits + 1, epoch_beacon=b""), rules=rules)
        assert (error.reason, "max_sketch_numbers" in str(error)) == ("policy", True)
    check_masked(asked, rules=rules, store=store, ledger=Ledger(store.journal, ca=b"another", model=b"federation"))


@pytest.mark.parametrize(("levels", "lane_bits"), [(66, 8), (6554, 16), (65536, 32)])
def test_rounding_that_no_group_needs_is_refused(store: ClientStore, levels: int, lane_bits: int) -> None:
    fine = header(levels=levels, lane_bits=lane_bits)
    error = refusal(store, fine)
    assert (error.reason, "max_levels" in str(error)) == ("policy", True)
    check(store, fine, rules=replace(RULES, max_levels=levels))
    check(store, header(levels=64))  # what the planner takes for a group of four


@pytest.mark.parametrize("clip", [1.2, 0.8, 0.0])
def test_the_clip_norm_makes_no_leap(store: ClientStore, clip: float) -> None:
    asyncio.run(store.extend_chain("run-1", 19, bytes(32), clip=("", 1.0)))
    check(store, header(clip_norm=1.1))
    assert refusal(store, header(clip_norm=clip)).reason == "codec"
    check(store, header(22, clip_norm=1.3))  # two rounds were missed


def test_a_beacon_is_the_one_that_was_seen(store: ClientStore) -> None:
    check(store, header())  # nobody has told this client of that epoch yet
    asyncio.run(store.note_epoch("run-1", 15, BEACON))
    check(store, header())
    error = refusal(store, header(epoch_beacon=bytes(32)))
    assert (type(error), error.reason) == (IdentityError, "beacon")
    check(store, header(epoch_round=16, epoch_beacon=bytes(32)))  # another epoch
    assert refusal(store, header(epoch_round=14, epoch_beacon=bytes(32))).reason == "beacon"  # one that is over
    check(store, header(epoch_round=20, epoch_beacon=b""))
