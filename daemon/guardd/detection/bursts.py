"""Bursts: from suspects to incidents. Pure: what is known at a moment in, the decision out."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from guardd.detection.rules.same_edit import same_edit
from guardd.detection.rules.volume import volume
from guardd.model import RepoPath, Severity, Suspect

_CRITICAL_FILES = 50
_CRITICAL_SHARE = 0.2
_CRITICAL_LEAST = 10


class Limits(NamedTuple):
    """The thresholds, in files and ns; see DetectionSettings for what each means."""

    window_ns: int
    slow_window_ns: int
    settle_ns: int
    damaged: int
    protected: int
    slow: int
    deleted: int
    approve_above: int


class Opening(NamedTuple):
    """An incident is to be opened: with these members, because of this."""

    members: list[Suspect]
    why: str


def opening(suspects: Iterable[Suspect], limits: Limits, now_ns: int, is_protected: Callable[[RepoPath], bool]) -> Opening | None:
    """Whether what nothing explains makes an incident by now.

    Damage in few files within the window, in fewer of them where they are protected; damage that drips over the long
    window and stays; or so many unexplained files that someone has to approve them.
    """
    known = list(suspects)
    fresh = [one for one in known if one.time_ns > now_ns - limits.window_ns]
    damaged = [one for one in fresh if one.damaged]
    protected = [one for one in damaged if is_protected(one.path)]
    if len(damaged) >= limits.damaged or len(protected) >= limits.protected:
        began = min(one.time_ns for one in damaged) - limits.settle_ns
        why = "damaged" if len(damaged) >= limits.damaged else "protected"
        return Opening([one for one in fresh if one.damaged or one.time_ns >= began], why)
    dripping = [one for one in known if one.damaged and one.time_ns > now_ns - limits.slow_window_ns]
    if len(dripping) >= limits.slow:
        return Opening(dripping, "slow")
    if volume(fresh, limits.approve_above):
        return Opening(fresh, "volume")
    return None


def joining(suspects: Iterable[Suspect], limits: Limits, last_ns: int, reach_ns: int, *, settled: bool) -> list[Suspect]:
    """Which suspects are part of an incident that is open: damage within its reach, anything else until it has settled."""
    return [
        one
        for one in suspects
        if (one.damaged and one.time_ns <= last_ns + reach_ns)
        or (not settled and last_ns - limits.settle_ns <= one.time_ns <= last_ns + limits.settle_ns)
    ]


class Verdict(NamedTuple):
    """What the members of an incident amount to."""

    severity: Severity
    rules: tuple[str, ...]
    files: int
    damaged: int
    summary: str


def verdict(
    members: Sequence[Suspect], files_of_repo: int, limits: Limits, is_protected: Callable[[RepoPath], bool] = lambda path: False
) -> Verdict:
    """The severity, rules and summary of an incident with these members."""
    damaged = [one for one in members if one.damaged]
    counts = Counter(rule for one in members for rule in {finding.rule for finding in one.findings})
    extra = [finding for finding in (same_edit(members), volume(members, limits.approve_above)) if finding]
    rules = (*(rule for rule, _ in counts.most_common()), *(finding.rule for finding in extra))
    sure = any(finding.rule == "same-edit" for finding in extra)
    is_few = len(damaged) < limits.damaged and sum(1 for one in damaged if is_protected(one.path)) < limits.protected
    severity = Severity.WARNING if is_few else _severity(len(damaged), files_of_repo, sure=sure)
    what = f"{len(damaged):,} of {len(members):,} changed files damaged" if damaged else f"{len(members):,} files changed"
    details = [f"{rule} in {count:,}" for rule, count in counts.most_common()] + [finding.message for finding in extra]
    return Verdict(severity, rules, len(members), len(damaged), ": ".join([what, ", ".join(details)] if details else [what]))


def _severity(damaged: int, files_of_repo: int, *, sure: bool) -> Severity:
    broad = damaged >= _CRITICAL_LEAST and (damaged >= _CRITICAL_SHARE * files_of_repo or sure)
    return Severity.CRITICAL if damaged >= _CRITICAL_FILES or broad else Severity.HIGH


def without_moved_code(lost: Mapping[RepoPath, Collection[str]], gained: Counter[str]) -> set[RepoPath]:
    """The paths whose lost definitions have mostly turned up elsewhere in the burst: a file was split."""
    found = set()
    left = gained.copy()
    for path, names in lost.items():
        here = Counter(names) & left
        if names and here.total() >= 0.7 * len(names):
            left -= here  # what came once was not moved from two places
            found.add(path)
    return found
