"""A journal that was put back: what a server signed is believed, and the run goes on behind it."""

import asyncio
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.client.storage.store import ClientStore
from roughfed.config.federation import FederationConfig
from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import RemoteProtocolError
from roughfed.messages import Hello, Seen
from roughfed.server.authority import Authority
from roughfed.server.collect import Collection
from roughfed.server.federation import Federation
from roughfed.server.masked.journal import Opening, Stages
from roughfed.server.membership import Session
from roughfed.server.metrics import ServerMetrics
from roughfed.server.rolled_back import (
    Proof,
    adopt,
    barred,
    first_choice,
    follow,
    last_lost,
    proof_of,
    settle,
)
from roughfed.server.store import RoundRow, Store
from roughfed.server.variates import ledger_of, scale_fact
from roughfed.types import ClientClass, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN, decode_header, encode_header

RUN, SPEC = "run-1", Spec((TensorSpec("w", (10,)),))
KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def header(number: int, *, previous: bytes = bytes(32), masked: bool = False, **changes: object) -> RoundHeader:
    sees = ("lanes", "sums") if masked else ("identity", "updates")
    found = RoundHeader(RUN, number, bytes(32), 0, SPEC.digest, previous, *sees, bytes([8]) * 32, 60.0)
    return dataclasses.replace(found, **changes)  # pyright: ignore[reportArgumentType]


def signed(found: RoundHeader, key: IdentityKey = KEY) -> Signed:
    body = encode_header(found)
    return Signed(body, key.sign(HEADER_DOMAIN, body), "server")


def proof(found: RoundHeader) -> Proof:
    return Proof(found, signed(found))


@pytest.fixture
def fed(tmp_path: Path) -> Iterator[Federation]:
    store = Store(tmp_path / "state")
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(store.create_run(RUN, SPEC, bytes(32), 0.0))
        yield Federation(FederationConfig(), store, KEY, "server", b"", ServerMetrics(), executor, RUN, SPEC)
        store.close()


