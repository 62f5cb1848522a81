"""The daemon: one capture thread and one watch for each repo, supervised from the main thread until it is told to stop.

Detection and response run in threads of their own and read the store only: capture never waits for them.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from guardd import __version__, clock, descriptors, logs
from guardd.errors import Exit, GuardError, Interrupted, StoreError, StoreFull, TooManyOpenFiles
from guardd.logs import log
from guardd.model import Reason, RepoState
from guardd.service import signals
from guardd.service.dump import state_dump
from guardd.service.guard import Guard, Progress
from guardd.service.herald import Herald, status_line
from guardd.service.memory import give_back, keep_little
from guardd.service.notify import Notifier
from guardd.service.proof import Life
from guardd.service.settings import Duties
from guardd.service.spokesman import Spokesman
from guardd.service.tallies import Tallies
from guardd.service.upkeep import Upkeep
from guardd.store import ballast
from guardd.store.lock import acquire_daemon_lock
from guardd.store.repos import Live
from guardd.store.store import Store, check_state_dir
from guardd.store.wal import commits_behind_the_end

if TYPE_CHECKING:
    from guardd.service.alerting import Alerting
    from guardd.service.detecting import Detecting
    from guardd.service.monitoring import Monitoring

_BEAT_S = 10.0
_LOOK_S, _LOOK_LATER_S = 1.0, 3.0
_REST_AFTER_S = 5.0
_CROWD = 4
_GATHER_S = 0.05
"""After so many files at once the next ones are gathered for so long: a git checkout of 1,250 files had 178 commits, each with a
sync that git's own writes waited for, and has some 30 so. A save by itself waits for nothing."""

_THINK_AFTER_S = 2.0
"""Detection and alerts begin once all repos are captured, or after so long where some are: both need the one interpreter."""

_THINK_AT_LAST_S = 60.0
"""They begin at last, whatever keeps the first capture: people must hear of it."""

_DRAIN_S = 5.0
"""After a stop, what was hinted is captured for this long; what is left is for the scan of the next start."""

_STOP_S = 8.0
_FORCE_S = 9.5
"""After so long the process ends whatever hangs: it was promised to stop within 10 s."""

_DESCRIPTORS, _DESCRIPTORS_A_REPO = 24, 2
"""So many must be left at the start: it uses 20 to 26 in all, and with fewer one thing or another would fail for ever."""

_PATIENCE_S = 2.0
"""The main thread's with other writers of the store: it says again what it could not say, and must not be late to stop."""


_LACKING = "too few file descriptors to guard anything"


