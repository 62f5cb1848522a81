"""Departures: files that are gone from their paths, and whether they were taken away by git, moved, or deleted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from guardd.detection.bursts import Limits
from guardd.detection.judge import Judge
from guardd.detection.moves import broken_importers
from guardd.detection.rules.deleted import came_from, deleted, moved
from guardd.model import Kind, RepoPath, Suspect, Version

RIPE_NS = 300_000_000
"""A module moved, or a file replaced, comes in several changes: what depends on others is judged when they are there too."""

_IMPORTS_FOLLOW_NS = 30_000_000_000
"""People move a package first and mend its imports then. Files that lose their names too are no such move."""

_BACK_NS = 5_000_000_000
"""What is on disk for so long without a version is nothing that is captured: behind a link, or a directory by now."""

_MOST_PARSED = 200
"""Of the files that came, the newest that are held against those that went: parsing takes some 5 ms a file."""

_FEW_STATEMENTS = 2
"""Files of so little code are alike by chance."""


class _Gone(NamedTuple):
    """A file that is gone, and what it was."""

    suspect: Suspect
    before: Version


class _Move(NamedTuple):
    """A file that is gone, and the new one that it has become; `due_ns`: when its importers must have followed."""

    suspect: Suspect
    to: Version
    due_ns: int
    told: bool = False


@dataclass(slots=True)
class Departed:
    """What became of files that were gone: `explained` paths, and suspects with a finding (the new names among them)."""

    explained: list[RepoPath] = field(default_factory=list)
    damaged: list[Suspect] = field(default_factory=list)


class Departures:
    """The files of one repo that left their paths of late, and those that came: one may be the other.

    `files` counts the files of the tree as it is now, `contents` gives each of them; it is asked only when many were moved.
    """

    def __init__(
        self, judge: Judge, limits: Limits, files: Callable[[], int], contents: Callable[[], Iterator[tuple[RepoPath, bytes]]]
    ) -> None:
        self._judge = judge
        self._limits = limits
        self._files = files
        self._contents = contents
        self._births: dict[RepoPath, Version] = {}
        self._waiting: dict[RepoPath, _Gone] = {}
        self._deleted: dict[RepoPath, Suspect] = {}
        self._moves: dict[RepoPath, _Move] = {}
        self._asked = 0
        self._importers = 0
        self._mass_ns = 0

    def __contains__(self, path: object) -> bool:
        """Whether it is still open what became of this path."""
        return path in self._waiting

    @property
    def waiting(self) -> bool:
        """Whether it is still open what became of some path."""
        return bool(self._waiting)

    @property
    def births(self) -> Sequence[Version]:
        """The files that came of late, in the order of the log."""
        return list(self._births.values())

    def came(self, version: Version) -> None:
        """A file is where none was."""
        self._births[version.path] = version

    def unborn(self, path: RepoPath) -> None:
        """What came to this path is not there any more, or not new."""
        self._births.pop(path, None)

    def went(self, suspect: Suspect, before: Version) -> None:
        """A file is gone."""
        self._waiting[suspect.path] = _Gone(suspect, before)

    def was_deleted(self, suspects: Iterable[Suspect]) -> None:
        """These were found to be deleted before, by a detector that has ended."""
        self._deleted.update((one.path, one) for one in suspects)

    def forget(self, path: RepoPath) -> None:
        """There is a file at this path again, or what was done to it is explained."""
        for memory in (self._waiting, self._deleted, self._moves):
            memory.pop(path, None)

    def expire(self, since_ns: int) -> None:
        """Forget what is older than this."""
        if any(one.time_ns <= since_ns for one in self._births.values()):
            self._births = {path: one for path, one in self._births.items() if one.time_ns > since_ns}
        if any(one.time_ns <= since_ns for one in self._deleted.values()):
            self._deleted = {path: one for path, one in self._deleted.items() if one.time_ns > since_ns}
        if any(one.due_ns <= since_ns for one in self._moves.values()):
            self._moves = {path: one for path, one in self._moves.items() if one.due_ns > since_ns}
            self._asked = min(self._asked, len(self._moves))
        if not self._moves:
            self._asked = self._importers = 0

    def judge(self, now_ns: int) -> Departed:
        """What became of the files that have been gone for long enough."""
        departed = Departed()
        ripe = [one for one in self._waiting.values() if now_ns >= one.suspect.time_ns + RIPE_NS]
        if ripe and not self._judge.waits_for_git(ripe[0].suspect.path, ripe[0].suspect.time_ns, now_ns):
            left = self._not_by_git(ripe, now_ns, departed)
            moves = self._moved(left)
            self._moves |= moves
            departed.explained += moves
            deletions = [one.suspect for one in left if one.suspect.path not in moves]
            self._judge_deleted([one for one in deletions if one.before_seq], departed)  # nothing healthy is lost else
        self._judge_moves(now_ns, departed)
        return departed

    def _not_by_git(self, ripe: Iterable[_Gone], now_ns: int, departed: Departed) -> list[_Gone]:
        left = []
        for one in ripe:
            path = one.suspect.path
            if self._judge.removed_by_git(path, one.before):
                departed.explained.append(path)
            elif self._judge.is_there(path) and now_ns < one.suspect.time_ns + _BACK_NS:
                continue  # back by now: the version that says so is still to come
            else:
                left.append(one)
            del self._waiting[path]
        return left

    def _moved(self, gone: Sequence[_Gone]) -> dict[RepoPath, _Move]:
        """Those whose content, or at least whose code, has come up elsewhere since."""
        births: dict[bytes, list[Version]] = {}
        for version in self._births.values():
            births.setdefault(version.state.blob, []).append(version)
        to = {one.suspect.path: births[one.before.state.blob].pop() for one in gone if births.get(one.before.state.blob)}
        rest = {one.suspect.path: one.before.state.blob for one in gone
                if one.suspect.path not in to and one.suspect.path.endswith(".py")}  # fmt: skip
        rest = dict(list(rest.items())[-_MOST_PARSED:])
        unmatched = {blob: found for blob, found in births.items()
                     if found and found[0].state.kind is Kind.FILE and found[0].path.endswith(".py")}  # fmt: skip
        unmatched = dict(list(unmatched.items())[-_MOST_PARSED:])
        if rest and unmatched:
            facts = self._judge.definitions([*rest.values(), *unmatched])
            by_code = {facts[blob].skeleton: found for blob, found in unmatched.items()
                       if blob in facts and facts[blob].statements > _FEW_STATEMENTS}  # fmt: skip
            for path, blob in rest.items():
                if blob in facts and by_code.get(facts[blob].skeleton):
                    to[path] = by_code[facts[blob].skeleton].pop()
        self._match_by_name([one.suspect.path for one in gone if one.suspect.path not in to], to)
        for version in to.values():
            self._births.pop(version.path, None)
        suspects = {one.suspect.path: one.suspect for one in gone}
        return {path: _Move(suspects[path], version, suspects[path].time_ns + _patience(path, version.path))
                for path, version in to.items()}  # fmt: skip

    def _match_by_name(self, left: Iterable[RepoPath], to: dict[RepoPath, Version]) -> None:
        """Where a folder was moved, what was edited on the way, or is too small to tell, went along under its own name."""
        folders = {_folder(path): _folder(version.path) for path, version in to.items() if _name(path) == _name(version.path)}
        for path in left:
            there = folders.get(_folder(path))
            version = self._births.get(f"{there}/{_name(path)}" if there else _name(path)) if there is not None else None
            if version is not None:
                to[path] = version

    def _judge_deleted(self, gone: Sequence[Suspect], departed: Departed) -> None:
        """Once there are many of them, those that seemed few before are damage too, and those that come after."""
        if not gone:
            return
        least = self._least_deleted(len(self._deleted) + len(gone))
        were_few = deleted(len(self._deleted), least) is None
        self._deleted.update((one.path, one) for one in gone)
        goes_on = max(one.time_ns for one in gone) <= self._mass_ns + self._limits.window_ns
        finding = deleted(least if goes_on else len(self._deleted), least)
        if finding is not None:
            self._mass_ns = max(one.time_ns for one in gone)
            found = self._deleted.values() if were_few else gone
            departed.damaged += [one._replace(findings=(finding,)) for one in found]

    def _least_deleted(self, gone: int) -> int:
        """The threshold; of a small repo, half of its files are many."""
        return min(self._limits.deleted, max(self._limits.damaged, (self._files() + gone) // 2))

    def _judge_moves(self, now_ns: int, departed: Departed) -> None:
        """Whether others still import what was moved is asked of the whole tree, so only when twice as many files were."""
        due = {path: one for path, one in self._moves.items() if now_ns >= one.due_ns}
        if len(due) >= max(self._limits.deleted, 2 * self._asked):
            self._asked = len(due)
            self._importers = broken_importers(self._judge.modules, due, [one.to.path for one in due.values()], self._contents())
        for path, one in due.items():
            finding = moved(one.to.path, self._importers)
            if finding is not None and not one.told:
                self._moves[path] = one._replace(told=True)
                arrived = Suspect(one.to.path, 0, one.to.seq, one.to.time_ns, (came_from(path),))
                departed.damaged += [one.suspect._replace(findings=(finding,)), arrived]


def _patience(path: RepoPath, to: RepoPath) -> int:
    return _IMPORTS_FOLLOW_NS if _name(path) == _name(to) else RIPE_NS


def _folder(path: RepoPath) -> RepoPath:
    return path.rpartition("/")[0]


def _name(path: RepoPath) -> str:
    return path.rpartition("/")[2]
