"""A restore from plan to report: safety capture, the log entry, the writes, the look back."""

import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from guardd import clock
from guardd.beneath import Root
from guardd.capture.capturer import Capturer
from guardd.capture.reading import Seen, read
from guardd.errors import Interrupted, NothingMatched, UsageError
from guardd.model import ABSENT, FileState, Kind, Origin, RepoPath, Suspect
from guardd.recovery.apply import Step, apply, leftovers
from guardd.recovery.plan import Action, Item, Plan, Wanted, plan_states, with_merged
from guardd.recovery.sources import git_files, merge
from guardd.selection import Selection
from guardd.store import ballast
from guardd.store.appending import Observation
from guardd.store.codec import Encoded, digest, encode
from guardd.store.lock import Lock, restore_lock
from guardd.store.repos import Repo
from guardd.store.restores import Restore, RestoreItem
from guardd.store.soundness import DOUBTFUL, is_doubtful
from guardd.store.store import Store

_LOCK_WAIT_S = 30.0


@dataclass(slots=True)
class Report:
    """What a restore did. `restore_id` is None where there was nothing to do."""

    restore_id: int | None = None
    restored: list[RepoPath] = field(default_factory=list)
    removed: list[RepoPath] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[RepoPath, str]] = field(default_factory=list)
    failed: list[tuple[RepoPath, str]] = field(default_factory=list)
    written: list[tuple[RepoPath, FileState]] = field(default_factory=list)
    seconds: float = 0.0


def carry_out(
    store: Store,
    repo: Repo,
    plan: Plan,
    command: str,
    *,
    undoes: int | None = None,
    blobs: Sequence[Encoded] = (),
    on_progress: Callable[[int], None] = lambda done: None,
    on_removed: Callable[[], None] = lambda: None,
) -> Report:
    """Carry out a plan. Whatever it overwrites or removes is in the store before the first write.

    `on_removed` is called between the removals and the first write, under the lock that keeps other restores away.

    Paths that changed since the plan was made are left alone and reported. Raises UsageError while another restore of
    the repo runs, StoreError, and OSError for the root itself.
    """
    started = time.monotonic()
    report = Report(unchanged=len(plan.of(Action.LEAVE)), skipped=[(item.path, item.reason) for item in plan.of(Action.SKIP)])
    if plan.work or store.restores.unfinished(repo.id):
        with _sole_writer(store, repo), Root(repo.path) as root:
            interrupted = store.restores.unfinished(repo.id)  # we hold the lock: none of them is still at work
            report.skipped += _clear_leftovers(store, repo, root, interrupted)
            if plan.work:
                _write_plan(
                    store, repo, root, plan, command, report,
                    undoes=undoes, blobs=blobs, on_progress=on_progress, on_removed=on_removed,
                )  # fmt: skip
            for earlier in interrupted:
                _settle_interrupted(store, earlier, plan, report.restore_id, undoes)
    report.seconds = time.monotonic() - started
    return report


def let_be(store: Store, repo: Repo, restore: Restore) -> None:
    """End an interrupted restore with what it has written so far. Raises as `carry_out` does."""
    with _sole_writer(store, repo), Root(repo.path) as root:
        _clear_leftovers(store, repo, root, [restore])
        store.restores.finish(restore.id)


