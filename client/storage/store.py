"""What a client must still know after a crash: the chain of headers it saw, and the update that it promised.

The bytes of an update and the statement about them are noted before the first byte leaves (write-ahead). After a
restart the client sends *these* bytes or none: training again could give others, and two different updates under one
id are refused by the server, and in the secure modes would give the masks away.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from roughfed.errors import StorageError
from roughfed.file_pool import claim, retire, spare_of, written_over
from roughfed.files import disk_errors
from roughfed.journal import Journal
from roughfed.messages import Seen
from roughfed.secagg.adverts import FULL
from roughfed.tiers import STANDARD
from roughfed.types import Signed

DISCLOSURE_STEP = """
    CREATE TABLE ledgers (
        id TEXT PRIMARY KEY, federation TEXT NOT NULL, ca BLOB NOT NULL, model BLOB NOT NULL);
    CREATE TABLE ledger_runs (
        ledger TEXT NOT NULL, run TEXT NOT NULL, spec BLOB NOT NULL, began REAL NOT NULL, PRIMARY KEY (ledger, run));
    CREATE TABLE answered (
        ledger TEXT NOT NULL, run TEXT NOT NULL, round INTEGER NOT NULL, mode TEXT NOT NULL,
        model_digest BLOB NOT NULL, clip_norm REAL NOT NULL, numbers INTEGER NOT NULL, shown INTEGER NOT NULL,
        moved REAL, summed INTEGER, fingerprint BLOB, accepted BLOB, PRIMARY KEY (ledger, run, round));
    CREATE TABLE told (
        ledger TEXT NOT NULL, run TEXT NOT NULL, round INTEGER NOT NULL, name TEXT NOT NULL, amount INTEGER NOT NULL,
        PRIMARY KEY (ledger, run, round, name));
    INSERT INTO ledger_runs SELECT '', run, x'', 0 FROM (
        SELECT run FROM chain UNION SELECT run FROM rounds_used UNION SELECT run FROM shown
        UNION SELECT run FROM statics_given UNION SELECT run FROM given UNION SELECT run FROM choices);
    INSERT INTO answered
        SELECT '', run, round, CASE WHEN numbers THEN 'sketches' ELSE 'sums' END, model_digest, 0, numbers, 1,
        NULL, NULL, NULL, NULL FROM shown;
    INSERT OR IGNORE INTO answered SELECT '', run, round, '', x'', 0, 0, 1, NULL, NULL, NULL, NULL FROM rounds_used;
    INSERT INTO told SELECT '', run, 0, 'static', 0 FROM statics_given;
    INSERT INTO told SELECT '', run, round, name, 1 FROM given;
    INSERT INTO told SELECT '', run, number, 'choice', bits FROM choices;
    DROP TABLE shown;
    DROP TABLE statics_given;
    DROP TABLE given;
    ALTER TABLE choices RENAME TO first_choices;
    CREATE TABLE choices (
        run TEXT NOT NULL, number INTEGER NOT NULL, models BLOB NOT NULL, place INTEGER NOT NULL,
        PRIMARY KEY (run, number));
    INSERT INTO choices SELECT run, number, models, place FROM first_choices;
    DROP TABLE first_choices;
