"""Tables of the server's journal, step by step: a step is never changed, only followed by another."""

from __future__ import annotations

SCHEMA = (
    """
    CREATE TABLE run (id TEXT PRIMARY KEY, spec BLOB NOT NULL, created_at REAL NOT NULL, finished TEXT);
    CREATE TABLE models (
        version INTEGER PRIMARY KEY, digest BLOB NOT NULL, round INTEGER NOT NULL, committed_at REAL NOT NULL);
    CREATE TABLE rounds (
        round INTEGER PRIMARY KEY, header BLOB NOT NULL, signature BLOB NOT NULL, signer TEXT NOT NULL,
        cohort TEXT NOT NULL, goal INTEGER NOT NULL, opened_at REAL NOT NULL, sets TEXT, outcome TEXT,
        reason TEXT NOT NULL DEFAULT '', closed_at REAL, summary TEXT);
    CREATE TABLE receipts (
        round INTEGER NOT NULL, client TEXT NOT NULL, digest BLOB NOT NULL, size_bytes INTEGER NOT NULL,
        statement BLOB NOT NULL, statement_signature BLOB NOT NULL, receipt_signature BLOB NOT NULL,
        received_at REAL NOT NULL, PRIMARY KEY (round, client));
    CREATE TABLE refusals (
        round INTEGER NOT NULL, client TEXT NOT NULL, digest BLOB NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL, refused_at REAL NOT NULL, PRIMARY KEY (round, client));
    CREATE TABLE evaluations (
        version INTEGER NOT NULL, source TEXT NOT NULL, evaluation TEXT NOT NULL, PRIMARY KEY (version, source));
    CREATE TABLE revoked (client TEXT PRIMARY KEY, revoked_at REAL NOT NULL);
    """,
    "ALTER TABLE receipts ADD COLUMN norm REAL;",
    "ALTER TABLE run ADD COLUMN began TEXT;",
    """
    CREATE TABLE masked_rounds (
        round INTEGER PRIMARY KEY, nonce BLOB NOT NULL, epoch_round INTEGER NOT NULL, beacon BLOB NOT NULL,
        clip_norm REAL NOT NULL, next_clip REAL, statistics TEXT);
    CREATE TABLE stages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, round INTEGER NOT NULL, kind TEXT NOT NULL, client TEXT NOT NULL,
        body BLOB NOT NULL, signature BLOB NOT NULL, entry BLOB NOT NULL);
    CREATE TABLE proofs (client TEXT PRIMARY KEY, round INTEGER NOT NULL, reason TEXT NOT NULL, found_at REAL NOT NULL);
    CREATE TABLE notes (round INTEGER NOT NULL, client TEXT NOT NULL, what TEXT NOT NULL, PRIMARY KEY (round, client));
    """,
    """
    ALTER TABLE proofs RENAME TO first_proofs;
    CREATE TABLE proofs (
        client TEXT NOT NULL, round INTEGER NOT NULL, reason TEXT NOT NULL, found_at REAL NOT NULL, released_at REAL,
        PRIMARY KEY (client, round));
    INSERT INTO proofs SELECT client, round, reason, found_at, NULL FROM first_proofs;
    DROP TABLE first_proofs;
    ALTER TABLE notes ADD COLUMN released_at REAL;
    """,
    """
    ALTER TABLE rounds ADD COLUMN facts TEXT NOT NULL DEFAULT '';
    ALTER TABLE rounds ADD COLUMN sums TEXT;
    CREATE TABLE statics (source TEXT PRIMARY KEY, statistics TEXT NOT NULL);
    """,
    """
    CREATE TABLE calibrated (
        version INTEGER PRIMARY KEY, how TEXT NOT NULL, digest BLOB NOT NULL, head TEXT NOT NULL, made_at REAL NOT NULL,
        evaluation TEXT);
    """,
    "CREATE TABLE defence (round INTEGER PRIMARY KEY, seed INTEGER NOT NULL, state BLOB, scores TEXT);",
    "ALTER TABLE defence ADD COLUMN judged INTEGER; ALTER TABLE defence ADD COLUMN tolerated INTEGER;",
    """
    ALTER TABLE evaluations RENAME TO first_evaluations;
    CREATE TABLE evaluations (
        version INTEGER NOT NULL, source TEXT NOT NULL, evaluation TEXT NOT NULL, kind TEXT NOT NULL DEFAULT 'global',
        PRIMARY KEY (version, source, kind));
    INSERT INTO evaluations SELECT version, source, evaluation, 'global' FROM first_evaluations;
    DROP TABLE first_evaluations;
    """,
    """
    ALTER TABLE models ADD COLUMN cluster TEXT NOT NULL DEFAULT '0';
    ALTER TABLE models ADD COLUMN base INTEGER NOT NULL DEFAULT -1;
    ALTER TABLE models ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
    UPDATE models SET base = version - 1, depth = version;
    ALTER TABLE rounds ADD COLUMN cluster TEXT NOT NULL DEFAULT '0';
    CREATE TABLE clusters (id TEXT PRIMARY KEY, base INTEGER NOT NULL, round INTEGER NOT NULL, why TEXT NOT NULL);
    CREATE TABLE cluster_moves (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, round INTEGER NOT NULL, client TEXT NOT NULL, cluster TEXT NOT NULL,
        why TEXT NOT NULL, score REAL);
    CREATE TABLE cluster_decided (round INTEGER PRIMARY KEY, event TEXT NOT NULL, figures TEXT NOT NULL);
    CREATE TABLE cluster_rows (
        round INTEGER PRIMARY KEY, cluster TEXT NOT NULL, names TEXT NOT NULL, gram BLOB NOT NULL, error REAL NOT NULL);
    CREATE TABLE choosings (
        number INTEGER PRIMARY KEY, round INTEGER NOT NULL, everybody INTEGER NOT NULL, asked TEXT NOT NULL,
        models TEXT NOT NULL, opened_at REAL NOT NULL, closed_at REAL);
    CREATE TABLE choices (
        number INTEGER NOT NULL, client TEXT NOT NULL, cluster TEXT NOT NULL, PRIMARY KEY (number, client));
    """,
    """
    CREATE TABLE riders (round INTEGER PRIMARY KEY, state BLOB NOT NULL, found TEXT NOT NULL);
    CREATE TABLE ledger (
        round INTEGER PRIMARY KEY, start INTEGER NOT NULL, size INTEGER NOT NULL, count INTEGER NOT NULL,
        head TEXT NOT NULL, lines BLOB);
    """,
    """
    CREATE TABLE class_rounds (
        round INTEGER NOT NULL, class TEXT NOT NULL, epoch_round INTEGER NOT NULL, beacon BLOB NOT NULL,
        clip_norm REAL NOT NULL, next_clip REAL, PRIMARY KEY (round, class));
    """,
    """
    CREATE TABLE held (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT NOT NULL, because TEXT NOT NULL, held_at REAL NOT NULL,
        released_at REAL);
    CREATE TABLE restored (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, made_at REAL NOT NULL, restored_at REAL NOT NULL, round INTEGER NOT NULL,
        software TEXT NOT NULL, settled_at REAL);
    """,
    """
    CREATE TABLE orders (
        run TEXT NOT NULL, round INTEGER NOT NULL, version INTEGER NOT NULL PRIMARY KEY, taken_at REAL NOT NULL);
    """,
    "CREATE TABLE member_lists (digest BLOB PRIMARY KEY, signed BLOB NOT NULL);",
    """
    ALTER TABLE class_rounds RENAME TO tier_rounds;
    ALTER TABLE tier_rounds RENAME COLUMN class TO tier;
    UPDATE rounds
        SET summary = json_set(json_remove(summary, '$.classes'), '$.tiers', json_extract(summary, '$.classes'))
        WHERE CASE WHEN json_valid(summary) THEN json_extract(summary, '$.classes') END IS NOT NULL;
    UPDATE rounds
        SET summary = json_set(json_remove(summary, '$.contribution.tiers'),
            '$.contribution.levels', json_extract(summary, '$.contribution.tiers'))
        WHERE CASE WHEN json_valid(summary) THEN json_extract(summary, '$.contribution.tiers') END IS NOT NULL;
    """,
    """
    CREATE INDEX models_by_round ON models (round);
    CREATE INDEX models_by_digest ON models (digest);
    """,
    """
    CREATE TABLE vouched (
        client TEXT PRIMARY KEY, because TEXT NOT NULL, since REAL NOT NULL, identity_key BLOB NOT NULL);
    """,
    """
    CREATE TABLE starts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, started_at REAL NOT NULL, software TEXT NOT NULL, round INTEGER NOT NULL,
        settings TEXT, ended TEXT, ended_at REAL);
    """,
)
