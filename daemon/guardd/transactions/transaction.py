"""A bulk command as a transaction: what it changed is kept if nothing speaks against it, else put back, byte for byte."""

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from guardd import clock
from guardd.analysis.sources import Parsers
from guardd.beneath import Root
from guardd.capture.capturer import Capturer
from guardd.capture.reading import Trouble
from guardd.checking.check import Conditions, Problem, problems
from guardd.checking.facts import TreeFacts
from guardd.checking.trees import LogTree
from guardd.errors import UsageError
from guardd.model import (
    ABSENT,
    Actor,
    Certainty,
    FileState,
    Finding,
    Incident,
    IncidentState,
    Kind,
    Origin,
    RepoPath,
    Severity,
    Suspect,
)
from guardd.recovery.verify import CommandRun, run_command
from guardd.selection import Selection, is_canary
from guardd.store.lock import Lock, run_lock
from guardd.store.log import Passage
from guardd.store.repos import Repo
from guardd.store.runs import Outcome, Run, RunState
from guardd.store.store import Store
from guardd.transactions.command import Ended
from guardd.transactions.critical import CriticalModules
from guardd.transactions.obstacles import folders_of, make_way
from guardd.transactions.rollback import RolledBack, aside_suffix, roll_back
from guardd.transactions.surroundings import Surroundings, look_around, others_changed, put_back_folders
from guardd.transactions.verdict import Policy, Verdict, objections
from guardd.transactions.writers import Writers, strangers

_TICK_NS = 20_000_000
"""The kernel's clock for files is behind by up to a tick."""

_WORTH_A_LOOK = 500
"""Changed files that are parsed for the report alone, though they are rolled back in any case: some two seconds."""

_LOCK_WAIT_S = 1.0
"""`status` and the daemon look whether a run lives by holding its lock for an instant."""


class Changed(NamedTuple):
    """What a command changed in the files that guard keeps: path -> (before, after).

    `concurrent` are paths that others wrote meanwhile, or after it had ended: theirs. `others` are files that guard does not
    keep.
    """

    paths: dict[RepoPath, tuple[FileState, FileState]]
    concurrent: frozenset[RepoPath] = frozenset()
    others: tuple[RepoPath, ...] = ()


