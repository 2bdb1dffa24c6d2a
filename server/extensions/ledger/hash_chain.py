"""The ledger as lines: each is JSON in one spelling, and holds the digest of the line before; no files here.

    {"kind": "begin", "seq": 0, "prev": "000...", "run": ..., "server": ..., "key": ..., "signature": ...}
    {"kind": "client", "seq": 1, "prev": ..., "round": 1, "client": "alice", "verdict": "accepted", ...}
    ...
    {"kind": "round", "seq": 4, "prev": ..., "round": 1, "clients": 3, "header": ..., "key": ..., "signature": ...}

A digest is BLAKE3 of a line without its line feed. The lines of a round end with one that is signed by the server, over
all of that line but the signature; it holds the digest of the line before, so the signature is over everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from roughfed.crypto.identity import IdentityKey, verify
from roughfed.digest import content_digest
from roughfed.errors import IdentityError

VERSION = 1
DOMAIN = b"roughfed ledger v1\0"
FIRST = "0" * 64
"""What the first line has for the digest of a line before it."""

Entry = Mapping[str, Any]
What = Literal["changed", "missing", "reordered", "truncated", "signature", "structure", "score"]


def canonical(entry: Entry) -> bytes:
    """The one spelling of an entry: keys sorted, no spaces, ASCII, floats as the shortest text that reads the same.

    Raises:
        ValueError: NaN or an infinity.
    """
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(line: bytes) -> str:
    """BLAKE3 of a line without its line feed, in hexadecimal."""
    return content_digest(line).hex()


class Writer:
    """Makes the lines that follow a head."""

    def __init__(self, head: str = FIRST, seq: int = 0) -> None:
        """`head`: digest of the last line; `seq`: number of lines before."""
        self.head, self.seq = head, seq
        self._lines: list[bytes] = []

    @property
    def data(self) -> bytes:
        """All lines that were added here."""
        return b"".join(self._lines)

    def add(self, entry: Entry) -> None:
        """Add a line."""
        self._append({**entry, "seq": self.seq, "prev": self.head})

    def add_signed(self, entry: Entry, key: IdentityKey) -> None:
        """Add a line that says who signed it."""
        whole = {**entry, "seq": self.seq, "prev": self.head, "key": key.public_key.hex()}
        self._append({**whole, "signature": key.sign(DOMAIN, canonical(whole)).hex()})

    def _append(self, entry: Entry) -> None:
        line = canonical(entry)
        self._lines.append(line + b"\n")
        self.head, self.seq = digest_of(line), self.seq + 1


@dataclass(frozen=True, slots=True)
class LedgerProblem:
    """The first thing that is wrong with a ledger.

    Attributes:
        line: its number, from 1.
        what: the kind.
        why: a sentence.
    """

    line: int
    what: What
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read, up to the first problem.

    Attributes:
        entries: the lines before it.
        head: digest of the last of them.
        problem: the first one; None where there is none.
        keys: public keys that signed, hexadecimal, in the order in which they came.
    """

    entries: Sequence[Entry] = ()
    head: str = FIRST
    problem: LedgerProblem | None = None
    keys: tuple[str, ...] = ()

    @property
    def rounds(self) -> list[Entry]:
        """The lines that end rounds."""
        return [entry for entry in self.entries if entry["kind"] == "round"]


def read(data: bytes, *, head: str | None = None, key: str | None = None) -> Reading:
    """Read a ledger and check everything that it says about itself.

    Args:
        data: all of it.
        head: digest that its last line must have, where one is known: without it, rounds that were cut off at the end
            are not missed.
        key: public key that every signature must be of, hexadecimal; None: any, and `keys` says which.
    """
    lines = data.split(b"\n")
    rest, numbered = lines.pop(), _Numbered(lines)
    checker = _Checker(key)
    for number, line in enumerate(lines, start=1):
        if (problem := checker.take(number, line, numbered)) is not None:
            return checker.reading(problem)
    return checker.reading(_end(checker, rest, head))


def _end(checker: _Checker, rest: bytes, head: str | None) -> LedgerProblem | None:
    at = len(checker.entries)
    if rest:
        return LedgerProblem(at + 1, "truncated", "the last line is cut off in its middle")
    if not at:
        return (
            None
            if head in (None, FIRST)
            else LedgerProblem(1, "truncated", "the ledger is empty; the journal knows lines")
        )
    if checker.entries[-1]["kind"] == "client":
        return LedgerProblem(at, "truncated", "the last round has no line that ends it")
    if head is not None and head != checker.head:
        return LedgerProblem(
            at, "truncated", "the journal knows another last line: lines are missing at the end, or changed"
        )
    return None