def join(fed: Federation, name: str, seen: RoundHeader | None = None) -> Session:
    session = Session(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu"))
    session.proof = None if seen is None else proof(seen)
    fed.members.join(session)
    return session


def play(fed: Federation, number: int, found: RoundHeader | None = None, *, outcome: str = "committed") -> RoundHeader:
    found = found or header(number)
    row = RoundRow(number, signed(found), ("a", "b"), 2, 5.0, None, None, None)

    async def all_of_it() -> None:
        await fed.store.open_round(row)
        if outcome == "committed":
            await fed.store.set_sets(number, {"a": "", "b": ""})
            await fed.store.commit(number, version=number, digest=bytes([number]) * 32, now=9.0)
            await fed.store.set_summary(number, {})

    asyncio.run(all_of_it())
    return found


def next_of(fed: Federation) -> tuple[int, int]:
    """(number of the round that the next header names, number of the next round)."""
    last, number = asyncio.run(follow(fed, fed.store.last_round()))
    return (0 if last is None else last.round), number


# -- what is believed --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes]:
    """(certificate of the CA, the server's roster entry, a client's); both have the same key."""
    authority = Authority.create(tmp_path_factory.mktemp("ca") / "ca", "fed", now=NOW)
    csr = certificates.new_request(certificates.new_tls_key())
    server = authority.issue_server("server", csr, KEY.public_key, now=NOW)
    other = Authority.create(tmp_path_factory.mktemp("other") / "ca", "fed", now=NOW)
    return authority.certificate, server.member, other.issue_server("server", csr, KEY.public_key, now=NOW).member


def test_a_header_with_the_signature_of_a_server_proves_that_there_was_a_round(papers: tuple[bytes, ...]) -> None:
    ca, server, stranger = papers
    seen = Seen(signed(header(7)), server)
    assert proof_of(seen, run=RUN, ca_certificate=ca) == proof(header(7))
    forged = IdentityKey.from_private_bytes(bytes([2]) * 32)
    nothing = [
        None,
        Seen(signed(header(7), forged), server),
        Seen(signed(header(7)), stranger),
        Seen(Signed(b"garbage", KEY.sign(HEADER_DOMAIN, b"garbage"), "server"), server),
        Seen(Signed(seen.header.body + b"\0", seen.header.signature, "server"), server),
        Seen(seen.header, b""),
    ]
    assert [proof_of(each, run=RUN, ca_certificate=ca) for each in nothing] == [None] * len(nothing)
    assert proof_of(seen, run="another", ca_certificate=ca) is None
    evaluated = Seen(signed(header(7, roster_root=bytes(32))), server)  # after the last round: no round at all
    assert proof_of(evaluated, run=RUN, ca_certificate=ca) is None


@pytest.mark.parametrize("number", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_no_journal_follows_to_a_number_beyond_all_rounds(number: int) -> None:
    far = encode_header(dataclasses.replace(header(3), round=number))
    with pytest.raises(RemoteProtocolError, match="round of"):
        decode_header(far)


def test_a_client_shows_the_header_that_it_accepted_last(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    assert store.seen() is None
    for run, number in (("run-1", 3), ("run-2", 1), ("run-1", 4)):
        seen = Seen(signed(header(number)), b"entry")
        asyncio.run(store.extend_chain(run, number, seen.header.digest, seen=seen))
        assert store.seen() == seen
    store.close()
    again = ClientStore(tmp_path)
    assert again.seen() == Seen(signed(header(4)), b"entry")
    again.close()


# -- the next round ----------------------------------------------------------------------------------------------------


def test_a_server_whose_journal_is_its_own_goes_on_as_ever(fed: Federation) -> None:
    assert next_of(fed) == (0, 1)
    seen = [play(fed, number) for number in (1, 2, 3)]
    join(fed, "a", seen[2])
    join(fed, "b", seen[0])
    join(fed, "c")
    assert next_of(fed) == (3, 4)
    assert [row.round for row in fed.store.rounds()] == [1, 2, 3]


def test_the_newest_round_that_somebody_saw_is_adopted(fed: Federation, caplog: pytest.LogCaptureFixture) -> None:
    play(fed, 1)
    join(fed, "a", header(4))
    join(fed, "b", header(6))
    join(fed, "c", header(1))
    assert next_of(fed) == (6, 7)
    last = fed.store.last_round()
    assert last is not None
    assert (last.round, last.header.body, last.outcome, last.cohort, last.sets) == (
        6, encode_header(header(6)), "abandoned", (), {},
    )  # fmt: skip
    assert "b has seen round 6, and this journal ends with round 1" in caplog.text
    assert next_of(fed) == (6, 7)  # once: now the journal knows it
    assert last_lost(fed.store) == 6


def test_also_where_the_journal_knows_no_round_at_all(fed: Federation) -> None:
    join(fed, "a", header(2))
    assert next_of(fed) == (2, 3)


def test_two_histories_that_meet_at_one_number_leave_it_out(fed: Federation) -> None:
    """For whoever saw the other round 3, a round 4 would have to follow that one; a gap is nobody's contradiction."""
    play(fed, 3)
    join(fed, "a", header(3, previous=bytes([9]) * 32))
    assert next_of(fed) == (3, 5)
    assert [row.round for row in fed.store.rounds()] == [3]


def test_what_was_seen_long_before_does_not_matter(fed: Federation) -> None:
    play(fed, 2)
    play(fed, 5)
    join(fed, "a", header(3, previous=bytes([9]) * 32))
    assert next_of(fed) == (5, 6)


def test_who_is_ahead_of_a_round_that_is_finished_is_not_asked_for_it(fed: Federation) -> None:
    play(fed, 2, outcome="open")
    fed.row = fed.store.last_round()
    fed.quarantined = {"d": "by the operator"}
    collection = Collection(frozenset("abcd"), 4, 2, 60.0)
    seen = {"a": header(3), "b": header(2), "c": None, "d": header(2)}
    assert [barred(fed, join(fed, *each), collection) for each in seen.items()] == [True, False, False, True]
    assert collection.refused == {"a": "ahead", "d": "quarantined"}


# -- masked ------------------------------------------------------------------------------------------------------------


def test_groups_are_drawn_anew_and_clip_norms_go_on_from_what_clients_have_seen(fed: Federation) -> None:
    stages = Stages(fed.store.journal)

    async def before() -> None:
        for name, clip in (("", 1.0), ("thin", 2.0), ("wide", 3.0)):
            await stages.open(2, Opening(bytes([7]) * 32, 2, b"", clip, None), name)
            await stages.note_beacon(2, bytes([5]) * 32, name)

    asyncio.run(before())
    play(fed, 2, header(2, masked=True))
    older = header(5, masked=True, clip_norm=1.5, classes=(ClientClass("thin", clip_norm=2.5),))
    newest = header(6, masked=True, clip_norm=1.6)
    asyncio.run(adopt(fed.store, proof(newest), [proof(older), proof(newest)], now=1.0))

    openings = {name: stages.last(name) for name in ("", "thin", "wide")}
    assert {name: (o.beacon, o.next_clip or o.clip_norm) for name, o in openings.items() if o is not None} == {
        "": (b"", 1.6), "thin": (b"", 2.5), "wide": (b"", 3.0),
    }  # fmt: skip


def test_a_masked_round_that_was_open_in_a_backup_is_given_up(fed: Federation) -> None:
    play(fed, 3, header(3, masked=True), outcome="open")
    restore(fed)
    asyncio.run(settle(fed))
    (row,) = fed.store.rounds()
    assert (row.outcome, row.sets) == ("abandoned", {"a": "gone", "b": "gone"})
    assert last_lost(fed.store) == 3
    assert fed.store.journal.read("SELECT * FROM restored WHERE settled_at IS NULL") == []


@pytest.mark.parametrize(("was_restored", "is_masked"), [(True, False), (False, True), (False, False)])
def test_any_other_open_round_is_finished(fed: Federation, was_restored: bool, is_masked: bool) -> None:
    play(fed, 3, header(3, masked=is_masked), outcome="open")
    if was_restored:
        restore(fed)
    asyncio.run(settle(fed))
    assert [row.outcome for row in fed.store.rounds()] == [None]
    assert last_lost(fed.store) == 0


def test_a_restored_server_asks_its_questions_under_new_numbers(fed: Federation) -> None:
    numbers = [first_choice(fed.store)]
    for at in (2.0, 2.5):
        restore(fed, at)
        numbers.append(first_choice(fed.store))
    assert numbers == [1, 2001, 2501]


def test_the_same_backup_asks_under_other_numbers_when_it_is_restored_again(fed: Federation, tmp_path: Path) -> None:
    restore(fed, 2.0)
    (tmp_path / "again").mkdir()
    again = Store(tmp_path / "again")
    asyncio.run(again.journal.write(lambda db: db.execute(RESTORED_ROW, (3.0,))))
    assert first_choice(again) - first_choice(fed.store) == 1000
    again.close()


RESTORED_ROW = "INSERT INTO restored (made_at, restored_at, round, software) VALUES (1.0, ?, 3, '0.1.0')"


def restore(fed: Federation, at: float = 2.0) -> None:
    asyncio.run(fed.store.journal.write(lambda db: db.execute(RESTORED_ROW, (at,))))


# -- scaffold ----------------------------------------------------------------------------------------------------------


def test_control_variates_begin_anew_behind_rounds_that_were_taken_back(fed: Federation) -> None:
    settings = FederationConfig.model_validate({"trainer": {"method": "scaffold"}}).trainer
    for number in (1, 2):
        play(fed, number)
    row = dataclasses.replace(
        RoundRow(9, signed(header(9)), ("a",), 1, 5.0, {"a": ""}, None, None), facts={"scaffold": (2.0,)}
    )
    assert (ledger_of(fed.store, row).before, ledger_of(fed.store, row).now) == (2, 2)
    assert set(scale_fact(settings, since=last_lost(fed.store))) == {"scaffold"}
    join(fed, "a", header(6))
    assert next_of(fed) == (6, 7)
    assert (ledger_of(fed.store, row).before, ledger_of(fed.store, row).now) == (0, 1)
    assert scale_fact(settings, since=last_lost(fed.store))["scaffold-since"] == (6.0,)
