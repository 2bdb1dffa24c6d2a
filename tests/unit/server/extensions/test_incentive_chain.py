"""Nothing about a ledger can be changed unseen: every byte, every line, its order and its end."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto.identity import IdentityKey
from roughfed.server.extensions.ledger import entries, hash_chain
from roughfed.server.extensions.ledger.hash_chain import LedgerProblem, canonical, read
from tests.unit.server.extensions.ledgers import KEY, rounds, written

DATA = written(rounds(5))
LINES = DATA.splitlines(keepends=True)
WHOLE = read(DATA)
OTHER = IdentityKey.from_private_bytes(bytes(32))


def found_in(data: bytes, *, key: str | None = None) -> LedgerProblem | None:
    reading = read(data, head=WHOLE.head, key=key)
    return reading.problem or entries.check(reading.entries)[1]


def test_a_ledger_that_nobody_touched_is_right() -> None:
    assert found_in(DATA, key=KEY.public_key.hex()) is None
    assert WHOLE.keys == (KEY.public_key.hex(),)
    assert len(WHOLE.entries) == len(LINES)


@given(at=st.integers(0, len(DATA) - 1), flip=st.integers(1, 255))
def test_every_changed_byte_is_found_where_it_is(at: int, flip: int) -> None:
    changed = bytearray(DATA)
    changed[at] ^= flip
    problem = found_in(bytes(changed))
    assert problem is not None
    line = DATA[:at].count(b"\n") + 1
    assert problem.line == line
    assert problem.what in ("changed", "signature", "truncated", "structure")


@given(at=st.integers(0, len(DATA) - 1), byte=st.integers(0, 255))
def test_every_byte_that_is_put_in_or_taken_out_is_found(at: int, byte: int) -> None:
    assert found_in(DATA[:at] + bytes([byte]) + DATA[at:]) is not None
    assert found_in(DATA[:at] + DATA[at + 1 :]) is not None


@pytest.mark.parametrize("at", range(len(LINES)))
def test_every_missing_line_is_found(at: int) -> None:
    problem = found_in(b"".join(LINES[:at] + LINES[at + 1 :]))
    last = at == len(LINES) - 1
    assert problem is not None
    assert problem.what == ("truncated" if last else "missing")
    assert problem.line == (at if last else at + 1)


@pytest.mark.parametrize("at", range(len(LINES) - 1))
def test_every_swap_and_every_repetition_is_found(at: int) -> None:
    swapped = found_in(b"".join([*LINES[:at], LINES[at + 1], LINES[at], *LINES[at + 2 :]]))
    twice = found_in(b"".join([*LINES[: at + 1], *LINES[at:]]))
    for problem, line in ((swapped, at + 1), (twice, at + 2)):
        assert problem is not None
        assert (problem.what, problem.line) == ("reordered", line)


@given(st.integers(0, len(DATA) - 1))
def test_every_cut_is_found(at: int) -> None:
    problem = found_in(DATA[:at])
    assert problem is not None
    assert problem.what == "truncated"


def test_without_the_head_whole_rounds_can_be_missing_at_the_end_and_nothing_else() -> None:
    ends = [number for number, entry in enumerate(WHOLE.entries, start=1) if entry["kind"] in ("begin", "round")]
    for count in range(1, len(LINES) + 1):
        assert (read(b"".join(LINES[:count])).problem is None) == (count in ends)


def test_another_key_is_no_server() -> None:
    forged = written(rounds(5), OTHER)
    assert read(forged).problem is None
    problem = read(forged, key=KEY.public_key.hex()).problem
    assert problem is not None
    assert (problem.what, problem.line) == ("signature", 1)
    assert found_in(forged) is not None


def rewritten(line: int, **changes: object) -> bytes:
    """The ledger as its own server would have written it with other figures in a line."""
    writer = hash_chain.Writer()
    for number, entry in enumerate(WHOLE.entries, start=1):
        plain = {key: value for key, value in entry.items() if key not in ("seq", "prev", "key", "signature")}
        plain |= changes if number == line else {}
        if "signature" in entry:
            writer.add_signed(plain, KEY)
        else:
            writer.add(plain)
    return writer.data


@pytest.mark.parametrize("key", ["total", "share", "tier"])
def test_a_server_that_writes_other_scores_than_it_found_is_found(key: str) -> None:
    for line, entry in enumerate(WHOLE.entries, start=1):
        if isinstance(entry.get(key), float):
            later = next(x for x in (entry[key] * (1 + 2**-52), entry[key] + 2**-60) if x != entry[key])
            reading = read(rewritten(line, **{key: later}))
            assert reading.problem is None
            problem = entries.check(reading.entries)[1]
            assert problem is not None
            assert (problem.what, problem.line) == ("score", line)


def test_other_parts_of_a_round_give_other_totals() -> None:
    line = next(n for n, entry in enumerate(WHOLE.entries, start=1) if "parts" in entry)
    problem = entries.check(read(rewritten(line, parts={"round": 5.0})).entries)[1]
    assert problem is not None
    assert problem.what == "score"


def test_scores_that_cannot_be_added_up_are_wrong_and_stop_nobody() -> None:
    huge = {"client": {"parts": {"round": 1e308}}, "round": {"method": "leave-one-out"}}
    first = [{**entry, **huge[entry["kind"]]} for entry in WHOLE.entries if entry.get("round") == 1]
    problem = entries.check([WHOLE.entries[0], *first])[1]
    assert problem is not None
    assert problem.what == "structure"


def test_replay_gives_every_score_to_the_last_bit() -> None:
    facts = rounds(30, seed=3)
    known = entries.LedgerState()
    for one in facts:
        known.lines(one)
    replayed, problem = entries.check(read(written(facts)).entries)
    assert problem is None
    assert replayed == known
    assert all(a.hex() == b.hex() for a, b in zip(
        replayed.standing.totals.values(), known.standing.totals.values(), strict=True
    ))  # fmt: skip


def regressed(count: int = 12) -> list[entries.RoundFacts]:
    """Rounds of two groups of two, dealt anew."""
    (like,) = rounds(1, levels=())
    pairs = ((("ann", "bob"), ("cy", "di")), (("ann", "cy"), ("bob", "di")), (("ann", "di"), ("bob", "cy")))
    worth = {"ann": 0.1, "bob": 0.7, "cy": 0.3, "di": -0.4}
    found = list[entries.RoundFacts]()
    for number in range(1, count + 1):
        parts = {
            name: {"round": sum(worth[one] for one in pair) / 2 + 0.01 * (number % 5) * group, "group": float(group)}
            for group, pair in enumerate(pairs[number % 3])
            for name in pair
        }
        verdicts = dict.fromkeys(worth, "")
        nobody = {"weights": {}, "flags": {}, "evidence": {}, "twins": {}}
        found.append(replace(like, round=number, method="group-regression", parts=parts, verdicts=verdicts, **nobody))
    return found


@pytest.mark.parametrize(("off", "right"), [(1e-12, True), (1e-4, False)])
def test_a_regression_may_differ_in_its_last_digits_as_it_does_between_processors(off: float, right: bool) -> None:
    writer, known = hash_chain.Writer(), entries.LedgerState()
    writer.add_signed({"kind": "begin", "ledger": hash_chain.VERSION, "run": "lab-1", "server": "server"}, KEY)
    for facts in regressed():
        *clients, end = known.lines(facts)
        for entry in clients:
            other = {"total": entry["total"] * (1 + off)} if "total" in entry else {}
            ends = {"interval": [each * (1 + off) for each in entry["interval"]]} if "interval" in entry else {}
            writer.add({**entry, **other, **ends})
        writer.add_signed(end, KEY)
    assert known.standing.intervals
    problem = entries.check(read(writer.data).entries)[1]
    assert (problem is None) is right
    assert problem is None or problem.what == "score"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_left_out_and_fails_nobody(value: float) -> None:
    (facts,) = rounds(1)
    odd = replace(facts, weights={"ann": value, "bob": 0.5}, evidence={"bob": {"copy": value}})
    lines = read(written([odd])).entries
    said = {entry["client"]: entry for entry in lines if entry["kind"] == "client"}
    assert "weight" not in said["ann"]
    assert said["bob"]["weight"] == 0.5
    assert "evidence" not in said["bob"]
    assert entries.check(lines)[1] is None


def test_lines_are_in_one_spelling_and_linked() -> None:
    for line, entry in zip(LINES, WHOLE.entries, strict=True):
        assert canonical(json.loads(line)) + b"\n" == line
        assert canonical(entry) + b"\n" == line
    for before, after in pairwise(LINES):
        assert json.loads(after)["prev"] == hash_chain.digest_of(before[:-1])


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b"null", b"1e999", b'{"kind":"begin"}', b"\xff", b'{"a":1,"a":1}', b"[" * 9999]
)
def test_what_is_no_ledger_is_answered(line: bytes) -> None:
    problem = read(line + b"\n").problem
    assert problem is not None
    assert problem.line == 1
