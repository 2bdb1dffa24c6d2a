"""Is the ledger what was written? Its lines by one another, its scores by replay, all of it by the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roughfed.crypto.identity import verify
from roughfed.errors import ConfigError, IdentityError
from roughfed.files import disk_errors
from roughfed.server.extensions.ledger import entries, hash_chain
from roughfed.server.extensions.ledger.entries import LedgerState
from roughfed.server.extensions.ledger.file import newest, waiting
from roughfed.server.extensions.ledger.hash_chain import FIRST, Entry, LedgerProblem
from roughfed.server.storage.layout import LEDGER
from roughfed.server.storage.store import Store
from roughfed.wire.session import HEADER_DOMAIN


@dataclass(frozen=True, slots=True)
class Checked:
    """A ledger that was read.

    Attributes:
        entries: its lines, up to the first one that is wrong.
        book: what is known after the last round that is right.
        problem: the first one; None where all is as it was written.
        keys: public keys that signed it, hexadecimal.
        head: digest of the last line that is right.
        waiting: rounds that are journaled and not in the file yet.
    """

    entries: Sequence[Entry]
    book: LedgerState
    problem: LedgerProblem | None
    keys: tuple[str, ...]
    head: str
    waiting: int = 0

    @property
    def rounds(self) -> int:
        """Rounds that are right."""
        return sum(entry["kind"] == "round" for entry in self.entries)


def check_file(path: Path, *, key: str | None = None) -> Checked:
    """Check a copy of a ledger. Without its journal nobody can know whether rounds were cut off at its end.

    Args:
        path: the copy.
        key: public key of the server, hexadecimal; None: whichever signed it.

    Raises:
        ConfigError: there is no such file.
        StorageError: the disk refused.
    """
    return _checked(_bytes(path), head=None, key=key)


def check_ledger(store: Store) -> Checked:
    """Check the ledger of a state directory against its journal; also while the server runs.

    Raises:
        ConfigError: there is none.
        StorageError: the disk refused.
    """
    path, last = store.folder / LEDGER, newest(store)
    if last is None:
        cure = "it begins with the first round that is over"
        raise ConfigError("there is no ledger here yet", file=str(path.absolute()), cure=cure)
    pending = waiting(store)
    written = newest(store, before=pending[0].round) if pending else last
    data = _bytes(path) if path.exists() else b""
    end = written.stop if written is not None else 0
    more = b"".join(part.data or b"" for part in pending)
    head = written.head if written is not None else FIRST
    found = _checked(data[:end], head=head, key=None)
    problem = found.problem or _beside(store, found)
    if problem is None and not more.startswith(data[end:]):
        problem = LedgerProblem(len(found.entries) + 1, "structure", "lines follow that the journal knows nothing of")
    return Checked(found.entries, found.book, problem, found.keys, found.head, len(pending))


def _checked(data: bytes, *, head: str | None, key: str | None) -> Checked:
    reading = hash_chain.read(data, head=head, key=key)
    known, problem = entries.check(reading.entries)
    if problem is not None and reading.problem is not None and reading.problem.line < problem.line:
        problem = reading.problem
    return Checked(reading.entries, known, problem or reading.problem, reading.keys, reading.head)


def _beside(store: Store, found: Checked) -> LedgerProblem | None:
    """What the ledger says of rounds against the headers that clients were sent, and their signatures."""
    rounds = {row.round: row for row in store.judged()}
    known = set[str]()
    for number, entry in enumerate(found.entries, start=1):
        if entry["kind"] != "round":
            continue
        row, key = rounds.get(entry["round"]), entry["key"]
        if row is None or row.header.digest.hex() != entry["header"]:
            return LedgerProblem(number, "structure", "the journal knows another header of this round")
        if key in known:
            continue
        try:
            verify(bytes.fromhex(key), HEADER_DOMAIN, row.header.body, row.header.signature)
        except IdentityError:
            return LedgerProblem(number, "signature", "another key signed the header of this round")
        known.add(key)
    return None


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError("there is no such file", file=str(path), key="--file", cure="give a copy of a ledger")
    with disk_errors(f"read {path}"):
        return path.read_bytes()
