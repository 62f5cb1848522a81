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
    scan_ns     INTEGER NOT NULL DEFAULT 0 -- when the last scan of all of it ended, complete or not
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
    state    TEXT NOT NULL                   -- applying, done, absorbed
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

_V2 = """
PRAGMA user_version = 2;
CREATE TABLE facts (                         -- what analysis knows of a content; can be computed anew
    id      INTEGER PRIMARY KEY,
    hash    BLOB NOT NULL UNIQUE,
    version INTEGER NOT NULL,                -- of the analysis that found them
    data    BLOB NOT NULL                    -- zstd of JSON
);
CREATE TABLE cursors (                       -- how far detection has read the log
    repo_id INTEGER PRIMARY KEY REFERENCES repos,
    seq     INTEGER NOT NULL
);
CREATE TABLE suspects (                      -- changes of late that nothing explains
    id         INTEGER PRIMARY KEY,
    path_id    INTEGER NOT NULL UNIQUE REFERENCES paths,
    before_seq INTEGER NOT NULL,             -- the last healthy version; 0: nothing was there
    after_seq  INTEGER NOT NULL,
    time_ns    INTEGER NOT NULL,
    findings   TEXT NOT NULL,                -- JSON
    edit       TEXT NOT NULL,
    gone       INTEGER NOT NULL
);
CREATE TABLE incidents (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id   INTEGER NOT NULL REFERENCES repos,
    state     TEXT NOT NULL,
    severity  TEXT NOT NULL,
    opened_ns INTEGER NOT NULL,
    closed_ns INTEGER,
    first_seq INTEGER NOT NULL,
    last_ns   INTEGER NOT NULL,
    rules     TEXT NOT NULL,                 -- JSON list
    files     INTEGER NOT NULL,
    damaged   INTEGER NOT NULL,
    summary   TEXT NOT NULL,
    certainty TEXT NOT NULL,
    pid       INTEGER,
    command   TEXT,
    settled   INTEGER NOT NULL,
    rounds    INTEGER NOT NULL,
    note      TEXT NOT NULL,
    slow      INTEGER NOT NULL               -- whether its damage came a file now and then
);
CREATE INDEX incidents_by_repo ON incidents (repo_id, id);
CREATE INDEX incidents_open ON incidents (repo_id) WHERE state IN ('open', 'escalated');
CREATE TABLE members (
    id          INTEGER PRIMARY KEY,
    incident_id INTEGER NOT NULL REFERENCES incidents,
    path_id     INTEGER NOT NULL REFERENCES paths,
    before_seq  INTEGER NOT NULL,
    after_seq   INTEGER NOT NULL,
    time_ns     INTEGER NOT NULL,
    findings    TEXT NOT NULL,
    edit        TEXT NOT NULL,
    gone        INTEGER NOT NULL,
    damaged     INTEGER NOT NULL,
    returned    INTEGER NOT NULL,
    UNIQUE (incident_id, path_id)
);
CREATE INDEX members_by_path ON members (path_id);
CREATE TABLE pauses (                        -- bulk work that was announced
    id      INTEGER PRIMARY KEY,
    repo_id INTEGER NOT NULL REFERENCES repos,
    from_ns INTEGER NOT NULL,
    to_ns   INTEGER NOT NULL,
    reason  TEXT NOT NULL
);
CREATE INDEX pauses_by_repo ON pauses (repo_id, to_ns);
"""

_V3 = """
PRAGMA user_version = 3;
CREATE TABLE alerts (                        -- what people must be told: the outbox
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    thread      TEXT NOT NULL,
    stage       TEXT NOT NULL,
    severity    TEXT NOT NULL,
    time_ns     INTEGER NOT NULL,
    repo_id     INTEGER REFERENCES repos,
    incident_id INTEGER REFERENCES incidents,
    settled     INTEGER NOT NULL,
    detail      TEXT NOT NULL,
    assigned    INTEGER NOT NULL DEFAULT 0   -- whether it was given to the targets
);
CREATE INDEX alerts_unassigned ON alerts (id) WHERE NOT assigned;
CREATE INDEX alerts_by_thread ON alerts (thread, id);
CREATE INDEX alerts_by_incident ON alerts (incident_id) WHERE incident_id IS NOT NULL;
CREATE TABLE deliveries (                    -- an alert on its way to one target
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id  INTEGER NOT NULL REFERENCES alerts,
    target    TEXT NOT NULL,
    stage     TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    state     TEXT NOT NULL,                 -- pending, sent, failed, dropped
    attempts  INTEGER NOT NULL,
    due_ns    INTEGER NOT NULL,
    sent_ns   INTEGER,
    answer    TEXT NOT NULL,
    UNIQUE (target, dedup_key)
);
CREATE INDEX deliveries_pending ON deliveries (target, id) WHERE state = 'pending';
CREATE INDEX deliveries_by_alert ON deliveries (alert_id);
CREATE TABLE targets (                       -- how delivery to a target goes
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    failing_ns INTEGER NOT NULL,             -- since when every attempt failed; 0: it answers
    told       INTEGER NOT NULL              -- whether the others were told
);
CREATE TABLE labels (                        -- snapshots: places in the log that were given a name
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id INTEGER NOT NULL REFERENCES repos,
    seq     INTEGER NOT NULL,                -- all that was captured when it was taken: the place in the log
    time_ns INTEGER NOT NULL,
    label   TEXT NOT NULL                    -- one line, nothing in it that a terminal obeys
);
CREATE INDEX labels_by_repo ON labels (repo_id, id);
ALTER TABLE live ADD COLUMN awake_ns INTEGER NOT NULL DEFAULT 0;  -- of the beat: Moment.awake_ns
"""

