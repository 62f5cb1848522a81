"""A restore from plan to report: safety capture, the log entry, the writes, the look back."""

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager

from guardd import clock
from guardd.beneath import Root
from guardd.capture.capturer import Capturer
from guardd.capture.reading import Seen, read
from guardd.errors import Interrupted, UsageError
from guardd.model import Origin, RepoPath
from guardd.recovery.apply import Step, apply, leftovers
from guardd.recovery.plan import Action, Plan
from guardd.recovery.planning import UNREAD, state_at
from guardd.recovery.report import Report
from guardd.store import ballast
from guardd.store.appending import Observation
from guardd.store.codec import Encoded
from guardd.store.lock import Lock, restore_lock
from guardd.store.repos import Repo
from guardd.store.restores import Restore, RestoreItem
from guardd.store.soundness import DOUBTFUL, is_doubtful
from guardd.store.store import Store

_LOCK_WAIT_S = 30.0


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
        if report.failed:  # by an error that also kept a temporary file, perhaps
            report.skipped += _clear_leftovers(store, repo, root, store.restores.unfinished(repo.id))
        store.restores.finish(report.restore_id)
    finally:
        capturer.close()


def _settle_interrupted(store: Store, earlier: Restore, plan: Plan, restore_id: int | None, undoes: int | None) -> None:
    """An interrupted restore is over once each of its files was decided on again, or is as it was to be; else it waits on."""
    items = store.restores.items(earlier.id)
    decided = {item.path for item in plan.items if item.reason != UNREAD}
    states = {one.path: state_at(store, one.target_seq) for one in items}
    at_target = {path for path, state in states.items() if store.log.head(earlier.repo_id, path).state == state}
    at_target -= {item.path for item in plan.of(Action.SKIP)}  # which may be what only the restore said of them
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
                yield RestoreItem(item.path, item.safety_seq, store.log.head(repo_id, item.path).seq)
        elif state_at(store, mine.safety_seq) in (state_at(store, item.safety_seq), state_at(store, item.target_seq)):
            yield RestoreItem(item.path, item.safety_seq, mine.target_seq)


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
