"""What speaks against keeping what a command changed. Pure."""

from collections import Counter
from collections.abc import Collection, Sequence
from signal import Signals
from typing import NamedTuple

from guardd.checking.check import Problem
from guardd.escaping import one_line
from guardd.model import RepoPath
from guardd.recovery.verify import CommandRun
from guardd.selection import matcher
from guardd.transactions.command import Ended


class Policy(NamedTuple):
    """What a run must hold to be kept. `max_files` None: any number."""

    verify: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    allow_protected: bool = False
    ignore_exit: bool = False
    max_files: int | None = None
    verify_timeout_s: float = 600.0


class Verdict(NamedTuple):
    """What speaks against the changes of a run (nothing: they are kept), and the evidence.

    `looked`: whether what is in the files was looked at.
    """

    reasons: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    verified: tuple[CommandRun, ...] = ()
    looked: bool = True


def objections(
    ended: Ended | None,
    changed: Collection[RepoPath],
    found: Sequence[Problem],
    verified: Sequence[CommandRun],
    policy: Policy,
    *,
    is_empty: bool = False,
    hidden: Sequence[RepoPath] = (),
) -> tuple[str, ...]:
    """Everything that speaks against keeping what a command changed. Pure. `ended` None: it never came to its end.

    `is_empty`: no file is left that guard keeps; `hidden`: files and directories that the command made unreadable for us.
    """
    reasons = []
    if ended is not None and ended.told_to_stop:
        reasons.append(f"guardctl was told to stop ({ended.told_to_stop})")
    elif ended is not None and ended.interrupted:
        reasons.append("interrupted (Ctrl-C)")
    elif ended is not None and ended.exit and not policy.ignore_exit:
        reasons.append(f"the command {how_it_ended(ended.exit)}")
    if is_empty and changed:
        reasons.append("none of the files that guard keeps is left")
    if hidden:
        more = f" and {len(hidden) - 1:,} more" if len(hidden) > 1 else ""
        reasons.append(f"unreadable now, so it cannot be checked: {hidden[0] or 'the repo itself'}{more}")
    if policy.max_files is not None and len(changed) > policy.max_files:
        reasons.append(
            f"{len(changed):,} file{'' if len(changed) == 1 else 's'} changed, more than --max-files {policy.max_files:,}"
        )
    is_protected = matcher(() if policy.allow_protected else policy.protected)
    touched = sorted(path for path in changed if is_protected(path))
    if touched:
        more = f" and {len(touched) - 1:,} more" if len(touched) > 1 else ""
        reasons.append(f"protected: {touched[0]}{more} changed without --allow-protected")
    if found:
        rules = Counter(one.rule for one in found)
        counted = ", ".join(f"{rule} ({count:,})" for rule, count in rules.most_common())
        files = len({one.path for one in found})
        reasons.append(f"new damage in {files:,} file{'' if files == 1 else 's'}: {counted}")
    reasons += [f"verify: {one.command}: exit {one.exit}" for one in verified if one.exit]
    return tuple(map(one_line, reasons))  # they are written down, and a path or a command may be in no encoding


def how_it_ended(code: int) -> str:
    """`exited 3`, `was ended by SIGKILL`."""
    if code > 128:
        try:
            return f"was ended by {Signals(code - 128).name}"
        except ValueError:
            pass
    return f"exited {code}"
