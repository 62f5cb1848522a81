"""The herald: tells the service manager how the daemon stands, and feeds its watchdog on proof alone."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from guardd.escaping import one_line
from guardd.model import RepoState
from guardd.service.notify import Notifier
from guardd.service.proof import Sign, is_proven
from guardd.store.repos import Live

_WORST_FIRST = (RepoState.DESYNCED, RepoState.DEGRADED, RepoState.STARTING, RepoState.STOPPED, RepoState.PROTECTED)
_LONGEST_REASON = 200


def status_line(said: Sequence[Live], files: int, incidents: int) -> str:
    """The state of the whole daemon in one line: the worst state, what is guarded, and the first thing that is wrong."""
    state = min((live.state for live in said), key=_WORST_FIRST.index, default=RepoState.STARTING)
    repos = f"{len(said)} repo{'' if len(said) == 1 else 's'}"
    healthy = sum(1 for live in said if live.state is RepoState.PROTECTED)
    if 0 < healthy < len(said):
        repos += f" ({healthy} protected)"
    line = (
        f"{state}: {repos}, {files:,} file{'' if files == 1 else 's'}; {incidents} incident{'' if incidents == 1 else 's'} open"
    )
    reasons = [reason for live in said for reason in live.reasons]
    return f"{line}; {one_line(reasons[0])[:_LONGEST_REASON]}" if reasons else line


class Herald:
    """What was told to the service manager so far; belongs to the main thread. `fed_s`: when its watchdog was fed last.

    `is_ready`: whether it was told that no repo has to be waited for.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._status = ""
        self.is_ready = False
        self.fed_s = time.monotonic()

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager to tell."""
        return self._notifier.is_heard

    @property
    def feed_every_s(self) -> float | None:
        """How often the watchdog is to be fed: twice as often as sd_watchdog_enabled(3) asks for; None: there is none."""
        watchdog_s = self._notifier.watchdog_s
        return watchdog_s / 4 if watchdog_s is not None and self.is_heard else None

    def tell(self, status: str) -> None:
        """The live state in one line, if it is another one than before."""
        if status != self._status:
            self._status = status
            self._notifier.send(f"STATUS={status}")

    def ready(self) -> None:
        """Every baseline is complete, or it is shown why one cannot be; told once."""
        if not self.is_ready:
            self.is_ready = True
            self._notifier.send("READY=1", f"STATUS={self._status}")

    def feed(self, signs: Sequence[Sign], *, is_told: bool) -> bool:
        """Feed the watchdog if the daemon has proved since the last time that it works; whether it has."""
        now_s = time.monotonic()
        if not is_proven(signs, self.fed_s, now_s, is_told=is_told):
            return False
        self.fed_s = now_s
        self._notifier.send("WATCHDOG=1")
        return True

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload; MONOTONIC_USEC is for Type=notify-reload. Before the daemon is ready, it is starting all the while."""
        if self.is_ready:
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            if self.is_ready:
                self._notifier.send("READY=1")

    def stopping(self) -> None:
        """The daemon begins to stop."""
        self._notifier.send("STOPPING=1", "STATUS=stopping: what was hinted is still captured")
