"""git at work: what it writes is explained once it is done, and until then detection and git both need the processors."""

import time
from collections.abc import Callable

_PATIENCE_S = 5.0


class GitAtWork:
    """Whether to step aside for git: for 5 s in a row at most, as its hooks may do damage.

    Patience comes back as fast as it goes, while nobody waits: a lock that is taken again and again, by an editor or by
    who means harm, is waited for half of the time at worst.
    """

    def __init__(self, is_at_work: Callable[[], bool], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._is_at_work = is_at_work
        self._clock_s = clock_s
        self._left_s, self._asked_s = _PATIENCE_S, clock_s()
        self.waits = False
        """What the last answer was."""

    def asks_to_wait(self) -> bool:
        """Look, and count the time since the last look."""
        now_s = self._clock_s()
        passed_s, self._asked_s = now_s - self._asked_s, now_s
        self._left_s = max(0.0, min(_PATIENCE_S, self._left_s + (-passed_s if self.waits else passed_s)))
        self.waits = self._left_s > 0 and self._is_at_work()
        return self.waits