class Transaction:
    """One run from begin to end, in the hands of the sole runner; `how` is what its changes are checked by.

    `critical` knows which of the critical modules came up before.
    """

    def __init__(
        self, store: Store, repo: Repo, command: str, policy: Policy, how: Conditions, critical: CriticalModules
    ) -> None:
        self._store = store
        self._repo = store.repos.find(repo.path) or repo  # a scan since may have been its baseline
        self._command = command
        self._policy = policy
        self._how = how
        self._critical = critical
        self._selection = Selection(repo.path, repo.rules)
        self._changed = Changed({})
        self._passages: dict[RepoPath, Passage] = {}
        self._around = Surroundings()
        self._hidden: dict[RepoPath, int] = {}
        self._theirs: set[RepoPath] = set()
        self._to_seq = 0
        self._ended: Ended | None = None
        self._verdict = Verdict(())

    @property
    def changed(self) -> Changed:
        """What the command changed, as of the last look."""
        return self._changed

    @contextmanager
    def begun(self) -> Iterator["Transaction"]:
        """Begin: the caller has just captured the repo, and begins to change it in here."""
        self._around = look_around(self._repo.path, self._selection)
        self._mode = os.stat(self._repo.path).st_mode & 0o7777
        self._strangers = strangers(self._repo.path)
        self.run = self._store.runs.begin(self._repo.id, self._command, os.getpid(), clock.now().wall_ns)
        self._to_seq = self.run.from_seq
        with Writers(self._repo.path, self._selection.wants) as self._writers:
            yield self

    def forget(self) -> None:
        """The command could not be started: there was no run."""
        self._store.runs.drop(self.run.id)

    # -- looking ------------------------------------------------------------------------------------------------

    def look(self, ended: Ended | None) -> Changed:
        """The command has ended (None: no one knows how): capture what it left, and say what it changed."""
        self._ended = ended
        self._hidden = self._capture(Origin.RUN)
        self._to_seq = self._store.log.last_seq()
        self._changed = self._changes()
        return self._changed

    def judge(self, *, closely: bool = True) -> Verdict:
        """Hold the changes against the policy; the verify commands are run where nothing else speaks against them.

        Not `closely`: what is in the files is not looked at, for the run is to be rolled back anyway; nor is it in many files,
        once something else speaks against them.
        """
        reasons = self._objections((), ())
        closely = closely and (not reasons or len(self._changed.paths) <= _WORTH_A_LOOK)
        found = self._problems() if self._changed.paths and closely else []
        if found:
            reasons = self._objections(found, ())
        verified: list[CommandRun] = []
        if not reasons:
            timeout_s = self._policy.verify_timeout_s
            verified = [run_command(command, self._repo.path, timeout_s) for command in self._policy.verify]
            if verified and self._look_again():
                found = self._problems()
            reasons = self._objections(found, verified)
        self._verdict = Verdict(reasons, tuple(found), tuple(verified), looked=closely)
        return self._verdict

    def _objections(self, found: Sequence[Problem], verified: Sequence[CommandRun]) -> tuple[str, ...]:
        is_empty, hidden = not self._store.log.keys(self._repo.id), sorted(self._hidden)
        return objections(self._ended, self._changed.paths, found, verified, self._policy, is_empty=is_empty, hidden=hidden)

    def _look_again(self) -> bool:
        """Take what the verify commands changed for the run's, too; whether that was anything.

        Where no one is told apart, only what they did to the command's own files is: else a person's edit meanwhile would go.
        """
        place, of_command = self._to_seq, self._changed.paths.keys()
        self._hidden |= self._capture(Origin.RUN)
        since = {one.path for one in self._store.log.passages(self._repo.id, place)}
        if not self._writers.watching:
            self._theirs |= since - of_command
        self._to_seq = self._store.log.last_seq()
        self._changed = self._changes()
        return bool(since)

    def _problems(self) -> list[Problem]:
        """What is wrong with the tree after the command that was not before; in files that others changed, it is theirs."""
        store, repo = self._store, self._repo
        before, after = (LogTree(store, repo.id, repo.path, place) for place in (self.run.from_seq, self._to_seq))
        with Parsers() as parsers:
            found = problems(before, after, self._how, TreeFacts(parsers, store)) + self._critical.broken()
        return [one for one in found if one.path not in self._changed.concurrent]

    def because(self, reason: str) -> Verdict:
        """Something else speaks against the changes: they are not looked at any further."""
        self._verdict = self._verdict._replace(reasons=(reason, *self._verdict.reasons))
        return self._verdict

    @property
    def strangers(self) -> list[str]:
        """Processes of others that wrote something, somewhere, while the run went on, where it cannot be known what."""
        if self._writers.watching:
            return []
        now = strangers(self._repo.path)
        return [f"{name} (pid {key[0]})" for key, (name, written) in now.items()
                if key in self._strangers and written > self._strangers[key][1]]  # fmt: skip

    # -- the end ------------------------------------------------------------------------------------------------

    def keep(self) -> Run:
        """What the command changed stays."""
        return self._finish(RunState.KEPT, None, ())

    def roll_back(self, on_progress: Callable[[int], None] = lambda done: None) -> tuple[Run, RolledBack]:
        """What the command changed is put back, byte for byte, and what the verify commands did to it.

        What others wrote since is theirs, and stays; on top of the command's changes it keeps these, and is reported.
        """
        os.makedirs(self._store.state_dir, mode=0o700, exist_ok=True)  # if the command took it away: the locks lie there
        self._capture(Origin.SCAN)
        made_by_then = set(self._changed.paths)
        if self._hidden:
            self._open_up()
        made, mine = self._passages, made_by_then | self._changed.paths.keys()
        self._changed = self._changes()
        self._writers.end()  # our own writes are no news, and to look at each took a third of the roll-back's time
        passages = [one for one in self._passages.values() if one.path in self._changed.paths]
        self._passages = {path: made.get(path, one) for path, one in self._passages.items()}
        self._put_back_folders()  # a directory that is read-only by now would take no file
        done = self._clear_folders(roll_back(self._store, self._repo, self.run, passages, on_progress))
        self._put_back_folders()
        edited = sorted(self._changed.concurrent & mine)
        done.report.skipped += [(path, "written again since the command; compare with 'guardctl diff'") for path in edited]
        state = RunState.PARTLY if done.unrestored else RunState.ROLLED_BACK
        return self._finish(state, done.report.restore_id, done.unrestored), done

    def _finish(self, state: RunState, restore_id: int | None, unrestored: Sequence[RepoPath]) -> Run:
        now_ns = clock.now().wall_ns
        code = self._ended.exit if self._ended is not None else None
        outcome = Outcome(
            state, self._to_seq, code, len(self._changed.paths), self._verdict.reasons, sorted(self._changed.concurrent),
            unrestored, restore_id,
        )  # fmt: skip
        incident = self._incident(outcome, now_ns) if state is not RunState.KEPT and self._verdict.problems else None
        return self._store.runs.finish(self.run, outcome, now_ns, incident)

    def _incident(self, outcome: Outcome, now_ns: int) -> tuple[Incident, list[Suspect]] | None:
        """What a run that was rolled back had done: told to those who look, and no alarm, for a person was there."""
        found: defaultdict[RepoPath, list[Finding]] = defaultdict(list)
        for one in self._verdict.problems:
            found[one.path].append(Finding(one.rule, one.message, one.line, damage=one.path in self._changed.paths))
        members = [self._member(self._passages[path], tuple(found.get(path, ()))) for path in self._changed.paths]
        bystanders = (self._bystander(path, tuple(found[path])) for path in sorted(found.keys() - self._changed.paths.keys()))
        members += [one for one in bystanders if one is not None]
        if not members:
            return None
        rules = tuple(rule for rule, _ in Counter(one.rule for one in self._verdict.problems).most_common())
        back = "rolled back" if outcome.state is RunState.ROLLED_BACK else "rolled back in part"
        summary = f"{back} by guardctl run: {'; '.join(outcome.reasons)}"
        undo = f"; 'guardctl undo {outcome.restore_id}' brings it back" if outcome.restore_id else ""
        first_seq = min((one.after_seq for one in members if one.after_seq > self.run.from_seq), default=self.run.from_seq)
        pid = self._ended.pid if self._ended is not None else None
        incident = Incident(
            0, self._repo.id, IncidentState.RESTORED, Severity.WARNING, self.run.from_ns, now_ns, first_seq, now_ns, rules,
            len(self._changed.paths), len(found), summary, Actor(Certainty.PROVEN, pid, self.run.command), settled=True,
            note=f"run {self.run.id} was {back}{undo}",
        )  # fmt: skip
        return incident, members

    def _member(self, passage: Passage, findings: tuple[Finding, ...]) -> Suspect:
        """A path as the command left it."""
        before_seq = passage.then.seq if passage.then is not None and passage.then.state.present else 0
        made = passage.head
        gone = not made.state.present
        return Suspect(passage.path, before_seq, made.seq, made.time_ns, findings, gone=gone, returned=True)

    def _bystander(self, path: RepoPath, findings: tuple[Finding, ...]) -> Suspect | None:
        """A file that no one touched, and that what happened to others broke: its own content is no damage."""
        head = self._store.log.version(self._store.log.head(self._repo.id, path).seq)
        return Suspect(path, head.seq, head.seq, head.time_ns, findings, returned=True) if head is not None else None

    # -- the disk -----------------------------------------------------------------------------------------------

    def _capture(self, origin: Origin) -> dict[RepoPath, int]:
        """Bring the log up to the disk; what was made unreadable since the run began, with the mode to read it in."""
        if not os.path.lexists(self._repo.path):  # the command took all of it away
            os.makedirs(self._repo.path)
            os.chmod(self._repo.path, self._mode)
        capturer = Capturer(self._store, self._repo, self._selection)
        try:
            found, looked = capturer.scan(origin, refilled=True)
        finally:
            capturer.close()
        unseen = {path for path, trouble in looked.troubled.items() if trouble is Trouble.UNREADABLE} | found.unreadable.keys()
        return {path: mode for path in unseen if (mode := self._mode_to_read(path)) is not None}

    def _mode_to_read(self, path: RepoPath) -> int | None:
        """The mode that what is hidden had before the run; of what was not there one to read it in; None: hidden before."""
        try:
            about = os.lstat(os.path.join(self._repo.path, path))
        except OSError:
            return None
        if about.st_ctime_ns < self.run.from_ns - _TICK_NS:
            return None
        if stat.S_ISDIR(about.st_mode):
            return self._around.folders.get(path, 0o700)
        head = self._store.log.head(self._repo.id, path).state
        return head.mode if head.kind is Kind.FILE else 0o600

    def _open_up(self) -> None:
        """Make readable what the command hid from us, and take what is in it for the command's, up to any depth."""
        self._theirs |= {one.path for one in self._store.log.passages(self._repo.id, self._to_seq)}
        hidden = self._hidden
        while hidden:
            with Root(self._repo.path) as root:
                for path, mode in hidden.items():
                    with suppress(OSError):
                        root.chmod(path, mode)
            before, hidden = hidden, self._capture(Origin.RUN)
            if hidden.keys() <= before.keys():  # nothing more can be done
                break
        self._to_seq = self._store.log.last_seq()
        self._changed = self._changes()

    def _put_back_folders(self) -> None:
        with Root(self._repo.path) as root:
            put_back_folders(root, self._around, look_around(self._repo.path, self._selection))

    def _clear_folders(self, done: RolledBack) -> RolledBack:
        """Make way for the directories that held nothing that guard keeps, too; what is out of the way has not stayed."""
        with Root(self._repo.path) as root:
            aside = (*done.aside, *make_way(root, (), filter(None, self._around.folders), aside_suffix(self.run)))
        gone = {one.path for one in aside}
        others = [
            path for path in self._changed.others if path in self._around.others or not (gone & {path, *folders_of([path])})
        ]
        self._changed = self._changed._replace(others=tuple(others))
        return done._replace(aside=aside)

    def _changes(self) -> Changed:
        """What is different from before, told apart as far as that can be known."""
        found = self._store.log.passages(self._repo.id, self.run.from_seq)
        self._passages = {one.path: one for one in found if not is_canary(one.path)}
        foreign = self._writers.others() & self._passages.keys()
        if not self._writers.watching:  # what came since the command may be the verify commands' work, or anyone's
            foreign |= {one.path for one in self._passages.values() if one.head.seq > self._to_seq}
            foreign |= self._theirs & self._passages.keys()
        paths = {}
        for one in self._passages.values():
            before = one.then.state if one.then is not None else ABSENT
            if one.path not in foreign and one.head.state != before:
                paths[one.path] = before, one.head.state
        others = others_changed(self._around, look_around(self._repo.path, self._selection))
        return Changed(paths, frozenset(foreign), tuple(others))


@contextmanager
def sole_runner(store: Store, repo: Repo) -> Iterator[Lock]:
    """Hold the repo's run lock. Raises UsageError while another run is under way in it."""
    lock = run_lock(store.state_dir, repo.id)
    if not lock.try_acquire(_LOCK_WAIT_S):
        running = store.runs.alive(repo.id)
        what = f"run {running.id} (pid {running.pid}: {running.command})" if running else f"another run (pid {lock.holder()})"
        raise UsageError(f"{what} is under way in {repo.path}; wait for it to end")
    with lock:
        store.runs.interrupt_all(repo.id)
        yield lock