"""
"""The record of disclosure, out of tables that were by run."""

SCHEMA = (
    """
    CREATE TABLE chain (run TEXT PRIMARY KEY, round INTEGER NOT NULL, header_digest BLOB NOT NULL);
    CREATE TABLE updates (
        run TEXT NOT NULL, round INTEGER NOT NULL, header_digest BLOB NOT NULL, digest BLOB NOT NULL,
        statement BLOB NOT NULL, signature BLOB NOT NULL, signer TEXT NOT NULL, receipt BLOB,
        PRIMARY KEY (run, round));
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    """,
    """
    DROP TABLE counters;
    CREATE TABLE rounds_used (run TEXT NOT NULL, round INTEGER NOT NULL, PRIMARY KEY (run, round));
    INSERT INTO rounds_used SELECT run, round FROM updates;
    """,
    """
    ALTER TABLE chain ADD COLUMN clip_norm REAL NOT NULL DEFAULT 0;
    CREATE TABLE epochs (run TEXT PRIMARY KEY, epoch_round INTEGER NOT NULL, beacon BLOB NOT NULL);
    CREATE TABLE shown (
        run TEXT NOT NULL, round INTEGER NOT NULL, model_digest BLOB NOT NULL, numbers INTEGER NOT NULL,
        PRIMARY KEY (run, round));
    CREATE TABLE statics_given (run TEXT PRIMARY KEY);
    """,
    """
    CREATE TABLE given (run TEXT NOT NULL, round INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (run, round, name));
    CREATE TABLE weights (
        run TEXT NOT NULL, round INTEGER NOT NULL, quarters INTEGER NOT NULL, PRIMARY KEY (run, round));
    """,
    """
    CREATE TABLE said (
        run TEXT NOT NULL, round INTEGER NOT NULL, share REAL NOT NULL, counts INTEGER NOT NULL,
        PRIMARY KEY (run, round));
    """,
    "CREATE TABLE losses (run TEXT NOT NULL, round INTEGER NOT NULL, loss REAL NOT NULL, PRIMARY KEY (run, round));",
    """
    CREATE TABLE choices (
        run TEXT NOT NULL, number INTEGER NOT NULL, models BLOB NOT NULL, place INTEGER NOT NULL, bits INTEGER NOT NULL,
        PRIMARY KEY (run, number));
    """,
    """
    CREATE TABLE clips (
        run TEXT NOT NULL, class TEXT NOT NULL, round INTEGER NOT NULL, clip_norm REAL NOT NULL,
        PRIMARY KEY (run, class));
    INSERT INTO clips SELECT run, '', round, clip_norm FROM chain WHERE clip_norm > 0;
    ALTER TABLE epochs RENAME TO first_epochs;
    CREATE TABLE epochs (
        run TEXT NOT NULL, class TEXT NOT NULL, epoch_round INTEGER NOT NULL, beacon BLOB NOT NULL,
        PRIMARY KEY (run, class));
    INSERT INTO epochs SELECT run, '', epoch_round, beacon FROM first_epochs;
    DROP TABLE first_epochs;
    """,
    """
    CREATE TABLE seen (
        run TEXT PRIMARY KEY, round INTEGER NOT NULL, header BLOB NOT NULL, signature BLOB NOT NULL,
        signer TEXT NOT NULL, server BLOB NOT NULL);
    """,
    """
    CREATE TABLE modes (federation BLOB NOT NULL, mode TEXT NOT NULL, since REAL NOT NULL, said TEXT NOT NULL);
    CREATE TABLE modes_refused (
        federation BLOB NOT NULL, mode TEXT NOT NULL, held TEXT NOT NULL, run TEXT NOT NULL, times INTEGER NOT NULL,
        first REAL NOT NULL, last REAL NOT NULL, PRIMARY KEY (federation, mode));
    """,
    DISCLOSURE_STEP,
    """
    ALTER TABLE epochs ADD COLUMN seen_round INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE epochs ADD COLUMN draw_round INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE epochs ADD COLUMN draw_beacon BLOB NOT NULL DEFAULT x'';
    UPDATE epochs SET seen_round = epoch_round;
    CREATE TABLE member_lists (
        anchor BLOB PRIMARY KEY, number INTEGER NOT NULL, digest BLOB NOT NULL, signed BLOB NOT NULL);
    """,
    """
    ALTER TABLE clips RENAME COLUMN class TO tier;
    ALTER TABLE epochs RENAME COLUMN class TO tier;
    """,
)

MODELS_KEPT, LOSSES_KEPT = 2, 16
SAID_KEPT = 100
"""Rounds of which it is known whether an update counts; a training asks about the last one that it kept state of."""


@dataclass(frozen=True, slots=True)
class SavedUpdate:
    """An update that is noted: its bytes are in `ClientStore.update_path`.

    `recovered` says that it was read back from disk: the server may hold a part of it already; `receipt` is the
    server's word, if it came.
    """

    run: str
    round: int
    header_digest: bytes
    digest: bytes
    signed: Signed
    recovered: bool = False
    receipt: bytes | None = None


class ClientStore:
    """A client's state directory: client.db, models/, update files."""

    def __init__(self, folder: Path) -> None:
        """Open or create it. Facts survive a crash of the process; after a power cut the round is sat out."""
        self.folder = folder
        self.intact: set[bytes] = set()  # models whose bytes this process has seen to be right
        self.pinned: set[bytes] = set()  # models that stay although newer ones came
        self.spare_model, self._spare_update = spare_of(folder, "model"), spare_of(folder, "update")
        (folder / "models").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.journal = Journal(folder / "client.db", SCHEMA, durable=False)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def chain(self, run: str) -> tuple[int, bytes] | None:
        """(round, header digest) of the last header that this client accepted."""
        rows = self.journal.read("SELECT round, header_digest FROM chain WHERE run = ?", run)
        return (rows[0]["round"], rows[0]["header_digest"]) if rows else None

    async def extend_chain(
        self,
        run: str,
        number: int,
        header_digest: bytes,
        *,
        clip: tuple[str, float] = (STANDARD, 0.0),
        seen: Seen | None = None,
    ) -> None:
        """Note a header before anything is done for it.

        Args:
            run: of the header.
            number: of its round.
            header_digest: of its bytes.
            clip: of a masked round, the own tier and its C.
            seen: it itself.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, ?, ?)", (run, number, header_digest, clip[1]))
            if seen is not None:
                signed = (seen.header.body, seen.header.signature, seen.header.signer, seen.server)
                db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", (run, number, *signed))
            if clip[1]:
                db.execute("INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?)", (run, clip[0], number, clip[1]))

        await self.journal.write(work)

    def seen(self) -> Seen | None:
        """The header that this client accepted last, whatever its run; None before the first."""
        rows = self.journal.read("SELECT * FROM seen ORDER BY rowid DESC LIMIT 1")  # replacing a row numbers it anew
        if not rows:
            return None
        row = rows[0]
        return Seen(Signed(row["header"], row["signature"], row["signer"]), row["server"])

    # -- masked rounds ------------------------------------------------------------------------------------------------

    def clip_norm(self, run: str, tier: str = STANDARD) -> tuple[int, float] | None:
        """(round, C) of the last masked round that this client took part in as of a tier."""
        sql = "SELECT round, clip_norm FROM clips WHERE run = ? AND tier = ?"
        rows = self.journal.read(sql, run, tier)
        return (rows[0]["round"], rows[0]["clip_norm"]) if rows else None

    # -- weight classes -----------------------------------------------------------------------------------------------

    def quarters(self, run: str, *, before: int) -> int:
        """The weight class, in quarters, that the last training before a round found; 4 without one."""
        sql = "SELECT quarters FROM weights WHERE run = ? AND round < ? ORDER BY round DESC LIMIT 1"
        rows = self.journal.read(sql, run, before)
        return rows[0]["quarters"] if rows else FULL

    async def record_quarters(self, run: str, number: int, quarters: int) -> None:
        """Note what a training found; older ones than that of the round before are forgotten."""
        if quarters == FULL and not self.journal.read("SELECT 1 FROM weights LIMIT 1"):
            return  # as without one

        def work(db: sqlite3.Connection) -> None:
            last = "SELECT MAX(round) FROM weights WHERE run = ? AND round < ?"
            db.execute(f"DELETE FROM weights WHERE run != ? OR round < ({last})", (run, run, number))  # noqa: S608
            db.execute("INSERT OR REPLACE INTO weights VALUES (?, ?, ?)", (run, number, quarters))

        await self.journal.write(work)

    def losses(self, run: str, *, before: int) -> dict[int, float]:
        """Rounds before a given one -> the mean loss that this client had under their base models."""
        rows = self.journal.read("SELECT round, loss FROM losses WHERE run = ? AND round < ?", run, before)
        return {row["round"]: row["loss"] for row in rows}

    async def record_loss(self, run: str, number: int, loss: float) -> None:
        """Note the loss under a round's base model; other runs and old rounds are forgotten."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM losses WHERE run != ? OR round <= ?", (run, number - LOSSES_KEPT))
            db.execute("INSERT OR REPLACE INTO losses VALUES (?, ?, ?)", (run, number, loss))

        await self.journal.write(work)

    # -- what is in the sums ------------------------------------------------------------------------------------------

    async def record_share(self, run: str, number: int, share: float) -> None:
        """Note, before an update leaves, which share of it the clip let through, 0..1; without a note it is 1."""
        sql = "INSERT OR REPLACE INTO said VALUES (?, ?, ?, 0)"
        await self.journal.write(lambda db: db.execute(sql, (run, number, share)))

    async def record_counted(self, run: str, number: int) -> None:
        """Note the server's word that a round's update is in its sum; other runs and old rounds are forgotten."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM said WHERE run != ? OR round <= ?", (run, number - SAID_KEPT))
            sql = "INSERT INTO said VALUES (?, ?, 1.0, 1) ON CONFLICT (run, round) DO UPDATE SET counts = 1"
            db.execute(sql, (run, number))

        await self.journal.write(work)

    def counted_shares(self, run: str, *, before: int) -> dict[int, float]:
        """Rounds before a given one whose update is in the sum -> the share that the clip let through."""
        sql = "SELECT round, share FROM said WHERE run = ? AND round < ? AND counts ORDER BY round"
        return {row["round"]: row["share"] for row in self.journal.read(sql, run, before)}

    # -- updates ------------------------------------------------------------------------------------------------------

    def update(self, run: str, number: int) -> SavedUpdate | None:
        """The update noted for a round, if its bytes are still there."""
        rows = self.journal.read("SELECT * FROM updates WHERE run = ? AND round = ?", run, number)
        if not rows or not self.update_path(number).exists():
            return None
        row = rows[0]
        signed = Signed(row["statement"], row["signature"], row["signer"])
        return SavedUpdate(
            run, number, row["header_digest"], row["digest"], signed, recovered=True, receipt=row["receipt"]
        )

    def forgotten(self, run: str, number: int) -> bool:
        """Whether an update of a round was noted and what was promised is not known any more: another run came."""
        if not self.journal.read("SELECT 1 FROM rounds_used WHERE run = ? AND round = ?", run, number):
            return False
        return not self.journal.read("SELECT 1 FROM updates WHERE run = ? AND round = ?", run, number)

    async def save_update(self, update: SavedUpdate) -> None:
        """Note an update (and forget those of earlier rounds).

        Raises:
            StorageError: other bytes are promised for this round, and they are gone (`update` gave None).
        """
        row = (update.run, update.round, update.header_digest, update.digest)
        signed = (update.signed.body, update.signed.signature, update.signed.signer)

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM updates WHERE run != ? OR round < ?", (update.run, update.round))
            sql = "SELECT digest FROM updates WHERE run = ? AND round = ?"
            promised = db.execute(sql, (update.run, update.round)).fetchone()
            if promised is not None and promised["digest"] != update.digest:
                raise StorageError(f"the bytes of the update for round {update.round} are gone; the round is sat out")
            db.execute("INSERT OR REPLACE INTO updates VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", row + signed)
            db.execute("INSERT OR IGNORE INTO rounds_used VALUES (?, ?)", (update.run, update.round))

        await self.journal.write(work)
        for path in self.folder.glob("update-*.f32"):
            if path != self.update_path(update.round):
                retire(path, self._spare_update)

    async def save_receipt(self, run: str, number: int, receipt: bytes) -> None:
        """Keep the server's word."""
        sql = "UPDATE updates SET receipt = ? WHERE run = ? AND round = ?"
        await self.journal.write(lambda db: db.execute(sql, (receipt, run, number)))

    def owes_update(self) -> bool:
        """An update is noted, its bytes are here, and no receipt came for it."""
        rows = self.journal.read("SELECT round FROM updates WHERE receipt IS NULL")
        return any(self.update_path(row["round"]).exists() for row in rows)

    def rounds_used(self) -> set[tuple[str, int]]:
        """(run, round) of every update that was ever noted: what `policy.max_rounds` counts."""
        return {(row["run"], row["round"]) for row in self.journal.read("SELECT run, round FROM rounds_used")}

    def last_used(self, run: str) -> int:
        """The last round of a run that an update was noted for; 0 before the first."""
        rows = self.journal.read("SELECT COALESCE(MAX(round), 0) AS last FROM rounds_used WHERE run = ?", run)
        return int(rows[0]["last"])

    def update_path(self, number: int) -> Path:
        """Where the bytes of a round's update lie."""
        return self.folder / f"update-{number:08d}.f32"

    def fresh_update(self, number: int) -> Path:
        """Where the bytes of a round's update go, over those of an older one."""
        path = self.update_path(number)
        claim(self._spare_update, path)
        return path

    def write_update(self, number: int, data: memoryview) -> None:
        """Put the bytes of a round's update in their file, over those of an older one; whole or not at all. Not synced.

        Raises:
            StorageError: the disk refused.
        """
        partial = self.update_path(number).with_suffix(".partial")
        written_over(partial, self._spare_update, len(data)).data[:] = data
        with disk_errors("store the update"):
            partial.replace(self.update_path(number))

    def model_path(self, digest: bytes) -> Path:
        """Where a model lies; the name is its content's digest."""
        return self.folder / "models" / f"{digest.hex()}.safetensors"

    def base_path(self, digest: bytes) -> Path:
        """Where a frozen base lies; beside the models, since it is kept while they come and go."""
        return self.folder / "base" / f"{digest.hex()}.safetensors"

    def partial_path(self, digest: bytes) -> Path:
        """Where a model is downloaded to."""
        return self.folder / "models" / f"{digest.hex()}.part"

    def prune_models(self, keep: bytes) -> None:
        """Keep the newest models and `keep`; the others go, one of them to be written over by the next."""
        models = self.folder / "models"
        paths = sorted(models.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths[MODELS_KEPT:]:
            if path.stem not in {digest.hex() for digest in (keep, *self.pinned)}:
                retire(path, self.spare_model)
