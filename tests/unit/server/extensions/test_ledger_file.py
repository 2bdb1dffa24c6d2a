"""The file of the ledger: never a gap, never a line twice, whenever the process dies and whatever the disk refuses."""

import asyncio
import csv
import errno
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed import crash
from roughfed.deploy.cli import app as cli
from roughfed.server.extensions.ledger import entries, hash_chain
from roughfed.server.extensions.ledger.check import check_file, check_ledger
from roughfed.server.extensions.ledger.entries import RoundFacts
from roughfed.server.extensions.ledger.file import LedgerFile, newest, waiting
from roughfed.server.storage.layout import LEDGER
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Signed, Spec, TensorSpec
from roughfed.wire.session import HEADER_DOMAIN
from tests.unit.server.extensions.ledgers import KEY, rounds

FACTS = {one.round: one for one in rounds(6)}
BODIES = {number: f"header {number}".encode() for number in FACTS}
HEADERS = {number: Signed(body, KEY.sign(HEADER_DOMAIN, body), "server") for number, body in BODIES.items()}


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        (Path(short) / "state").mkdir()
        yield Path(short) / "state"


def facts_of(row: RoundRow) -> RoundFacts | None:
    if row.outcome is None:
        return None
    one = FACTS[row.round]
    about = {**one.about, "header": row.header.digest.hex()}
    return RoundFacts(**{name: getattr(one, name) for name in RoundFacts.__slots__} | {"about": about})


async def play(store: Store, number: int) -> None:
    """A round that is over, as far as the ledger looks at it."""
    if number == 1:
        await store.create_run("lab-1", Spec((TensorSpec("w", (2,)),)), bytes(32), 0.0)
    row = RoundRow(number, HEADERS[number], ("ann", "bob", "cy"), 3, 0.0, None, None, None)
    await store.open_round(row)
    await store.set_sets(number, dict(FACTS[number].verdicts))
    await store.abandon(number, "test", 1.0)
    await store.set_summary(number, {})


def catch_up(state: Path, *numbers: int, facts: Callable[[RoundRow], RoundFacts | None] = facts_of) -> None:
    """Play rounds, the ledger after each; as a process of its own."""

    async def work(store: Store) -> None:
        ledger = LedgerFile(store, KEY, run="lab-1", server="server")
        await ledger.catch_up(facts)
        for number in numbers:
            await play(store, number)
            await ledger.catch_up(facts)

    with closing(Store(state)) as store:
        asyncio.run(work(store))


def is_right(state: Path, *, rounds: int = 6) -> bytes:
    with closing(Store(state)) as store:
        found = check_ledger(store)
        assert found.problem is None
        assert found.waiting == 0
        assert waiting(store) == []
        last = newest(store)
        assert last is not None
        assert (last.head, last.lines) == (found.head, len(found.entries))
    assert [entry["round"] for entry in found.entries if entry["kind"] == "round"] == list(range(1, rounds + 1))
    return (state / LEDGER).read_bytes()


@pytest.fixture(scope="module")
def whole() -> bytes:
    """The ledger of a server that never died."""
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        (Path(short) / "state").mkdir()
        catch_up(Path(short) / "state", *FACTS)
        return is_right(Path(short) / "state")