class _Numbered:
    """Which lines there are, to tell what became of one that is not where it should be."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._places: dict[str, int] = {}
        self._lines, self._complete = lines, False

    def place(self, digest: str) -> int | None:
        """Number of the line with a digest."""
        if not self._complete:
            self._places = {digest_of(line): number for number, line in enumerate(self._lines, start=1)}
            self._complete = True
        return self._places.get(digest)

    def leads_on(self, number: int, entry: Entry) -> bool:
        """Whether a line is what it was: the next one has its digest, or it is the last and its signature is right."""
        if number < len(self._lines):
            following = _parsed(self._lines[number])
            return following is not None and following.get("prev") == digest_of(self._lines[number - 1])
        return "signature" in entry and _is_signed(entry)


@dataclass
class _Checker:
    """Takes line after line."""

    key: str | None
    entries: list[Entry] = field(default_factory=list[Entry])
    head: str = FIRST
    keys: dict[str, None] = field(default_factory=dict[str, None])
    clients: set[str] = field(default_factory=set[str])
    last_round: int = 0

    def reading(self, problem: LedgerProblem | None) -> Reading:
        return Reading(tuple(self.entries), self.head, problem, tuple(self.keys))

    def take(self, number: int, line: bytes, numbered: _Numbered) -> LedgerProblem | None:
        entry = _parsed(line)
        if entry is None:
            return LedgerProblem(number, "changed", "this is no line of a ledger")
        if (problem := self._linked(number, entry, numbered)) is not None:
            return problem
        if (why := self._structure(entry)) is not None:
            return LedgerProblem(number, "structure", why)
        if "signature" in entry and (why := self._signature(entry)) is not None:
            return LedgerProblem(number, "signature", why)
        self.entries.append(entry)
        self.head = digest_of(line)
        return None

    def _linked(self, number: int, entry: Entry, numbered: _Numbered) -> LedgerProblem | None:
        seq, prev = entry.get("seq"), entry.get("prev")
        if prev == self.head and seq == number - 1:
            return None
        if prev == self.head:
            return LedgerProblem(number, "changed", "it says another place than its own")
        if seq == number - 1:
            changed = number if number == 1 or not numbered.leads_on(number, entry) else number - 1
            return LedgerProblem(changed, "changed", "its digest is not the one that the lines beside it say")
        before = numbered.place(str(prev)) if isinstance(prev, str) else None
        if before is not None and before != number - 1:
            return LedgerProblem(number, "reordered", f"it belongs behind line {before}")
        if isinstance(seq, int) and seq > number - 1:
            return LedgerProblem(
                number, "missing", f"this is line {seq + 1} of the ledger, so lines before it are missing"
            )
        return LedgerProblem(number, "reordered", "this line was here before, or belongs elsewhere")

    def _structure(self, entry: Entry) -> str | None:
        kind = entry.get("kind")
        if (kind == "begin") != (not self.entries):
            return "a ledger begins with the line that names its run, and has it once"
        if kind == "begin":
            return None if entry.get("ledger") == VERSION else "this is the ledger of another version of roughfed"
        number = entry.get("round")
        if not isinstance(number, int) or number <= self.last_round:
            return "its round is over already"
        if kind == "client":
            return self._client(entry, number)
        if kind != "round":
            return f"{kind!r} is no kind of line"
        counted, self.clients, self.last_round = len(self.clients), set(), number
        return None if entry.get("clients") == counted else f"it ends a round of {counted} clients and says otherwise"

    def _client(self, entry: Entry, number: int) -> str | None:
        name = entry.get("client")
        if not isinstance(name, str) or name in self.clients:
            return "a client has one line in a round"
        if self.clients and self.entries[-1]["round"] != number:
            return "the round before has no line that ends it"
        self.clients.add(name)
        return None

    def _signature(self, entry: Entry) -> str | None:
        if self.key is not None and entry.get("key") != self.key:
            return "another key than the server's signed it"
        if not _is_signed(entry):
            return "its signature is not the server's"
        self.keys[entry["key"]] = None
        return None


def _is_signed(entry: Entry) -> bool:
    unsigned = {name: value for name, value in entry.items() if name != "signature"}
    try:
        key, signature = bytes.fromhex(entry["key"]), bytes.fromhex(entry["signature"])
        verify(key, DOMAIN, canonical(unsigned), signature)
    except (KeyError, TypeError, ValueError, IdentityError):
        return False
    return True


def _parsed(line: bytes) -> Entry | None:
    """The entry, if the line is one, in the one spelling."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    found = cast("dict[str, Any]", entry)
    try:
        same = canonical(found) == line
    except (ValueError, RecursionError):
        return None
    signed = found.get("kind") in ("begin", "round")
    return found if same and signed == ("signature" in found) else None


def entries_of(readings: Iterable[Entry], client: str) -> list[Entry]:
    """The lines of one client, in order."""
    return [entry for entry in readings if entry["kind"] == "client" and entry["client"] == client]
