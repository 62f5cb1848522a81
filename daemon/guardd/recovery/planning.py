"""The plans that records of the store lead to: of an incident, of an earlier restore, of a revision of git."""

import stat
from collections.abc import Callable, Sequence

from guardd.errors import NothingMatched
from guardd.model import ABSENT, FileState, Kind, RepoPath, Suspect
from guardd.recovery.plan import Action, Item, Plan, Wanted, plan_states, with_merged
from guardd.selection import Selection
from guardd.store.appending import Head
from guardd.store.codec import Encoded, digest, encode
from guardd.store.repos import Repo
from guardd.store.restores import Restore
from guardd.store.store import Store

UNREAD = "it cannot be read, so no one knows whether it was restored"


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
    heads: dict[RepoPath, Head] = {}
    for path, mode, content in git_files(repo.path, rev, lambda path: chosen(path) and selection.wants(path)):
        hash_ = digest(content)
        kind = Kind.LINK if stat.S_ISLNK(mode) else Kind.FILE
        head = heads[path] = store.log.head(repo.id, path)
        wanted.append(Wanted(path, FileState(kind, hash_, len(content), _mode_from_git(kind, mode, head.state))))
        contents.append(encode(hash_, content))
    if not wanted:
        raise NothingMatched(f"git:{rev} has no such file; see 'git ls-tree -r {rev}'")
    return plan_states(wanted, lambda path: (heads[path].seq, heads[path].state)), contents


def _mode_from_git(kind: Kind, mode: int, head: FileState) -> int:
    """Git knows one bit, executable or not; the others stay as they are on disk."""
    if kind is Kind.LINK:
        return 0o777
    bits = head.mode if head.kind is Kind.FILE else 0o644
    return bits | (bits & 0o444) >> 2 if mode & 0o100 else bits & ~0o111


def plan_incident(store: Store, repo_id: int, members: Sequence[Suspect]) -> Plan:
    """Each member of an incident back to its last healthy version; what the incident made goes."""
    return _plan_back(store, repo_id, [(member.path, member.before_seq, member.after_seq) for member in members])


def plan_undo(store: Store, restore: Restore) -> Plan:
    """Every path of a restore back to its safety version, the one right before the restore."""
    items = store.restores.items(restore.id)
    return _plan_back(store, restore.repo_id, [(item.path, item.safety_seq, item.target_seq) for item in items])


def plan_resume(store: Store, restore: Restore, wants: Callable[[RepoPath], bool] = lambda path: False) -> Plan:
    """What an interrupted restore had still to do. `wants`: files that the caller has just looked at, if they can be read."""
    items = store.restores.items(restore.id)
    plan = _plan_back(store, restore.repo_id, [(item.path, item.target_seq, item.safety_seq) for item in items])
    heads = store.log.heads(restore.repo_id, (item.path for item in items))

    def is_unread(item: Item) -> bool:
        """Whether only the restore itself says that a file is as it was to be: it says so before it writes."""
        return item.action is Action.LEAVE and item.target.present and heads[item.path].key is None and wants(item.path)

    return Plan(tuple(one._replace(action=Action.SKIP, reason=UNREAD) if is_unread(one) else one for one in plan.items))


def state_at(store: Store, seq: int) -> FileState | None:
    """The state that a place in the log recorded; 0 stands for nothing there, None for removed by retention."""
    version = store.log.version(seq) if seq else None
    return version.state if version else None if seq else ABSENT


def _plan_back(store: Store, repo_id: int, changes: Sequence[tuple[RepoPath, int, int]]) -> Plan:
    """Each path from what the second place in the log recorded of it back to what the first did, as `state_at` has them."""
    heads = store.log.heads(repo_id, (path for path, _, _ in changes))
    states: dict[int, FileState] = {head.seq: head.state for head in heads.values()}  # most are as the change left them
    states[0] = ABSENT
    states |= store.log.states({seq for _, *places in changes for seq in places} - states.keys())
    wanted = [Wanted(path, states.get(target), states.get(damaged)) for path, target, damaged in changes]
    return plan_states(wanted, lambda path: (heads[path].seq, heads[path].state))
