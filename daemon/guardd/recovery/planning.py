"""The plans that records of the store lead to: of an incident, of an earlier restore, of a revision of git."""

import stat
from collections.abc import Callable, Iterable, Sequence

from guardd.errors import NothingMatched
from guardd.model import ABSENT, FileState, Kind, RepoPath, Suspect
from guardd.recovery.plan import Item, Plan, Wanted, plan_states, with_merged
from guardd.selection import Selection
from guardd.store.codec import Encoded, digest, encode
from guardd.store.repos import Repo
from guardd.store.restores import Restore
from guardd.store.store import Store


def plan_merged(store: Store, plan: Plan) -> tuple[Plan, list[Encoded]]:
    """The plan with the edits made since the damage kept, on top of what was there before it; and the merged contents."""
    contents: list[Encoded] = []

    from guardd.recovery.sources import merge

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
    from guardd.recovery.sources import git_files

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


def state_at(store: Store, seq: int) -> FileState | None:
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
