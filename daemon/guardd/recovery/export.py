"""An export: the tree of one place in the log, written as plain files into an empty directory."""

from collections.abc import Callable

from guardd.beneath import Root
from guardd.model import RepoPath
from guardd.recovery.apply import Step, apply
from guardd.recovery.past import passages_since
from guardd.store.log import Knowledge
from guardd.store.repos import Repo
from guardd.store.soundness import DOUBTFUL, doubtful
from guardd.store.store import Store


def export(
    store: Store, repo: Repo, place: int, time_ns: int, directory: str, on_progress: Callable[[int, int], None]
) -> tuple[int, list[tuple[RepoPath, str]]]:
    """Write what was in force at a moment (its place in the log, its time); how many files, and what could not be, and why."""
    passages = passages_since(store, repo, place, time_ns, changed_only=False)
    there = [passage.then for passage in passages if passage.then and passage.then.state.present]
    lost = [(p.path, "retention has removed what it was then") for p in passages if p.knowledge is Knowledge.FORGOTTEN]
    damaged = doubtful(store, there)
    whole = [version for version in there if version.seq not in damaged]
    steps = [Step(version.path, version.state, None) for version in whole if version.state.stored]
    unkept = [
        (version.path, "only its hash is kept: it was over max_file_size, or lost by damage")
        for version in whole
        if not version.state.stored
    ]
    lost += [(version.path, DOUBTFUL) for version in there if version.seq in damaged]
    with Root(directory) as root:
        applied = apply(steps, root, store.blobs.read_many, tag="export", on_progress=lambda done: on_progress(done, len(steps)))
    changed = [(path, "something else is there") for path in applied.changed]
    return len(applied.done), [*applied.failed, *changed, *unkept, *lost]
