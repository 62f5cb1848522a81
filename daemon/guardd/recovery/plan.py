"""The plan of a restore: which path goes to which state, and why. Pure: log and selection in, plan out."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from guardd.model import ABSENT, FileState, Kind, RepoPath, Version
from guardd.store.log import Knowledge, Passage

_FORGOTTEN = "retention has removed what it was then; choose a later time"


class Verdict(StrEnum):
    """What happened to a path between the first change after the chosen moment (the damage) and now."""

    UNCHANGED = "unchanged since"
    EDITED = "edited since"
    DELETED = "deleted since"
    RENAMED = "renamed since"


class Action(StrEnum):
    """What a restore does with a path."""

    WRITE = "write"
    REMOVE = "remove"
    LEAVE = "leave"
    SKIP = "skip"


class Item(NamedTuple):
    """One path of a plan. `head_seq` is the head that it was made on; `base` the state right after the chosen moment.

    `source_ns` is the time of the version that goes back (None: nothing was there, or it is not from the log).
    `source` names where the content is from, where each file's may be from elsewhere: log:12, adopted:x.py.bak, git:1a2b3c4d.
    """

    path: RepoPath
    action: Action
    verdict: Verdict
    current: FileState
    target: FileState
    head_seq: int
    base: FileState = ABSENT
    source_ns: int | None = None
    reason: str = ""
    source: str = ""


class Plan(NamedTuple):
    """What a restore would do, path by path."""

    items: tuple[Item, ...]

    def of(self, action: Action) -> list[Item]:
        """The items with this action."""
        return [item for item in self.items if item.action is action]

    @property
    def work(self) -> list[Item]:
        """The items that change something on disk."""
        return [item for item in self.items if item.action in (Action.WRITE, Action.REMOVE)]


def plan_return(passages: Sequence[Passage], *, keep_new: bool = False) -> Plan:
    """Every path back to what it was at one place in the log; what was born since goes, unless `keep_new`."""
    births = {p.head.state.blob: p.path for p in passages if _was_absent(p) and p.head.state.kind is Kind.FILE}
    return Plan(tuple(_returning(passage, births, keep_new=keep_new) for passage in passages))


def plan_version(version: Version, head: Version) -> Plan:
    """One path back to one of its versions."""
    passage = Passage(version.path, version, Knowledge.KNOWN, head, head)
    return plan_return([passage])


class Wanted(NamedTuple):
    """A state for a path, from a source other than a place in the log; None: retention has removed it.

    `base` is what was left there when the source was last in force, where that is known.
    """

    path: RepoPath
    target: FileState | None
    base: FileState | None = None


def plan_states(wanted: Iterable[Wanted], head_of: Callable[[RepoPath], tuple[int, FileState]]) -> Plan:
    """Given states for given paths: from git, or from an earlier restore."""
    items = []
    for one in wanted:
        head_seq, current = head_of(one.path)
        base = current if one.base is None else one.base
        verdict = Verdict.UNCHANGED if current == base else Verdict.EDITED if current.present else Verdict.DELETED
        item = Item(one.path, Action.WRITE, verdict, current, one.target or current, head_seq, base)
        items.append(_settled(item) if one.target else item._replace(action=Action.SKIP, reason=_FORGOTTEN))
    return Plan(tuple(items))


def with_merged(plan: Plan, merge: Callable[[Item], FileState | str | None]) -> Plan:
    """Items edited since, merged: `merge` gives the merged state, or a conflict's description, or None to leave as is."""
    return Plan(tuple(_merged(item, merge) for item in plan.items))


def _merged(item: Item, merge: Callable[[Item], FileState | str | None]) -> Item:
    if item.action is not Action.WRITE or item.verdict is not Verdict.EDITED:
        return item
    result = merge(item)
    if isinstance(result, str):
        return item._replace(action=Action.SKIP, reason=result)
    return _settled(item._replace(target=result, reason="merged with the edits made since")) if result else item


def _returning(passage: Passage, births: dict[bytes, RepoPath], *, keep_new: bool) -> Item:
    current = passage.head.state
    base = passage.first_after.state if passage.first_after else current
    target = passage.then.state if passage.then else ABSENT
    verdict, renamed_to = _verdict(passage, base, births)
    source_ns = passage.then.time_ns if passage.then else None
    item = Item(passage.path, Action.WRITE, verdict, current, target, passage.head.seq, base, source_ns)
    if passage.knowledge is Knowledge.FORGOTTEN:
        return item._replace(action=Action.SKIP, reason=_FORGOTTEN)
    if passage.then is None and current.present and keep_new:
        return item._replace(action=Action.LEAVE, target=current, reason="born since, kept (--keep-new)")
    if passage.knowledge is Knowledge.FIRST_SEEN:
        item = item._replace(reason="guard first saw it after that time")
    elif renamed_to:
        item = item._replace(reason=f"renamed since to {renamed_to}")
    return _settled(item)


def _verdict(passage: Passage, base: FileState, births: dict[bytes, RepoPath]) -> tuple[Verdict, RepoPath | None]:
    head = passage.head
    if passage.first_after is None or (head.seq == passage.first_after.seq and head.state.present):
        return Verdict.UNCHANGED, None
    if not head.state.present and passage.then is not None:
        renamed_to = births.get(passage.then.state.blob) or births.get(base.blob)
        return (Verdict.RENAMED, renamed_to) if renamed_to else (Verdict.DELETED, None)
    return (Verdict.UNCHANGED if head.state == base else Verdict.EDITED), None


def _settled(item: Item) -> Item:
    """The item with the action that its states call for."""
    if item.target == item.current:
        return item._replace(action=Action.LEAVE)
    if not item.target.present:
        if not item.current.stored:
            return item._replace(action=Action.SKIP, reason="its content is over max_file_size and not stored; remove it by hand")
        return item._replace(action=Action.REMOVE)
    if not item.target.stored:
        return item._replace(
            action=Action.SKIP, reason="of its content then only the hash is kept: it was over max_file_size, or lost by damage"
        )
    if not item.current.stored:
        return item._replace(
            action=Action.SKIP, reason="its content now is over max_file_size and not stored; move it away first"
        )
    return item


def _was_absent(passage: Passage) -> bool:
    return passage.knowledge is Knowledge.KNOWN and (passage.then is None or not passage.then.state.present)
