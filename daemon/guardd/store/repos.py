"""The repos that the store knows, and what the daemon last said of each."""

import json
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from guardd.errors import StoreDamaged
from guardd.model import Alert, Moment, RepoState, Severity, Stage
from guardd.selection import SelectionRules
from guardd.store.database import Database, Row
from guardd.store.outbox import Outbox

_REPO = "SELECT id, path, rules, scanned, baseline_ns, scan_ns FROM repos"
_BY_PATH = _REPO + " WHERE path = ?"
_ALL = _REPO + " ORDER BY path"
_ADD = "INSERT INTO repos (path, rules) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET rules = excluded.rules"
_SCANNED = """
    UPDATE repos SET scanned = ?, scan_ns = ?, baseline_ns = CASE WHEN baseline_ns THEN baseline_ns ELSE ? END WHERE id = ?
"""
_WATCHED_NOW = "SELECT rules = ? AND ignoring = ? FROM watched WHERE repo_id = ? AND to_ns IS NULL"
_WATCHED_UNTIL = "UPDATE watched SET to_ns = ? WHERE repo_id = ? AND to_ns IS NULL"
_WATCHED_FROM = "INSERT INTO watched (repo_id, rules, ignoring, from_ns) VALUES (?, ?, ?, ?)"
_WATCHED_AT = """
    SELECT from_ns, rules, to_ns IS NULL FROM watched WHERE repo_id = ?1 AND from_ns <= ?2 AND (to_ns > ?2 OR to_ns IS NULL)
    ORDER BY from_ns DESC LIMIT 1
"""
_WATCHED_ONCE = "SELECT id, to_ns FROM watched WHERE to_ns IS NOT NULL"
_FORGET_WATCHED = "DELETE FROM watched WHERE id = ?"
_SAY = """
    INSERT INTO live (repo_id, state, reasons, dirty, lag_ns, beat_ns, awake_ns) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (repo_id) DO UPDATE SET
        state = excluded.state, reasons = excluded.reasons,
        dirty = excluded.dirty, lag_ns = excluded.lag_ns, beat_ns = excluded.beat_ns,
        awake_ns = excluded.awake_ns
"""
_FORGET = "DELETE FROM live WHERE repo_id = ?"
_VOID = "DELETE FROM live"
_LAST_BEAT = "SELECT max(beat_ns) FROM live"
_LIVE = "SELECT state, reasons, dirty, lag_ns, beat_ns, awake_ns FROM live WHERE repo_id = ?"
_FILES = "SELECT count(*) FROM paths NOT INDEXED WHERE repo_id = ? AND present"
_COUNT = "SELECT count(*) FROM repos"
_ALL_VERSIONS = "SELECT count(*) FROM versions"
_VERSIONS = """
    SELECT count(*) FROM paths p NOT INDEXED CROSS JOIN versions v ON v.path_id = p.id WHERE p.repo_id = ?
"""


class Repo(NamedTuple):
    """A repo as the store knows it. `scanned` is the fingerprint of the rules of its last complete scan."""

    id: int
    path: str
    rules: SelectionRules
    scanned: str
    baseline_ns: int
    scan_ns: int


class Live(NamedTuple):
    """What the daemon last said of a repo, and when: `beat_ns` (wall clock) and `awake_ns` (Moment.awake_ns).

    `lag_ns` is the age of the oldest hint not yet captured.
    """

    state: RepoState
    reasons: tuple[str, ...]
    dirty: int
    lag_ns: int
    beat_ns: int
    awake_ns: int = 0


class Watched(NamedTuple):
    """A stretch in which all that these rules want was in sight, since `from_ns`: what the log does not have was not there."""

    from_ns: int
    rules: SelectionRules
    goes_on: bool


