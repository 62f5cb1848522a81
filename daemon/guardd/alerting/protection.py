"""Loss of protection as something that people are told: once it has lasted, and again when it is over. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from guardd.model import Alert, Moment, RepoState, Severity, Stage

_LASTS_NS = 5_000_000_000
_SCAN_LASTS_NS = 60_000_000_000
"""A scan after an overflow is over in a moment; only one that goes on is worth a message."""

_OVER_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Protection:
    """What people know of the protection of a repo (`repo_id` None: of the daemon as a whole).

    `thread` is the loss that they were told of (empty: none) with the `codes` of its reasons; `since_ns` is when what they do
    not know yet began, in ns since boot.
    """

    repo_id: int | None
    thread: str = ""
    codes: frozenset[str] = frozenset()
    since_ns: int = 0

    @classmethod
    def recalled(cls, repo_id: int | None, last: Alert | None) -> "Protection":
        """What people know, from the last alert of it."""
        if last is None or last.stage is Stage.RESOLVED:
            return cls(repo_id)
        return cls(repo_id, last.thread, frozenset(line.partition(":")[0] for line in last.detail.splitlines()))


def threads_of(repo_id: int | None) -> str:
    """The glob of the threads that are about the protection of a repo, or about the daemon."""
    return "daemon-*" if repo_id is None else f"protection-{repo_id}-*"


def watch(known: Protection, state: RepoState, reasons: Sequence[str], now: Moment) -> tuple[Protection, Alert | None]:
    """What people know after a look, and what they must be told because of it. Called about once a second.

    `reasons` are texts that begin with their code and a colon, as `str(Reason)` does.
    """
    codes = frozenset(reason.partition(":")[0] for reason in reasons)
    unknown = codes - known.codes
    if unknown and state in (RepoState.DEGRADED, RepoState.DESYNCED):
        lasts_ns = _SCAN_LASTS_NS if unknown == {"rescan"} else _LASTS_NS
        stage = Stage.UPDATED if known.thread else Stage.OPENED
    elif known.thread and state is RepoState.PROTECTED:
        lasts_ns, stage = _OVER_NS, Stage.RESOLVED
    else:
        return replace(known, since_ns=0), None
    since_ns = known.since_ns or now.boot_ns
    if now.boot_ns < since_ns + lasts_ns:
        return replace(known, since_ns=since_ns), None
    kind = "daemon" if known.repo_id is None else f"protection-{known.repo_id}"
    thread = known.thread or f"{kind}-{now.wall_ns // 1_000_000_000}"
    detail = "\n".join(reasons)
    alert = Alert(0, thread, stage, Severity.HIGH, now.wall_ns, known.repo_id, settled=True, detail=detail)
    if stage is Stage.RESOLVED:
        return Protection(known.repo_id), alert
    return Protection(known.repo_id, thread, known.codes | codes), alert
