"""The nouns of guard: frozen data and pure functions, no I/O; imports nothing of ours.

Paths are relative to the repo, `/`-separated, surrogateescape text (`os.fsdecode`); times are ns since the epoch, UTC.
"""

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self

RepoPath = str

PYTHON = (".py", ".pyi")
"""How the names of Python's sources end."""


class Kind(StrEnum):
    """What is at a path."""

    FILE = "file"
    LINK = "link"
    ABSENT = "absent"


class Origin(StrEnum):
    """Why a version exists."""

    BASELINE = "baseline"
    WATCH = "watch"
    SCAN = "scan"
    OFFLINE = "offline"
    RESTORE = "restore"
    RUN = "run"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class FileState:
    """What a path is: kind, content (`blob`, its BLAKE3 hash, 32 bytes, empty when absent), size in bytes, permission bits.

    Of a link the content is its target. `stored` is false where only the hash is kept (over `max_file_size`).
    """

    kind: Kind
    blob: bytes = b""
    size: int = 0
    mode: int = 0
    stored: bool = field(default=True, compare=False)

    @property
    def present(self) -> bool:
        """Whether there is anything at the path."""
        return self.kind is not Kind.ABSENT


ABSENT = FileState(Kind.ABSENT)


_STAT_KEY = struct.Struct("<QQqqq")

pack_key = _STAT_KEY.pack
"""The fields of a StatKey, in order, as its 40 bytes: for a scan, which needs no object for each file that it meets."""


class StatKey(NamedTuple):
    """The key of a file state on disk: equal keys mean an unchanged file, once it is no longer racily clean."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def pack(self) -> bytes:
        """The key as 40 bytes, as the store keeps it."""
        return pack_key(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Self | None:
        """The key that `pack` made these bytes of; what follows them is passed over. None: it made none of them, look again."""
        return cls._make(_STAT_KEY.unpack_from(packed)) if len(packed) >= _STAT_KEY.size else None


class Version(NamedTuple):
    """One observed state of one path; `seq` is its place in the log, and the only order there is."""

    seq: int
    path: RepoPath
    state: FileState
    mtime_ns: int
    time_ns: int
    origin: Origin


class Moment(NamedTuple):
    """A reading of the clocks: wall time, time since boot, which no one can set, and how much of that the machine was awake."""

    wall_ns: int
    boot_ns: int
    boot_id: str
    awake_ns: int = 0


class Reason(NamedTuple):
    """Why a repo is not fully protected, and what to do about it."""

    code: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}; {self.cure}"


class RepoState(StrEnum):
    """How well a repo is protected at this moment."""

    STARTING = "starting"
    PROTECTED = "protected"
    DEGRADED = "degraded"
    DESYNCED = "desynced"
    STOPPED = "stopped"


class Severity(StrEnum):
    """How bad an incident is; they rise in this order."""

    INFO = "info"
    WARNING = "warning"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place in that order, from 0."""
        return list(Severity).index(self)

    @property
    def is_urgent(self) -> bool:
        """Whether people must be told at once, at any hour."""
        return self in (Severity.HIGH, Severity.CRITICAL)


class IncidentState(StrEnum):
    """Where an incident stands. Open and escalated ones wait for people; an escalated one is not restored by itself any more."""

    OPEN = "open"
    APPROVED = "approved"
    DISMISSED = "dismissed"
    RESTORED = "restored"
    ESCALATED = "escalated"

    @property
    def is_open(self) -> bool:
        """Whether someone still has to answer it."""
        return self in (IncidentState.OPEN, IncidentState.ESCALATED)


class Finding(NamedTuple):
    """One rule's verdict on one change; `line` is 1-based in the file as it is after the change, 0 where none can be named.

    `damage` is false for what only raises confidence (line ends flipped, the same edit everywhere).
    """

    rule: str
    message: str
    line: int = 0
    damage: bool = True


class Suspect(NamedTuple):
    """A change of one path that nothing explains: a member of an incident, or what may become one.

    `before_seq` is the last healthy version (0: nothing was there), `after_seq` the newest one. `gone`: there is no file now.
    `edit` is equal for near-identical edits. `returned`: the path has been put right since.
    """

    path: RepoPath
    before_seq: int
    after_seq: int
    time_ns: int
    findings: tuple[Finding, ...] = ()
    edit: str = ""
    gone: bool = False
    returned: bool = False

    @property
    def damaged(self) -> bool:
        """Whether a rule found damage in it."""
        return any(finding.damage for finding in self.findings)


class Certainty(StrEnum):
    """How sure guard is of who did it."""

    PROVEN = "proven"
    PROBABLE = "probable"
    UNKNOWN = "unknown"


class Actor(NamedTuple):
    """Who did it: a process, and how sure that is."""

    certainty: Certainty = Certainty.UNKNOWN
    pid: int | None = None
    command: str | None = None


class Incident(NamedTuple):
    """A burst with findings. `first_seq` is the place in the log of its first change, `last_ns` the time of its newest.

    `settled`: no member came for the settle time. `rounds` counts the times that it was restored by itself. `note` is the
    reason that a person gave, or what guard did. `slow`: its damage came a file now and then, not in a burst.
    """

    id: int
    repo_id: int
    state: IncidentState
    severity: Severity
    opened_ns: int
    closed_ns: int | None
    first_seq: int
    last_ns: int
    rules: tuple[str, ...]
    files: int
    damaged: int
    summary: str
    actor: Actor = Actor()
    settled: bool = False
    rounds: int = 0
    note: str = ""
    slow: bool = False


class Stage(StrEnum):
    """What an alert says of its subject (an incident, the protection of a repo, a target).

    Only an incident is ever `updated` (settled, grown, worse), `escalated` and told again (`repeated`).
    """

    OPENED = "opened"
    UPDATED = "updated"
    ESCALATED = "escalated"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    TEST = "test"


class Alert(NamedTuple):
    """Something that people must be told, queued in the transaction of what caused it.

    `thread` names its subject for good (`incident-7`, `protection-2-1764007200`), `detail` says for people what happened.
    `settled`: whether its incident had settled.
    """

    id: int
    thread: str
    stage: Stage
    severity: Severity
    time_ns: int
    repo_id: int | None = None
    incident_id: int | None = None
    settled: bool = False
    detail: str = ""


class Delivery(NamedTuple):
    """An alert on its way to one target. `dedup_key` is the same in every attempt, and unlike that of any other message.

    `state`: pending, sent, failed (the target refused it for good) or dropped (a later message says it all).
    `answer` is what the target, or the network, said last.
    """

    id: int
    alert: Alert
    target: str
    stage: Stage
    dedup_key: str
    state: str
    attempts: int
    due_ns: int
    sent_ns: int | None = None
    answer: str = ""
