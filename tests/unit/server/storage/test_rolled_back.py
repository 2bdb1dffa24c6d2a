"""A journal that was put back: what a server signed is believed, and the run goes on behind it."""

import asyncio
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from roughfed.client.storage.store import ClientStore
from roughfed.config.federation import FederationConfig
from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import RemoteProtocolError
from roughfed.messages import Hello, Seen
from roughfed.server.aggregate.control_variates import ledger_of
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.scaffold import scale_fact
from roughfed.server.masked.journal import MaskedOpening, Stages
from roughfed.server.members.authority import Authority
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.offer import offer
from roughfed.server.round.run import forget
from roughfed.server.storage.proof import HeaderProof, proof_of
from roughfed.server.storage.rollback import adopt, first_choice, follow, last_lost, settle
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import ClientTier, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN, decode_header, encode_header
from tests.server_context import context, in_round

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


def proof(found: RoundHeader) -> HeaderProof:
    return HeaderProof(found, signed(found))


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    store = Store(tmp_path / "state")
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(store.create_run(RUN, SPEC, bytes(32), 0.0))
        yield context(FederationConfig(), store, KEY, executor, SPEC, run=RUN)
        store.close()


def join(ctx: ServerContext, name: str, seen: RoundHeader | None = None) -> ClientSession:
    session = ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu"))
    session.proof = None if seen is None else proof(seen)
    ctx.clients.join(session)
    return session


def play(
    ctx: ServerContext, number: int, found: RoundHeader | None = None, *, outcome: str = "committed"
) -> RoundHeader:
    found = found or header(number)
    row = RoundRow(number, signed(found), ("a", "b"), 2, 5.0, None, None, None)

    async def all_of_it() -> None:
        await ctx.store.open_round(row)
        if outcome == "committed":
            await ctx.store.set_sets(number, {"a": "", "b": ""})
            await ctx.store.commit(number, version=number, digest=bytes([number]) * 32, now=9.0)
            await ctx.store.set_summary(number, {})

    asyncio.run(all_of_it())
    return found


def next_of(ctx: ServerContext) -> tuple[int, int]:
    """(number of the round that the next header names, number of the next round)."""
    last, number = asyncio.run(follow(ctx.store, ctx.clients.proofs(), ctx.store.last_round()))
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


def test_a_server_whose_journal_is_its_own_goes_on_as_ever(ctx: ServerContext) -> None:
    assert next_of(ctx) == (0, 1)
    seen = [play(ctx, number) for number in (1, 2, 3)]
    join(ctx, "a", seen[2])
    join(ctx, "b", seen[0])
    join(ctx, "c")
    assert next_of(ctx) == (3, 4)
    assert [row.round for row in ctx.store.rounds()] == [1, 2, 3]


def test_the_newest_round_that_somebody_saw_is_adopted(ctx: ServerContext, caplog: pytest.LogCaptureFixture) -> None:
    play(ctx, 1)
    join(ctx, "a", header(4))
    join(ctx, "b", header(6))
    join(ctx, "c", header(1))
    assert next_of(ctx) == (6, 7)
    last = ctx.store.last_round()
    assert last is not None
    assert (last.round, last.header.body, last.outcome, last.cohort, last.sets) == (
        6, encode_header(header(6)), "abandoned", (), {},
    )  # fmt: skip
    assert "b has seen round 6, and this journal ends with round 1" in caplog.text
    assert next_of(ctx) == (6, 7)  # once: now the journal knows it
    assert last_lost(ctx.store) == 6


def test_also_where_the_journal_knows_no_round_at_all(ctx: ServerContext) -> None:
    join(ctx, "a", header(2))
    assert next_of(ctx) == (2, 3)


def test_two_histories_that_meet_at_one_number_leave_it_out(ctx: ServerContext) -> None:
    """For whoever saw the other round 3, a round 4 would have to follow that one; a gap is nobody's contradiction."""
    play(ctx, 3)
    join(ctx, "a", header(3, previous=bytes([9]) * 32))
    assert next_of(ctx) == (3, 5)
    assert [row.round for row in ctx.store.rounds()] == [3]


def test_what_was_seen_long_before_does_not_matter(ctx: ServerContext) -> None:
    play(ctx, 2)
    play(ctx, 5)
    join(ctx, "a", header(3, previous=bytes([9]) * 32))
    assert next_of(ctx) == (5, 6)


def test_who_is_ahead_of_a_round_that_is_finished_is_not_asked_for_it(ctx: ServerContext) -> None:
    play(ctx, 2, outcome="open")
    last = ctx.store.last_round()
    assert last is not None
    round_ = in_round(ctx, dataclasses.replace(last, cohort=tuple("abcd")), goal=4)
    ctx.clients.quarantined = {"d": "by the operator"}
    for each in {"a": header(3), "b": header(2), "c": None, "d": header(2)}.items():
        offer(ctx, round_, join(ctx, *each))
    assert round_.identity_keys.keys() == {"b", "c"}
    assert ctx.state.collection is not None
    assert ctx.state.collection.refused == {"a": "ahead", "d": "quarantined"}