@pytest.mark.parametrize("point", ["ledger-journaled", "ledger-written"])
@pytest.mark.parametrize("nth", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_death_leaves_neither_gap_nor_double(
    point: str, nth: int, state: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[str] = []

    def die(name: str) -> None:
        met.append(name)
        if met.count(point) == nth and name == point:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", die)
        with pytest.raises(Died):
            catch_up(state, *FACTS)
    with closing(Store(state)) as store:
        played = len(store.judged())
    catch_up(state, *range(played + 1, 7))
    assert is_right(state) == whole


@pytest.mark.parametrize("share", [pytest.param(0.0, marks=pytest.mark.slow), 0.3, 0.99])
def test_half_written_lines_are_written_over(
    share: float, state: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    catch_up(state, 1, 2)
    pwrite = os.pwrite

    def half(fd: int, data: memoryview, offset: int) -> int:
        pwrite(fd, data[: int(share * len(data))], offset)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        with pytest.raises(Died):
            catch_up(state, 3)
    with closing(Store(state)) as store:
        found = check_ledger(store)
        assert (found.problem, found.waiting, found.rounds) == (None, 1, 2)
    catch_up(state, 4, 5, 6)
    assert is_right(state) == whole


def test_a_full_disk_fails_no_round_and_is_made_good(
    state: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    catch_up(state, 1)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        catch_up(state, 2, 3, 4)
    told = [r for r in caplog.records if "the ledger waits" in r.message]
    assert len(told) == 1  # not after every round again
    catch_up(state, 5, 6)
    assert is_right(state) == whole


def test_a_round_that_is_still_scored_is_waited_for(state: Path, whole: bytes) -> None:
    catch_up(state, 1, 2, 3, facts=lambda row: None if row.round == 2 else facts_of(row))
    is_right(state, rounds=1)
    catch_up(state, 4, 5, 6)
    assert is_right(state) == whole


def test_scores_that_come_while_the_ledger_is_written_are_in_it(state: Path, whole: bytes) -> None:
    """Whoever asks first and reads then, reads what came in between."""

    async def work(store: Store) -> None:
        for number in FACTS:
            await play(store, number)
        ledger, scored = LedgerFile(store, KEY, run="lab-1", server="server"), [2]

        def scoring() -> int | None:
            return scored[0]

        def facts(row: RoundRow) -> RoundFacts | None:
            assert row.round != 2 or scored == [0]
            if row.round == 1:
                scored[0] = 0  # while the lines of round 1 are made
            return facts_of(row)

        await ledger.catch_up(facts, scoring)

    with closing(Store(state)) as store:
        asyncio.run(work(store))
    assert is_right(state) == whole


def damage(state: Path, how: str) -> None:
    path = state / LEDGER
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes(
        {
            "cut": b"".join(lines[:-4]),
            "changed": data.replace(b'"ann"', b'"amn"', 1),
            "added": data + lines[-1],
            "gone": b"",
        }[how]
    )


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_damage_is_found_and_nothing_is_added_to_a_ledger_that_was_cut(how: str, state: Path) -> None:
    catch_up(state, 1, 2, 3)
    damage(state, how)
    before = (state / LEDGER).read_bytes()
    catch_up(state, 4)
    if how != "changed":  # far from the end it is found by whoever looks, not by who writes
        assert (state / LEDGER).read_bytes() == before
    with closing(Store(state)) as store:
        assert check_ledger(store).problem is not None
        assert len(store.judged()) == 4


def test_lines_that_nobody_wrote_are_found_and_written_over(state: Path) -> None:
    catch_up(state, 1, 2)
    damage(state, "added")
    with closing(Store(state)) as store:
        assert check_ledger(store).problem is not None
    catch_up(state, 3)
    is_right(state, rounds=3)


def test_rewards_are_put_into_the_summary(state: Path) -> None:
    catch_up(state, 1)
    with closing(Store(state)) as store:
        (row,) = store.rounds()
        assert row.summary is not None
        lines = check_ledger(store).entries
    said = row.summary["contribution"]
    assert said == {key: {e["client"]: e[one] for e in lines if one in e} for key, one in
                    (("shares", "share"), ("levels", "tier"))}  # fmt: skip


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    catch_up(state, *FACTS)
    return state.parent


def run(folder: Path, *arguments: str) -> int:
    return cli.run(["ledger", *arguments, "--dir", str(folder)])


def test_verify_names_the_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify") == 0
    assert "6 rounds, every score follows" in capsys.readouterr().out
    damage(folder / "state", "changed")
    assert run(folder, "verify", "--json") == 7
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["problem"]["line"], said["problem"]["what"]) == (False, 2, "changed")
    assert run(folder, "show") == 7
    assert run(folder, "export", "--out", str(folder / "x")) == 7
    assert not (folder / "x").exists()


def test_show_and_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "show", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    known, _ = entries.check(hash_chain.read((folder / "state" / LEDGER).read_bytes()).entries)
    assert {row["client"]: row["total"] for row in said["clients"]} == known.standing.totals
    assert run(folder, "show", "bob") == 0
    assert "copy" in capsys.readouterr().out
    assert run(folder, "show", "nobody") == 2

    out = folder / "copy.jsonl"
    assert run(folder, "export", "--out", str(out)) == 0
    assert out.read_bytes() == (folder / "state" / LEDGER).read_bytes()
    assert check_file(out, key=KEY.public_key.hex()).problem is None
    assert run(folder, "verify", "--file", str(out), "--key", KEY.public_key.hex()) == 0
    assert run(folder, "verify", "--file", str(out), "--key", "00" * 32) == 7
    assert run(folder, "verify", "--file", str(folder / "none")) == 2

    assert run(folder, "export", "--out", str(folder / "state" / LEDGER), "--client", "ann") == 2  # it is not replaced
    assert run(folder, "verify") == 0

    assert run(folder, "export", "--out", str(out), "--csv", "--client", "ann") == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["client"] for row in rows] == ["ann"] * 6
    assert [float(row["total"]) for row in rows][-1] == known.standing.totals["ann"]


def test_what_a_client_says_is_shown_as_it_is(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def rude(row: RoundRow) -> RoundFacts:
        return replace(FACTS[row.round], about={"header": row.header.digest.hex()}, verdicts={"ann": "failed: [/x]"})

    catch_up(state, 1, facts=rude)
    assert run(state.parent, "show", "ann") == 0
    assert "[/x]" in capsys.readouterr().out


def test_where_nothing_was_played_there_is_no_ledger(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    Store(state).close()
    assert run(state.parent, "verify") == 2