def _write_plan(
    store: Store,
    repo: Repo,
    root: Root,
    plan: Plan,
    command: str,
    report: Report,
    *,
    undoes: int | None,
    blobs: Sequence[Encoded],
    on_progress: Callable[[int], None],
    on_removed: Callable[[], None],
) -> None:
    capturer = Capturer(store, repo)
    try:
        heads = store.log.heads(repo.id, (item.path for item in plan.work))
        # What has changed since a head with a sound key was read is found when it is swapped out, by that key.
        unsure = [path for path, head in heads.items() if head.racy or head.key is None]
        capturer.look(unsure, Origin.SCAN)
        heads |= store.log.heads(repo.id, unsure)
        keys = {path: head.key for path, head in heads.items()}
        work = [item for item in plan.work if keys[item.path] or not item.current.present]
        unread = {item.path for item in plan.work} - {item.path for item in work}
        given = {one.hash for one in blobs}  # from git, or merged: no row of the log vouches for them
        from_log = [one for one in work if one.target.present and one.target.blob not in given]
        doubtful = {one.path for one in from_log if is_doubtful(store, repo.id, one.path, one.target.blob)}
        work = [item for item in work if item.path not in doubtful]
        targets = [Observation(item.path, item.head_seq, item.target) for item in work]
        report.restore_id, moved = ballast.backing(
            store.state_dir,
            lambda: store.restores.begin(repo.id, command, targets, clock.now(), undoes=undoes, blobs=blobs),
        )
        report.skipped += [(path, "it cannot be read, so it could not be kept first") for path in sorted(unread)]
        report.skipped += [(path, f"{DOUBTFUL}, then restore it again") for path in sorted(doubtful)]
        report.skipped += [(path, "it changed while the restore was prepared; run it again") for path in moved]
        left_alone = set(moved)
        steps = [Step(item.path, item.target, keys[item.path]) for item in work if item.path not in left_alone]
        try:
            _write(store, repo, root, steps, report, on_progress, on_removed)
        except KeyboardInterrupt as error:
            _clear_leftovers(store, repo, root, store.restores.unfinished(repo.id))
            capturer.look([step.path for step in steps], Origin.SCAN)
            ways = f"finish it with 'guardctl restore --resume', or take it back with 'guardctl undo {report.restore_id}'"
            raise Interrupted(f"restore {report.restore_id} was interrupted in the middle; {ways}") from error
        # What did not get written is not what the log says by now: the disk has the last word.
        unwritten = {path for path, _ in report.failed + report.skipped} & {item.path for item in plan.work}
        capturer.look(sorted(unwritten), Origin.SCAN)
        store.restores.finish(report.restore_id)
    finally:
        capturer.close()


def _settle_interrupted(store: Store, earlier: Restore, plan: Plan, restore_id: int | None, undoes: int | None) -> None:
    """An interrupted restore is over once each of its files was decided on again, or is as it was to be; else it waits on."""
    items = store.restores.items(earlier.id)
    decided = {item.path for item in plan.items}
    at_target = {one.path for one in items if _head_of(store, earlier.repo_id, one.path)[1] == _state_at(store, one.target_seq)}
    if undoes == earlier.id or (restore_id is None and at_target >= {one.path for one in items}):
        store.restores.finish(earlier.id)
    elif restore_id is not None and decided | at_target >= {one.path for one in items}:
        ours = {one.path: one for one in store.restores.items(restore_id)}
        store.restores.absorb(restore_id, earlier, _taken_over(store, earlier.repo_id, items, ours, at_target))


def _taken_over(
    store: Store, repo_id: int, items: Sequence[RestoreItem], ours: Mapping[RepoPath, RestoreItem], at_target: Container[RepoPath]
) -> Iterator[RestoreItem]:
    """What undoing the later restore must take back of the earlier one: to before both, but for edits made in between."""
    for item in items:
        mine = ours.get(item.path)
        if mine is None:
            if item.path in at_target:
                yield RestoreItem(item.path, item.safety_seq, _head_of(store, repo_id, item.path)[0])
        elif _state_at(store, mine.safety_seq) in (_state_at(store, item.safety_seq), _state_at(store, item.target_seq)):
            yield RestoreItem(item.path, item.safety_seq, mine.target_seq)


def plan_merged(store: Store, plan: Plan) -> tuple[Plan, list[Encoded]]:
    """The plan with the edits made since the damage kept, on top of what was there before it; and the merged contents."""
    contents: list[Encoded] = []

    def merged(item: Item) -> FileState | str | None:
        sides = (item.current, item.base, item.target)
        if any(side.kind is not Kind.FILE or not side.stored for side in sides):
            return None
        ours, base, theirs = (store.blobs.read(side.blob) for side in sides)
        content = merge(ours, base, theirs)
        if content is None:
            return "the edits made since conflict with what was there before; merge it by hand (guardctl show, guardctl diff)"
        hash_ = digest(content)
        contents.append(encode(hash_, content))
        return FileState(Kind.FILE, hash_, len(content), item.current.mode)

    return with_merged(plan, merged), contents


def plan_git(
    store: Store, repo: Repo, selection: Selection, rev: str, chosen: Callable[[RepoPath], bool]
) -> tuple[Plan, list[Encoded]]:
    """The chosen files as a git revision has them, and their contents. Files that git does not have stay."""
    wanted: list[Wanted] = []
    contents: list[Encoded] = []
    for path, mode, content in git_files(repo.path, rev, lambda path: chosen(path) and selection.wants(path)):
        hash_ = digest(content)
        kind = Kind.LINK if stat.S_ISLNK(mode) else Kind.FILE
        head = store.log.head(repo.id, path).state
        wanted.append(Wanted(path, FileState(kind, hash_, len(content), _mode_from_git(kind, mode, head))))
        contents.append(encode(hash_, content))
    if not wanted:
        raise NothingMatched(f"git:{rev} has no such file; see 'git ls-tree -r {rev}'")
    return plan_states(wanted, lambda path: _head_of(store, repo.id, path)), contents