class Daemon:
    """Guards repos into the store of `state_dir`; `run` returns when a signal has ended it.

    `reload` reads the config anew and gives the duties from then on; it raises GuardError for a config that cannot be used.
    `manager` is the service manager that is told how things stand.
    """

    def __init__(
        self, state_dir: str, duties: Duties, reload: Callable[[], Duties], on_progress: Progress | None = None,
        manager: Notifier | None = None,
    ) -> None:  # fmt: skip
        self._state_dir = state_dir
        self._duties = duties
        self._reload = reload
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._news = threading.Event()
        self._reload_asked = threading.Event()
        self._dump_asked = threading.Event()
        self._stop_asked_s = 0.0
        self._guards: list[Guard] = []
        self._troubles: dict[str, Reason] = {}
        self._tallies = Tallies(clock.now().wall_ns)
        self._captured = threading.Event()
        self._alert_news = threading.Event()
        self._spokesman = Spokesman(self._troubles, self._alert_news)
        self._upkeep = Upkeep(state_dir, lambda: self._duties, self._stop, self._troubles, self._is_behind)
        self._detecting: Detecting | None = None
        self._alerting: Alerting | None = None
        self._monitoring: Monitoring | None = None
        self._herald = Herald(manager or Notifier())
        self._capture_error: Exception | None = None
        self._life = Life()
        self._detection_life = Life()
        self._files = 0
        self._counted_for: list[Live] = []

    def run(self) -> bool:
        """Guard until SIGTERM or SIGINT; whether all threads have ended by then.

        Raises StoreError where the store cannot be used or another daemon has it.
        """
        try:
            return self._run()
        except StoreFull:
            if self._guards or not ballast.drop(self._state_dir):
                raise
            log.warning("ballast dropped", path=self._state_dir)
            return self._run()

    def _run(self) -> bool:
        if descriptors.spare() < _DESCRIPTORS + _DESCRIPTORS_A_REPO * len(self._duties.repos):
            raise TooManyOpenFiles(_LACKING)
        check_state_dir(self._state_dir, create=True)
        with acquire_daemon_lock(self._state_dir), Store(self._state_dir, create=True) as store:
            lost = commits_behind_the_end(store.db)
            if lost:
                log.error("commits lost", commits=lost, why="the end of the store's log was damaged; see 'guardctl log'")
            store.repos.begin_all([store.repos.add(*repo).id for repo in self._duties.repos], clock.now())
            keep_little()
            signals.hear(
                {signal.SIGTERM: self._ask_to_stop, signal.SIGINT: self._ask_to_stop,
                 signal.SIGHUP: self._ask_to_reload, signal.SIGUSR1: self._dump_asked.set}
            )  # fmt: skip
            log.info("starting", version=__version__, pid=os.getpid(), store=self._state_dir, repos=len(self._duties.repos))
            capture = threading.Thread(target=self._capture, name="guard-capture", daemon=True)
            capture.start()
            threading.Thread(target=self._dump, name="guard-dump", daemon=True).start()
            self._upkeep.start()
            self._supervise(capture)
            thinking = [one for part in (self._detecting, self._alerting) if part is not None for one in part.finish()]
            return self._wait_for([capture, *thinking, *self._upkeep.finish()])

    def _wait_for(self, threads: Sequence[threading.Thread]) -> bool:
        for thread in threads:
            thread.join(max(0.0, self._stop_asked_s + _STOP_S - time.monotonic()))
        left = [thread.name for thread in threads if thread.is_alive()]
        log.info("stopped", clean=not left, left=left)
        return not left

    # -- signals thread -----------------------------------------------------------------------------------------

    def _ask_to_stop(self) -> None:
        if not self._stop.is_set():
            self._stop_asked_s = time.monotonic()
            force = threading.Timer(_FORCE_S, os._exit, (Exit.PARTIAL,))
            force.daemon = True
            force.start()
        self._stop.set()
        self._wake.set()
        self._news.set()

    def _ask_to_reload(self) -> None:
        self._reload_asked.set()
        self._news.set()

    # -- dump thread --------------------------------------------------------------------------------------------

    def _dump(self) -> None:
        """Write the state into the log whenever someone asks; a log that no one reads must not keep signals from being heard."""
        while not self._stop.is_set():
            self._dump_asked.wait()
            self._dump_asked.clear()
            lives = {"guard-capture": self._life.sign, "guard-detect": self._detection_life.sign}
            dump = state_dump(self._state_dir, self._guards, self._troubles, lives, time.monotonic())
            logs.tell("state dump", **dump)

    # -- capture thread -----------------------------------------------------------------------------------------

    def _capture(self) -> None:
        try:
            self._capture_all()
        except Exception as error:  # the outermost of this thread: the main thread ends guardd with it
            self._capture_error = error
            if not descriptors.is_lack(error):
                log.error("capture ended", error=f"{type(error).__name__}: {error}", exc_info=True)

    def _capture_all(self) -> None:
        self._life.works()
        with Store(self._state_dir) as store, suppress(Interrupted):  # told to stop while the first watches were set
            self._take_up(store, self._duties)
            rested = False
            while not self._stop.is_set():
                due = self._until_due()
                self._life.waits()
                if not self._wake.wait(_REST_AFTER_S if due is None and not rested else due) and due is None:
                    rested = True
                    self._rest(store)
                    continue
                self._wake.clear()
                self._life.works()
                rested = rested and not self._is_behind()
                if sum(guard.work() for guard in self._guards) >= _CROWD:
                    self._stop.wait(_GATHER_S)
                try:
                    self._take_up(store, self._duties)
                except (GuardError, OSError) as error:  # a new repo that cannot be taken up must not cost the others
                    failed = Reason("repo-not-taken-up", str(error), "mend it and send SIGHUP")
                    self._troubles["repos"] = descriptors.reason_of(error, failed)
                else:
                    self._troubles.pop("repos", None)
            for guard in self._guards:
                guard.work()  # what was already hinted is still captured
                guard.stop()

    def _go_on(self, baseline: bool) -> None:
        """Between two batches of a capture: a sign of life, and an end to what there is no time for when the daemon stops."""
        self._life.works()
        if self._stop.is_set() and (baseline or time.monotonic() > self._stop_asked_s + _DRAIN_S):
            raise Interrupted("guardd was told to stop")

    def _rest(self, store: Store) -> None:
        for guard in self._guards:
            guard.rest()
        store.db.shrink()
        give_back()
        self._upkeep.rested()

    def _take_up(self, store: Store, duties: Duties) -> None:
        """Begin to guard what is to be guarded from now on, and end what is not."""
        wanted = dict(duties.repos)
        kept = [guard for guard in self._guards if wanted.get(guard.repo.path) == guard.repo.rules]
        for guard in self._guards:
            if guard not in kept:
                guard.stop()
        begun = []
        for path in wanted.keys() - {guard.repo.path for guard in kept}:
            repo = store.repos.add(path, wanted[path])
            if store.incidents.cursor(repo.id) is None:  # detection begins later, and must miss nothing until then
                with store.db.transaction():
                    store.incidents.move_cursor(repo.id, store.log.last_seq())
            begun.append(
                Guard(store, repo, self._wake, self._news, self._captured, self._on_progress, self._go_on, self._tallies)
            )
        for guard in begun:
            guard.start()
        if begun or len(kept) != len(self._guards):
            self._guards = [*kept, *begun]  # a new list: the main thread may be going through the old one
            self._news.set()

    def _is_behind(self) -> bool:
        return any(guard.is_behind for guard in self._guards)

    def _until_due(self) -> float | None:
        due = min((at for guard in self._guards if (at := guard.dirty.next_due()) is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    # -- main thread --------------------------------------------------------------------------------------------

    def _supervise(self, capture: threading.Thread) -> None:
        begun_s = last_scan = time.monotonic()
        next_beat = 0.0
        feed_every_s = self._herald.feed_every_s
        beat_every_s = min(_BEAT_S, feed_every_s or _BEAT_S)
        with Store(self._state_dir, durable=False, patience_s=_PATIENCE_S) as store:
            with _later_without_descriptors():
                self._follow_monitoring()
            while not self._stop.is_set():
                self._news.wait(min(_LOOK_S if self._detecting is None else _LOOK_LATER_S, beat_every_s))
                self._news.clear()
                if self._stop.is_set():
                    break
                if not capture.is_alive():
                    raise self._after_capture()
                self._reload_if_asked()
                now = time.monotonic()
                if now - last_scan >= self._duties.scan_interval_s:
                    last_scan = now
                    for guard in self._guards:
                        guard.dirty.rescan("", "")
                beat = now >= next_beat
                if beat:
                    next_beat = now + beat_every_s
                    with _later_without_descriptors():
                        self._follow_monitoring()
                        self._upkeep.look()
                    for guard in self._guards:
                        guard.supervise()
                self._mind_descriptors()
                self._spokesman.speak(store, self._guards, len(self._duties.repos), beat=beat)
                self._tell_manager(store)
                with _later_without_descriptors():
                    self._begin_to_think(now - begun_s)
                if beat and feed_every_s is not None:
                    self._feed()
            self._herald.stopping()
            if self._monitoring is not None:
                self._monitoring.stop()
            self._spokesman.fall_silent(store)

    def _mind_descriptors(self) -> None:
        """Have it said where they are few, before something fails by it."""
        if descriptors.are_few():
            self._troubles["descriptors"] = descriptors.lack()
        else:
            self._troubles.pop("descriptors", None)

    def _after_capture(self) -> GuardError:
        if descriptors.is_lack(self._capture_error):
            return TooManyOpenFiles(_LACKING)
        return GuardError("the capture thread ended; see the log, and start guardd again")

    def _begin_to_think(self, running_s: float) -> None:
        """Begin detection and alerts, unless they have begun, or are still too early."""
        if self._detecting is not None:
            return
        decided = {guard.repo.path for guard in self._guards if self._is_decided(guard)}
        patience_s = _THINK_AFTER_S if decided else _THINK_AT_LAST_S
        if running_s < patience_s and not decided >= {path for path, _ in self._duties.repos}:
            return
        from guardd.service.alerting import Alerting
        from guardd.service.detecting import Detecting

        self._detecting = Detecting(
            self._state_dir, lambda: self._duties, self._stop, self._troubles, self._is_behind, self._captured, self._alert_news,
            self._tallies, self._detection_life,
        )  # fmt: skip
        self._detecting.start()
        self._alerting = Alerting(self._state_dir, lambda: self._duties, self._stop, self._troubles, self._alert_news)
        self._alerting.start()

    def _follow_monitoring(self) -> None:
        if self._monitoring is None:
            if self._duties.metrics_listen is None:
                return
            from guardd.service.monitoring import Monitoring  # an HTTP server only for those who want it

            duties, guards = lambda: self._duties, lambda: self._guards
            self._monitoring = Monitoring(self._state_dir, duties, guards, self._tallies, self._troubles)
        self._monitoring.follow()

    def _tell_manager(self, store: Store) -> None:
        """Tell the service manager how things stand, and once that no repo has to be waited for any more."""
        if not self._herald.is_heard:
            return
        lives = list(self._spokesman.said.values())
        try:
            if not self._herald.is_ready or lives != self._counted_for:  # counting 25,000 files takes a while
                self._files, self._counted_for = sum(store.repos.files(repo_id) for repo_id in self._spokesman.said), lives
            self._herald.tell(status_line(lives, self._files, store.incidents.count_open()))
        except StoreError as error:
            self._herald.tell(f"the store does not answer: {error}")
        if {path for path, _ in self._duties.repos} <= {guard.repo.path for guard in self._guards if self._is_decided(guard)}:
            self._herald.ready()

    def _is_decided(self, guard: Guard) -> bool:
        """Whether a repo is ready, or in a state that says why not: one that is missing must not keep the others waiting."""
        said = self._spokesman.said.get(guard.repo.id)
        return guard.repo.id in self._spokesman.ready or (said is not None and said.state is not RepoState.STARTING)

    def _feed(self) -> None:
        """Feed the watchdog if there is proof, and have the threads go round, so that there is some the next time."""
        is_told = self._spokesman.wrote_s > self._herald.fed_s or "live" in self._troubles
        lives = [self._life.sign, *([self._detection_life.sign] if self._detecting is not None else [])]
        if not self._herald.feed(lives, is_told=is_told):
            log.debug("watchdog not fed", lives=list(map(str, lives)), told=is_told)
        self._wake.set()
        self._captured.set()

    def _reload_if_asked(self) -> None:
        if self._reload_asked.is_set():
            self._reload_asked.clear()
            with self._herald.reloading():
                self._load_anew()
            with _later_without_descriptors():
                self._follow_monitoring()

    def _load_anew(self) -> None:
        try:
            self._duties = self._reload()
        except GuardError as error:
            first, *others = str(error).splitlines()
            more = f" (and {len(others)} more)" if others else ""
            self._troubles["config"] = Reason("config-rejected", first + more, "mend it and send SIGHUP; the old settings stay")
            log.error("config rejected", problems=str(error).splitlines())
        else:
            self._troubles.pop("config", None)
            log.info("config reloaded", repos=len(self._duties.repos))
            for follower in (self._wake, self._captured, self._alert_news):
                follower.set()


@contextmanager
def _later_without_descriptors() -> Iterator[None]:
    """What ends early for want of a file descriptor, even to import a module: it is begun again at a later look."""
    try:
        yield
    except (OSError, ImportError) as error:
        if not descriptors.is_lack(error):
            raise
        log.debug("put off", error=str(error))  # `_mind_descriptors` tells people