# -- masked ------------------------------------------------------------------------------------------------------------


def test_groups_are_drawn_anew_and_clip_norms_go_on_from_what_clients_have_seen(ctx: ServerContext) -> None:
    stages = Stages(ctx.store.journal)

    async def before() -> None:
        for name, clip in (("", 1.0), ("thin", 2.0), ("wide", 3.0)):
            await stages.open(2, MaskedOpening(bytes([7]) * 32, 2, b"", clip, None), name)
            await stages.note_beacon(2, bytes([5]) * 32, name)

    asyncio.run(before())
    play(ctx, 2, header(2, masked=True))
    older = header(5, masked=True, clip_norm=1.5, tiers=(ClientTier("thin", clip_norm=2.5),))
    newest = header(6, masked=True, clip_norm=1.6)
    asyncio.run(adopt(ctx.store, proof(newest), [proof(older), proof(newest)], now=1.0))

    openings = {name: stages.last(name) for name in ("", "thin", "wide")}
    assert {name: (o.beacon, o.next_clip or o.clip_norm) for name, o in openings.items() if o is not None} == {
        "": (b"", 1.6), "thin": (b"", 2.5), "wide": (b"", 3.0),
    }  # fmt: skip


def test_a_masked_round_that_was_open_in_a_backup_is_given_up(ctx: ServerContext) -> None:
    play(ctx, 3, header(3, masked=True), outcome="open")
    restore(ctx)
    asyncio.run(settle(ctx.store, ctx.run, partial(forget, ctx)))
    (row,) = ctx.store.rounds()
    assert (row.outcome, row.sets) == ("abandoned", {"a": "gone", "b": "gone"})
    assert last_lost(ctx.store) == 3
    assert ctx.store.journal.read("SELECT * FROM restored WHERE settled_at IS NULL") == []


@pytest.mark.parametrize(("was_restored", "is_masked"), [(True, False), (False, True), (False, False)])
def test_any_other_open_round_is_finished(ctx: ServerContext, was_restored: bool, is_masked: bool) -> None:
    play(ctx, 3, header(3, masked=is_masked), outcome="open")
    if was_restored:
        restore(ctx)
    asyncio.run(settle(ctx.store, ctx.run, partial(forget, ctx)))
    assert [row.outcome for row in ctx.store.rounds()] == [None]
    assert last_lost(ctx.store) == 0


def test_a_restored_server_asks_its_questions_under_new_numbers(ctx: ServerContext) -> None:
    numbers = [first_choice(ctx.store)]
    for at in (2.0, 2.5):
        restore(ctx, at)
        numbers.append(first_choice(ctx.store))
    assert numbers == [1, 2001, 2501]


def test_the_same_backup_asks_under_other_numbers_when_it_is_restored_again(ctx: ServerContext, tmp_path: Path) -> None:
    restore(ctx, 2.0)
    (tmp_path / "again").mkdir()
    again = Store(tmp_path / "again")
    asyncio.run(again.journal.write(lambda db: db.execute(RESTORED_ROW, (3.0,))))
    assert first_choice(again) - first_choice(ctx.store) == 1000
    again.close()


RESTORED_ROW = "INSERT INTO restored (made_at, restored_at, round, software) VALUES (1.0, ?, 3, '0.1.0')"


def restore(ctx: ServerContext, at: float = 2.0) -> None:
    asyncio.run(ctx.store.journal.write(lambda db: db.execute(RESTORED_ROW, (at,))))


# -- scaffold ----------------------------------------------------------------------------------------------------------


def test_control_variates_begin_anew_behind_rounds_that_were_taken_back(ctx: ServerContext) -> None:
    settings = FederationConfig.model_validate({"trainer": {"method": "scaffold"}}).trainer
    for number in (1, 2):
        play(ctx, number)
    row = dataclasses.replace(
        RoundRow(9, signed(header(9)), ("a",), 1, 5.0, {"a": ""}, None, None), facts={"scaffold": (2.0,)}
    )
    assert (ledger_of(ctx.store, row).before, ledger_of(ctx.store, row).now) == (2, 2)
    assert set(scale_fact(settings, since=last_lost(ctx.store))) == {"scaffold"}
    join(ctx, "a", header(6))
    assert next_of(ctx) == (6, 7)
    assert (ledger_of(ctx.store, row).before, ledger_of(ctx.store, row).now) == (0, 1)
    assert scale_fact(settings, since=last_lost(ctx.store))["scaffold-since"] == (6.0,)
