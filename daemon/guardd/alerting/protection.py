"""Loss of protection as something that people are told: once it has lasted, and again when it is over. Pure."""

from collections.abc import Sequence, Set
from typing import NamedTuple

from guardd.model import Alert, RepoState, Severity, Stage

_LASTS_NS = 5_000_000_000
_OVER_NS = 5_000_000_000
_SCAN_LASTS_NS = 60_000_000_000
"""A scan after an overflow is over in a moment; only one that goes on is worth a message."""

_FLAPS_NS = 600_000_000_000
_STEADY_NS = 60_000_000_000
"""What is lost again within ten minutes must last that long to be told, and be back that long."""

_AT_ONCE = {"store-full", "disk-almost-full"}
"""While there is room for the alert."""

UNGUARDED = "unguarded: it is not in the config any more"


class Protection(NamedTuple):
    """What people know of the protection of a repo (`repo_id` None: of the daemon as a whole).

    `thread` is the loss that they were told of (empty: none) with the `codes` of its reasons; `since_ns` is when what they do
    not know yet began, `ended_ns` when the last loss was over, both in ns of a clock that no one sets and that sleeps with the
    machine.
    """

    repo_id: int | None
    thread: str = ""
    codes: frozenset[str] = frozenset()
    since_ns: int = 0
    ended_ns: int | None = None

    @classmethod
    def recalled(cls, repo_id: int | None, last: Alert | None) -> "Protection":
        """What people know, from the last alert of it."""
        if last is None or last.stage is Stage.RESOLVED:
            return cls(repo_id)
        return cls(repo_id, last.thread, frozenset(line.partition(":")[0] for line in last.detail.splitlines()))


def threads_of(repo_id: int | None) -> str:
    """The glob of the threads that are about the protection of a repo, or about the daemon."""
    return "daemon-*" if repo_id is None else f"protection-{repo_id}-*"


def watch(
    known: Protection, state: RepoState, reasons: Sequence[str], now_ns: int, tick_ns: int
) -> tuple[Protection, Alert | None]:
    """What people know after a look, and what they must be told because of it. Called about once a second.

    `reasons` are texts that begin with their code and a colon, as `str(Reason)` does; `tick_ns` is the monotonic clock.
    """
    codes = frozenset(reason.partition(":")[0] for reason in reasons)
    unknown = codes - known.codes
    if unknown and state in (RepoState.DEGRADED, RepoState.DESYNCED):
        stage = Stage.UPDATED if known.thread else Stage.OPENED
    elif known.thread and state is RepoState.PROTECTED:
        stage = Stage.RESOLVED
    else:
        return known._replace(since_ns=0), None
    since_ns = known.since_ns or tick_ns
    if tick_ns < since_ns + _patience_ns(known, stage, unknown, tick_ns):
        waiting = known._replace(since_ns=since_ns)
        return waiting._replace(ended_ns=tick_ns) if _flaps(known, tick_ns) else waiting, None
    kind = "daemon" if known.repo_id is None else f"protection-{known.repo_id}"
    thread = known.thread or f"{kind}-{now_ns // 1_000_000_000}"
    detail = "\n".join(reasons)
    alert = Alert(0, thread, stage, Severity.HIGH, now_ns, known.repo_id, settled=True, detail=detail)
    if stage is Stage.RESOLVED:
        return Protection(known.repo_id, ended_ns=tick_ns), alert
    return Protection(known.repo_id, thread, known.codes | codes, ended_ns=known.ended_ns), alert


def unguarded(known: Protection, now_ns: int) -> Alert | None:
    """What people must be told of a repo that is not guarded any more: that nothing of it is lost, if they think so."""
    if not known.thread:
        return None
    return Alert(0, known.thread, Stage.RESOLVED, Severity.HIGH, now_ns, known.repo_id, settled=True, detail=UNGUARDED)


def _patience_ns(known: Protection, stage: Stage, unknown: Set[str], tick_ns: int) -> int:
    is_flapping = _flaps(known, tick_ns)
    if stage is Stage.RESOLVED:
        return _STEADY_NS if is_flapping else _OVER_NS
    if unknown & _AT_ONCE and not is_flapping:
        return 0
    if unknown == {"rescan"}:
        return _SCAN_LASTS_NS
    return _STEADY_NS if is_flapping else _LASTS_NS


def _flaps(known: Protection, tick_ns: int) -> bool:
    return known.ended_ns is not None and tick_ns < known.ended_ns + _FLAPS_NS
