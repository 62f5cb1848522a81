"""Upkeep: retention, old alerts, the ballast, soon after the start and then each hour; dense frames whenever there is time."""

import os
import sys
import threading
import time
from collections.abc import Callable

from guardd import clock, descriptors
from guardd.logs import log
from guardd.model import Reason
from guardd.service.memory import give_back
from guardd.service.settings import Duties
from guardd.store import ballast
from guardd.store.space import collect, compact, over_quota_by
from guardd.store.store import Store

_FIRST_S = 60.0
_EVERY_S = 3600.0
_AFTER_LACK_S = 5.0
"""Of descriptors: what upkeep says of it is to be true."""

_NICENESS = 10
"""Of its thread: what people wait for goes first (setpriority(2) takes a thread on Linux)."""

_KEEP_ALERTS_NS = 30 * 86_400 * 1_000_000_000


class Upkeep:
    """The thread guard-upkeep. What goes wrong in it is among the daemon's `troubles`, under "upkeep", "quota" and "disk"."""

    def __init__(
        self, state_dir: str, duties: Callable[[], Duties], stop: threading.Event, troubles: dict[str, Reason],
        is_behind: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._state_dir = state_dir
        self._duties = duties
        self._stop = stop
        self._troubles = troubles
        self._is_behind = is_behind
        self._rested = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard-upkeep", daemon=True)

    def start(self) -> None:
        """Begin; the ballast lies in its place when this returns."""
        self._lay_ballast()
        self._thread.start()

    def look(self) -> None:
        """Whether the ballast is still there, or can be laid again: capture gives it away on a full disk. For the main thread.

        Only with as much to spare: what capture was given it must not find gone when it tries again.
        """
        self._lay_ballast(spare=ballast.SIZE)

    def rested(self) -> None:
        """Capture has come to rest: there is time to compress what it stored."""
        self._rested.set()

    def finish(self) -> list[threading.Thread]:
        """The thread, which ends once `stop` is set, after what it is at."""
        self._rested.set()
        return [self._thread]

    def _run(self) -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        due_s = time.monotonic() + _FIRST_S
        while not self._stop.is_set():
            has_rested = self._rested.wait(max(0.0, due_s - time.monotonic()))
            self._rested.clear()
            try:
                if has_rested:
                    self._compact()
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + _EVERY_S
                    self._keep_up()
                self._troubles.pop("upkeep", None)
            except Exception as error:  # the outermost loop of this thread: the next hour tries again
                log.error("upkeep failed", error=str(error))
                failed = Reason("upkeep-failed", str(error), "see the log; it is tried again within the hour")
                self._troubles["upkeep"] = descriptors.reason_of(error, failed)
                if descriptors.is_lack(error):
                    due_s = time.monotonic() + _AFTER_LACK_S

    def _compact(self) -> None:
        with Store(self._state_dir) as store:
            frames = compact(store, lambda: not self._stop.is_set() and not self._is_behind())
        give_back()
        if frames:
            log.info("compacted", frames=frames)

    def _keep_up(self) -> None:
        policy, now = self._duties().policy, clock.now()
        with Store(self._state_dir) as store:
            freed = collect(store, policy, now)
            store.outbox.forget(now.wall_ns - _KEEP_ALERTS_NS)
            excess = over_quota_by(store, policy)
        self._lay_ballast(spare=ballast.SIZE)
        self._troubles.pop("quota", None)
        if excess:
            cure = "raise 'quota' in the config, or exclude what need not be kept"
            self._troubles["quota"] = Reason("over-quota", f"the store is {excess:,} bytes over its quota", cure)
        log.info("upkeep", versions=freed.versions, blobs=freed.blobs, bytes=freed.bytes)

    def _lay_ballast(self, *, spare: int = 0) -> None:
        if ballast.lay(self._state_dir, spare=spare):
            self._troubles.pop("disk", None)
            return
        cure = f"free {ballast.SIZE // 2**20} MiB or more on the disk of {self._state_dir}"
        self._troubles["disk"] = Reason("disk-almost-full", "there is no room for the store's reserve", cure)