def _mode_from_git(kind: Kind, mode: int, head: FileState) -> int:
    """Git knows one bit, executable or not; the others stay as they are on disk."""
    if kind is Kind.LINK:
        return 0o777
    bits = head.mode if head.kind is Kind.FILE else 0o644
    return bits | (bits & 0o444) >> 2 if mode & 0o100 else bits & ~0o111


def plan_incident(store: Store, repo_id: int, members: Sequence[Suspect]) -> Plan:
    """Each member of an incident back to its last healthy version; what the incident made goes."""
    wanted = _wanted(store, [(member.path, member.before_seq, member.after_seq) for member in members])
    return plan_states(wanted, _heads_of(store, repo_id, wanted))


def plan_undo(store: Store, restore: Restore) -> Plan:
    """Every path of a restore back to its safety version, the one right before the restore."""
    items = store.restores.items(restore.id)
    wanted = _wanted(store, [(item.path, item.safety_seq, item.target_seq) for item in items])
    return plan_states(wanted, _heads_of(store, restore.repo_id, wanted))


def plan_resume(store: Store, restore: Restore) -> Plan:
    """What an interrupted restore had still to do."""
    items = store.restores.items(restore.id)
    wanted = _wanted(store, [(item.path, item.target_seq, item.safety_seq) for item in items])
    return plan_states(wanted, _heads_of(store, restore.repo_id, wanted))


def _state_at(store: Store, seq: int) -> FileState | None:
    """The state that a place in the log recorded; 0 stands for nothing there, None for removed by retention."""
    version = store.log.version(seq) if seq else None
    return version.state if version else None if seq else ABSENT


def _wanted(store: Store, changes: Sequence[tuple[RepoPath, int, int]]) -> list[Wanted]:
    """Of each path what the two places in the log recorded: 0 stands for nothing there, None for removed by retention."""
    states: dict[int, FileState] = store.log.states(seq for _, target, damaged in changes for seq in (target, damaged))
    states[0] = ABSENT
    return [Wanted(path, states.get(target), states.get(damaged)) for path, target, damaged in changes]


def _heads_of(store: Store, repo_id: int, wanted: Iterable[Wanted]) -> Callable[[RepoPath], tuple[int, FileState]]:
    heads = store.log.heads(repo_id, (one.path for one in wanted))
    return lambda path: (heads[path].seq, heads[path].state)


def _head_of(store: Store, repo_id: int, path: RepoPath) -> tuple[int, FileState]:
    head = store.log.head(repo_id, path)
    return head.seq, head.state


@contextmanager
def _sole_writer(store: Store, repo: Repo) -> Iterator[Lock]:
    lock = restore_lock(store.state_dir, repo.id)
    if not lock.try_acquire(_LOCK_WAIT_S):
        raise UsageError(f"another restore (pid {lock.holder()}) is writing into {repo.path}; wait for it to end")
    with lock:
        yield lock


def _clear_leftovers(store: Store, repo: Repo, root: Root, interrupted: Sequence[Restore]) -> list[tuple[RepoPath, str]]:
    """Clear what restores that were killed left behind: we hold the lock, so none is running. What is kept, and why."""

    def is_stored(path: RepoPath) -> bool:
        seen = read(root, path, repo.rules.max_file_size)
        return isinstance(seen, Seen) and store.blobs.holds(seen.state.blob)

    kept: list[RepoPath] = []
    for restore in interrupted:
        folders = {item.path.rpartition("/")[0] for item in store.restores.items(restore.id)}
        kept += leftovers(root, folders, str(restore.id), is_stored)
    return [(path, "an edit that an interrupted restore had in hand; compare it with the file, and remove it") for path in kept]


def _write(
    store: Store,
    repo: Repo,
    root: Root,
    steps: Sequence[Step],
    report: Report,
    on_progress: Callable[[int], None],
    on_removed: Callable[[], None],
) -> None:
    tag = str(report.restore_id)
    applied = apply(steps, root, store.blobs.read_many, tag=tag, on_progress=on_progress, on_removed=on_removed)
    store.restores.wrote(repo.id, applied.done.items())
    report.failed += applied.failed
    report.skipped += [(path, "it changed while it was restored; run it again") for path in applied.changed]
    for step in steps:
        if step.path in applied.done and step.target.present:
            report.restored.append(step.path)
            report.written.append((step.path, step.target))
        elif step.path in applied.done:
            report.removed.append(step.path)
