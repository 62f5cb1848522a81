"""The tables of the store, and the steps that bring an older store to them."""

from guardd.errors import StoreError
from guardd.store.database import Database

_V1 = """
PRAGMA application_id = 1735549028;          -- "grdd"
PRAGMA user_version = 1;
CREATE TABLE repos (
    id          INTEGER PRIMARY KEY,
    path        BLOB NOT NULL UNIQUE,      -- absolute, resolved
    rules       TEXT NOT NULL,             -- JSON of the SelectionRules in force
    scanned     TEXT NOT NULL DEFAULT '',  -- fingerprint of the rules of the last complete scan
    baseline_ns INTEGER NOT NULL DEFAULT 0,-- when the baseline was complete; 0: not yet
    scan_ns     INTEGER NOT NULL DEFAULT 0 -- when the last complete scan ended
);
CREATE TABLE paths (
    id           INTEGER PRIMARY KEY,
    repo_id      INTEGER NOT NULL REFERENCES repos,
    path         BLOB NOT NULL,
    first_seq    INTEGER NOT NULL,           -- its first version ever, kept or not
    known_before INTEGER NOT NULL,           -- whether it was there before guard first saw it
    head_seq     INTEGER NOT NULL,           -- 0: no version; never readable, or purged
    present      INTEGER NOT NULL,
    stat         BLOB,                       -- StatKey of the verified read of the head; NULL: look again
    racy         INTEGER NOT NULL DEFAULT 0, -- read too soon after its last change to trust the key
    UNIQUE (repo_id, path)
);
CREATE INDEX paths_by_head ON paths (repo_id, head_seq);
CREATE TABLE blobs (
    id      INTEGER PRIMARY KEY,
    hash    BLOB NOT NULL,
    size    INTEGER NOT NULL,
    codec   INTEGER NOT NULL,
    depth   INTEGER NOT NULL DEFAULT 0,
    base_id INTEGER REFERENCES blobs,
    data    BLOB
);
CREATE UNIQUE INDEX blobs_by_hash ON blobs (hash);
CREATE INDEX blobs_by_base ON blobs (base_id) WHERE base_id IS NOT NULL;
CREATE TABLE versions (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    path_id  INTEGER NOT NULL REFERENCES paths,
    kind     TEXT NOT NULL,
    blob_id  INTEGER REFERENCES blobs,
    mode     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    time_ns  INTEGER NOT NULL,
    origin   TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX versions_by_path ON versions (path_id, seq);
CREATE INDEX versions_by_blob ON versions (blob_id) WHERE blob_id IS NOT NULL;
CREATE TABLE clocks (                        -- stretches of the log in which wall and boot clock ran together
    first_seq INTEGER PRIMARY KEY,
    boot_id   TEXT NOT NULL,
    offset_ns INTEGER NOT NULL               -- wall time minus time since boot
);
CREATE TABLE restores (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id  INTEGER NOT NULL REFERENCES repos,
    time_ns  INTEGER NOT NULL,
    command  TEXT NOT NULL,
    undoes   INTEGER REFERENCES restores,    -- the restore that this one takes back
    state    TEXT NOT NULL                   -- applying, done
);
CREATE INDEX restores_by_repo ON restores (repo_id, id);
CREATE INDEX restores_by_undone ON restores (undoes) WHERE undoes IS NOT NULL;
CREATE TABLE restore_items (
    restore_id INTEGER NOT NULL REFERENCES restores,
    path_id    INTEGER NOT NULL REFERENCES paths,
    safety_seq INTEGER NOT NULL,             -- what was there before; 0: nothing
    target_seq INTEGER NOT NULL,             -- the version that the restore made
    PRIMARY KEY (restore_id, path_id)
) WITHOUT ROWID;
CREATE TABLE live (                          -- what the daemon last said of itself; not durable, by design
    repo_id INTEGER PRIMARY KEY REFERENCES repos,
    state   TEXT NOT NULL,
    reasons TEXT NOT NULL,                   -- JSON list
    dirty   INTEGER NOT NULL,
    lag_ns  INTEGER NOT NULL,                -- age of the oldest hint that is not captured
    beat_ns INTEGER NOT NULL
);
"""

_MIGRATIONS = (_V1,)

VERSION = len(_MIGRATIONS)


def prepare(db: Database) -> None:
    """Make the tables, or migrate an older store forward, in one transaction. Refuses a newer schema."""
    if db.value("PRAGMA user_version") == VERSION:
        return
    if not db.value("PRAGMA page_count"):
        db.run("PRAGMA auto_vacuum = INCREMENTAL")  # gc returns space page by page; only a new database takes this
        db.run("PRAGMA journal_mode = WAL")
    with db.transaction():
        found = db.value("PRAGMA user_version")
        if found > VERSION:
            raise StoreError(f"the store {db.path} was written by a newer guard (schema {found}); update this one")
        for script in _MIGRATIONS[found:]:
            db.run(script)