_V4 = """
PRAGMA user_version = 4;
CREATE TABLE runs (                          -- bulk commands carried out as transactions
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    repo_id      INTEGER NOT NULL REFERENCES repos,
    command      TEXT NOT NULL,              -- one harmless line
    pid          INTEGER NOT NULL,           -- of guardctl; that it lives is told by its lock
    state        TEXT NOT NULL,              -- running, kept, rolled-back, partly-rolled-back, interrupted
    from_ns      INTEGER NOT NULL,
    to_ns        INTEGER,
    from_seq     INTEGER NOT NULL,           -- the place in the log before it
    to_seq       INTEGER,                    -- and when the command had ended
    end_seq      INTEGER,                    -- and when all was over, a roll-back included
    command_exit INTEGER,
    files        INTEGER NOT NULL DEFAULT 0,
    reasons      TEXT NOT NULL DEFAULT '[]', -- JSON
    concurrent   TEXT NOT NULL DEFAULT '[]', -- JSON: paths that others wrote meanwhile
    unrestored   TEXT NOT NULL DEFAULT '[]', -- JSON: paths that the roll-back could not put back
    restore_id   INTEGER REFERENCES restores,
    incident_id  INTEGER REFERENCES incidents
);
CREATE INDEX runs_by_repo ON runs (repo_id, id);
CREATE INDEX runs_by_end ON runs (repo_id, end_seq);
CREATE INDEX runs_running ON runs (repo_id) WHERE state = 'running';
CREATE INDEX runs_by_incident ON runs (incident_id) WHERE incident_id IS NOT NULL;
CREATE TABLE adopted (                       -- versions out of backup files; not part of the log
    seq        INTEGER PRIMARY KEY,          -- a number of the log that no version of it has
    repo_id    INTEGER NOT NULL REFERENCES repos,
    path       BLOB NOT NULL,                -- of the file that was backed up; guard may never have seen it
    blob_id    INTEGER NOT NULL REFERENCES blobs,
    mode       INTEGER NOT NULL,
    time_ns    INTEGER NOT NULL,             -- when the backup was made
    adopted_ns INTEGER NOT NULL,             -- when guard was told of it
    source     BLOB NOT NULL,                -- the backup file
    dated_by   TEXT NOT NULL,                -- name, folder, mtime
    checksum   INTEGER NOT NULL,
    UNIQUE (repo_id, path, time_ns, blob_id)
);
CREATE INDEX adopted_by_time ON adopted (repo_id, time_ns, seq);
CREATE INDEX adopted_by_blob ON adopted (blob_id);
CREATE TABLE checked (                       -- what a check found in a content, wherever that lies; can be computed anew
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    hash    BLOB NOT NULL UNIQUE,            -- BLAKE3, or git's object id
    version INTEGER NOT NULL,                -- of the rules, the markers included
    data    BLOB NOT NULL                    -- zstd of JSON
);
"""

_V5 = """
PRAGMA user_version = 5;
CREATE TABLE frames (                        -- contents of neighbouring files, compressed together
    id    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: readers keep a frame at hand by it
    size  INTEGER NOT NULL,                  -- of the contents, all together
    level INTEGER NOT NULL,                  -- of the compression: made quickly at first, densely when there is time
    data  BLOB NOT NULL                      -- zstd
);
CREATE INDEX frames_by_level ON frames (level);
ALTER TABLE blobs ADD COLUMN frame_id INTEGER REFERENCES frames;
ALTER TABLE blobs ADD COLUMN place INTEGER;  -- where in the frame the content begins
CREATE INDEX blobs_by_frame ON blobs (frame_id) WHERE frame_id IS NOT NULL;
"""

_V6 = """
PRAGMA user_version = 6;
CREATE TABLE watched (                       -- stretches in which all that the same rules want was in sight
    id       INTEGER PRIMARY KEY,
    repo_id  INTEGER NOT NULL REFERENCES repos,
    rules    TEXT NOT NULL,                  -- JSON of the SelectionRules
    ignoring TEXT NOT NULL,                  -- fingerprint of the .gitignore files that were respected
    from_ns  INTEGER NOT NULL,               -- when the first complete scan had ended
    to_ns    INTEGER                         -- NULL: it goes on
);
CREATE INDEX watched_by_repo ON watched (repo_id, from_ns);
CREATE TABLE purging (                       -- a row while bytes of what was purged may be left in the file
    id INTEGER PRIMARY KEY
);
"""

_MIGRATIONS = (_V1, _V2, _V3, _V4, _V5, _V6)

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