class Repos:
    """The repos of one open store."""

    def __init__(self, db: Database, outbox: Outbox) -> None:
        self._db = db
        self._outbox = outbox

    def add(self, path: str, rules: SelectionRules) -> Repo:
        """Make a repo known, or give a known one these rules; `path` is absolute and resolved."""
        with self._db.transaction():
            self._db.run(_ADD, (os.fsencode(path), json.dumps(rules._asdict())))
        repo = self.find(path)
        if repo is None:
            raise AssertionError(path)
        return repo

    def find(self, path: str) -> Repo | None:
        """The repo with exactly this root."""
        row = self._db.row(_BY_PATH, (os.fsencode(path),))
        return _repo(row) if row else None

    def all(self) -> list[Repo]:
        """Every repo, by path."""
        return [_repo(row) for row in self._db.rows(_ALL)]

    def mark_scanned(self, repo: Repo, now_ns: int, *, complete: bool, ignoring: str = "") -> None:
        """A scan of the whole repo has ended; the first one makes the baseline.

        `complete`: nothing was out of sight; `ignoring`: the fingerprint of the .gitignore files that it respected.
        """
        with self._db.transaction():
            self._db.run(_SCANNED, (repo.rules.fingerprint if complete else "", now_ns, now_ns, repo.id))
            rules = json.dumps(repo.rules._asdict())
            if not (complete and self._db.value(_WATCHED_NOW, (rules, ignoring, repo.id))):
                self._db.run(_WATCHED_UNTIL, (now_ns, repo.id))
                if complete:
                    self._db.run(_WATCHED_FROM, (repo.id, rules, ignoring, now_ns))

    def watched_at(self, repo_id: int, time_ns: int) -> Watched | None:
        """The stretch of a complete watch that this time lies in; None where something may have been out of sight."""
        row = self._db.row(_WATCHED_AT, (repo_id, time_ns))
        return Watched(row[0], _rules(row[1]), bool(row[2])) if row else None

    def prune_watched(self, keep_ns: int, age: Callable[[int], int]) -> None:
        """Forget the stretches that ended longer ago than this; `age`: time -> how long ago that was."""
        with self._db.transaction():
            old = [(id_,) for id_, to_ns in self._db.rows(_WATCHED_ONCE) if age(to_ns) > keep_ns]
            self._db.run_many(_FORGET_WATCHED, old)

    def say(self, repo_id: int, live: Live, alerts: Iterable[Alert] = ()) -> None:
        """Leave word of how a repo is, and of what people must be told of it."""
        with self._db.transaction():
            self._outbox.queue(alerts)
            self._say(repo_id, live)

    def begin_all(self, repo_ids: Iterable[int], now: Moment) -> None:
        """A daemon begins: what an earlier one said is void, these repos are starting."""
        with self._db.transaction():
            last_beat = self._db.value(_LAST_BEAT)
            if last_beat is not None:  # whoever stops in order takes its word back
                self._outbox.queue([_crashed(last_beat, now.wall_ns, self._outbox.last("daemon-*"))])
            self._db.run(_VOID)
            for repo_id in repo_ids:
                self._say(repo_id, Live(RepoState.STARTING, (), 0, 0, now.wall_ns, now.awake_ns))

    def _say(self, repo_id: int, live: Live) -> None:
        said = (live.state, json.dumps(live.reasons), live.dirty, live.lag_ns, live.beat_ns, live.awake_ns)
        self._db.run(_SAY, (repo_id, *said))

    def fall_silent(self, repo_id: int, alerts: Iterable[Alert] = ()) -> None:
        """The daemon no longer speaks for this repo, and people must be told so much of it."""
        with self._db.transaction():
            self._outbox.queue(alerts)
            self._db.run(_FORGET, (repo_id,))

    def live(self, repo_id: int) -> Live | None:
        """What the daemon last said of a repo; None where it does not guard it."""
        row = self._db.row(_LIVE, (repo_id,))
        return Live(RepoState(row[0]), tuple(json.loads(row[1])), *row[2:]) if row else None

    def files(self, repo_id: int) -> int:
        """How many files of a repo are present."""
        return int(self._db.value(_FILES, (repo_id,)))

    def counts(self, repo_id: int) -> tuple[int, int]:
        """(files present, versions kept) of a repo."""
        if self._db.value(_COUNT) == 1:  # no need to ask for each version whose it is: 2 ms for 1,000,000 instead of 150
            return self.files(repo_id), int(self._db.value(_ALL_VERSIONS))
        return self.files(repo_id), int(self._db.value(_VERSIONS, (repo_id,)))


def _crashed(last_beat_ns: int, now_ns: int, last: Alert | None) -> Alert:
    """That a daemon had crashed: in the thread of what people know to be wrong with it, if there is one."""
    away_s = max(0, now_ns - last_beat_ns) // 1_000_000_000
    detail = (
        f"restarted: guardd had ended without being told to, {away_s} s ago at the latest; what changed since is captured now"
    )
    is_open = last is not None and last.stage is not Stage.RESOLVED
    thread, stage = (
        (last.thread, Stage.UPDATED) if last is not None and is_open else (f"daemon-{now_ns // 1_000_000_000}", Stage.OPENED)
    )
    return Alert(0, thread, stage, Severity.WARNING, now_ns, settled=True, detail=detail)


def _repo(row: Row) -> Repo:
    return Repo(row[0], os.fsdecode(row[1]), _rules(row[2]), *row[3:])


def _rules(text: str) -> SelectionRules:
    try:
        raw = json.loads(text)
        return SelectionRules(tuple(raw["include"]), tuple(raw["exclude"]), raw["respect_gitignore"], raw["max_file_size"])
    except (ValueError, LookupError, TypeError) as error:
        raise StoreDamaged("the store is damaged (the rules of a repo are none); run 'guardctl fsck --repair'") from error
