"""Putting back what a run changed: right after it, or any time later."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from guardd.beneath import Root
from guardd.capture.reading import Seen, read
from guardd.errors import NothingMatched, UsageError
from guardd.model import ABSENT, RepoPath
from guardd.recovery.plan import Action, Plan, plan_return
from guardd.recovery.report import Report
from guardd.recovery.restore import carry_out
from guardd.selection import is_canary
from guardd.store.log import Passage
from guardd.store.repos import Repo
from guardd.store.runs import Run, RunState
from guardd.store.store import Store
from guardd.transactions.obstacles import Aside, folders_of, make_way


class RolledBack(NamedTuple):
    """How a roll-back went: the restore's report, and what is not as it was before (read back from disk).

    `aside` is what was in the way, and is no file that guard keeps.
    """

    report: Report
    wrong: tuple[RepoPath, ...] = ()
    aside: tuple[Aside, ...] = ()

    @property
    def unrestored(self) -> list[RepoPath]:
        """The paths that are not as they were."""
        return sorted({path for path, _ in self.report.failed + self.report.skipped} | set(self.wrong))


def roll_back_run(store: Store, repo: Repo, run: Run, on_progress: Callable[[int], None] = lambda done: None) -> RolledBack:
    """Put back what an earlier run changed; the caller has just captured the repo. What was edited since stays, and is reported.

    Raises UsageError for a run that is under way, or of which there is nothing left to put back.
    """
    if run.state in (RunState.ROLLED_BACK, RunState.RUNNING):
        raise UsageError(f"run {run.id} is {run.state}: there is nothing to roll back")
    passages = [one for one in store.log.passages(repo.id, run.from_seq) if _is_of(store, repo, run, one)]
    if not passages:
        raise NothingMatched(f"run {run.id} changed nothing that guard keeps")
    edited = [one for one in passages if _was_edited_since(store, repo, run, one)]
    done = roll_back(store, repo, run, [one for one in passages if one not in edited], on_progress)
    done.report.skipped += [(one.path, "edited since the run; compare with 'guardctl diff'") for one in edited]
    if not done.unrestored:
        store.runs.settle(run.id, RunState.ROLLED_BACK, done.report.restore_id)
    elif done.report.restore_id is not None:
        store.runs.settle(run.id, RunState.PARTLY, done.report.restore_id)
    return done


def _is_of(store: Store, repo: Repo, run: Run, passage: Passage) -> bool:
    if run.to_seq is None:  # interrupted: all that came since may be its work
        return not is_canary(passage.path)
    made = store.log.versions_of(repo.id, passage.path, run.from_seq, run.to_seq)
    return passage.path not in run.concurrent and any(True for _ in made)


def _was_edited_since(store: Store, repo: Repo, run: Run, passage: Passage) -> bool:
    """Whether a path is something else by now than what it was before the run, or what the run had made of it."""
    made = next(store.log.versions_of(repo.id, passage.path, run.from_seq, run.to_seq), None)
    before = passage.then.state if passage.then is not None else ABSENT
    return made is not None and run.to_seq is not None and passage.head.state not in (before, made.state)


def roll_back(
    store: Store, repo: Repo, run: Run, passages: Sequence[Passage], on_progress: Callable[[int], None] = lambda done: None
) -> RolledBack:
    """Carry out a roll-back of these paths to before a run, and read it back.

    They are files that were there then, and so were the directories above them: whatever else is there has come since.
    """
    plan = plan_return(passages)
    files = [item.path for item in plan.of(Action.WRITE)]
    aside: list[Aside] = []
    with Root(repo.path) as root:

        def clear() -> None:
            aside.extend(make_way(root, files, folders_of(files), aside_suffix(run), run.to_ns))

        command = f"roll back run {run.id}: {run.command}"
        report = carry_out(store, repo, plan, command, on_progress=on_progress, on_removed=clear)
        return RolledBack(report, tuple(_wrong(root, repo, plan, report)), tuple(aside))


def aside_suffix(run: Run) -> str:
    """What is put behind the name of what a run left in the way: no longer the name of a file that guard keeps."""
    return f".run-{run.id}"


def _wrong(root: Root, repo: Repo, plan: Plan, report: Report) -> Iterator[RepoPath]:
    told = {path for path, _ in report.failed + report.skipped}
    for item in plan.items:
        if item.action in (Action.WRITE, Action.REMOVE) and item.path not in told:
            seen = read(root, item.path, max(repo.rules.max_file_size, item.target.size))
            if not isinstance(seen, Seen) or seen.state != item.target:
                yield item.path
