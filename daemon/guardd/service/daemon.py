"""The daemon: one capture thread and one watch for each repo, supervised from the main thread until it is told to stop.

Detection and response run in threads of their own and read the store only: capture never waits for them.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from guardd import __version__, clock
from guardd.alerting.protection import Protection, threads_of, watch
from guardd.errors import GuardError, StoreError
from guardd.model import Reason, RepoState
from guardd.service.alerting import Alerting
from guardd.service.detecting import Detecting
from guardd.service.endpoint import Endpoint
from guardd.service.guard import Guard, Progress
from guardd.service.memory import give_back
from guardd.service.settings import Duties
from guardd.service.tallies import Tallies
from guardd.store import ballast
from guardd.store.lock import acquire_daemon_lock
from guardd.store.repos import Live
from guardd.store.space import collect, over_quota_by
from guardd.store.store import Store

log = structlog.get_logger()

_BEAT_S = 10.0
_LOOK_S = 1.0
_REST_AFTER_S = 5.0
_FIRST_UPKEEP_S = 60.0
_UPKEEP_S = 3600.0
_STOP_S = 8.0
_KEEP_ALERTS_NS = 30 * 86_400 * 1_000_000_000


class Daemon:
    """Guards repos into the store of `state_dir`; `run` returns when a signal has ended it.

    `reload` reads the config anew and gives the duties from then on; it raises GuardError for a config that cannot be used.
    """

    def __init__(self, state_dir: str, duties: Duties, reload: Callable[[], Duties], on_progress: Progress | None = None) -> None:
        self._state_dir = state_dir
        self._duties = duties
        self._reload = reload
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._news = threading.Event()
        self._reload_asked = threading.Event()
        self._guards: list[Guard] = []
        self._troubles: dict[str, Reason] = {}
        self._said: dict[int, Live] = {}
        self._announced: set[int] = set()
        self._protection: dict[int | None, Protection] = {}
        self._tallies = Tallies(clock.now().wall_ns)
        self._alerting = Alerting(state_dir, lambda: self._duties, self._stop, self._troubles)
        self._detecting = Detecting(
            state_dir, lambda: self._duties, self._stop, self._troubles, self._is_behind, self._alerting.news, self._tallies
        )
        self._endpoint = Endpoint(state_dir, lambda: self._duties, lambda: self._guards, self._tallies, self._troubles)

    def run(self) -> None:
        """Guard until SIGTERM or SIGINT. Raises StoreError where the store cannot be used or another daemon has it."""
        with Store(self._state_dir, create=True) as store, acquire_daemon_lock(self._state_dir):
            store.repos.begin_all([store.repos.add(*repo).id for repo in self._duties.repos], clock.now().wall_ns)
            self._lay_ballast()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._on_signal)
            log.info("starting", version=__version__, pid=os.getpid(), store=self._state_dir, repos=len(self._duties.repos))
            capture = threading.Thread(target=self._capture, name="guard-capture", daemon=True)
            upkeep = threading.Thread(target=self._keep_up, name="guard-upkeep", daemon=True)
            capture.start()
            upkeep.start()
            self._detecting.start()
            self._alerting.start()
            self._supervise(capture)
            self._wake.set()
            capture.join(_STOP_S)
            self._detecting.join(1.0)
            self._alerting.join(5.0)
            upkeep.join(1.0)
            log.info("stopped", clean=not capture.is_alive())

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        (self._reload_asked if number == signal.SIGHUP else self._stop).set()
        self._wake.set()
        self._news.set()

    # -- capture thread -----------------------------------------------------------------------------------------

    def _capture(self) -> None:
        with Store(self._state_dir) as store:
            self._take_up(store, self._duties)
            rested = False
            while not self._stop.is_set():
                due = self._until_due()
                if not self._wake.wait(_REST_AFTER_S if due is None and not rested else due) and due is None:
                    rested = True
                    self._rest(store)
                    continue
                rested = False
                self._wake.clear()
                for guard in self._guards:
                    guard.work()
                try:
                    self._take_up(store, self._duties)
                except (GuardError, OSError) as error:  # a new repo that cannot be taken up must not cost the others
                    self._troubles["repos"] = Reason("repo-not-taken-up", str(error), "mend it and send SIGHUP")
                else:
                    self._troubles.pop("repos", None)
            for guard in self._guards:
                guard.work()  # what was already hinted is still captured
                guard.stop()

    def _rest(self, store: Store) -> None:
        for guard in self._guards:
            guard.rest()
        store.db.shrink()
        give_back()

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
            begun.append(Guard(store, repo, self._wake, self._news, self._detecting.captured, self._on_progress, self._tallies))
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
        next_beat, last_scan = 0.0, time.monotonic()
        with Store(self._state_dir, durable=False) as store:
            self._endpoint.follow()
            while not self._stop.is_set():
                self._news.wait(_LOOK_S)
                self._news.clear()
                if self._stop.is_set():
                    break
                if not capture.is_alive():
                    raise StoreError("the capture thread ended; see the log, and start guardd again")
                if self._reload_asked.is_set():
                    self._reload_asked.clear()
                    self._load_anew()
                    self._endpoint.follow()
                now = time.monotonic()
                if now - last_scan >= self._duties.scan_interval_s:
                    last_scan = now
                    for guard in self._guards:
                        guard.dirty.rescan("", "")
                beat = now >= next_beat
                if beat:
                    next_beat = now + _BEAT_S
                    self._endpoint.follow()
                self._look_at_guards(store, beat=beat)
            self._endpoint.stop()
            for repo_id in self._said:
                store.repos.fall_silent(repo_id)

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
            self._wake.set()

    def _look_at_guards(self, store: Store, *, beat: bool) -> None:
        guards = self._guards
        states = []
        for repo_id in self._said.keys() - {guard.repo.id for guard in guards}:
            store.repos.fall_silent(repo_id)
            del self._said[repo_id]
            self._announced.discard(repo_id)
        for guard in guards:
            if beat:
                guard.supervise()
            state = self._say(store, guard, beat=beat)
            states.append(state)
            if guard.begun is not None and state is not RepoState.STARTING and guard.repo.id not in self._announced:
                self._announced.add(guard.repo.id)
                log.info("ready", repo=guard.repo.path, **guard.begun)
        self._watch_over_daemon(store, is_whole=all(state is RepoState.PROTECTED for state in states))

    def _watch_over_daemon(self, store: Store, *, is_whole: bool) -> None:
        """Alert to what goes wrong for all repos alike; a crash is over once all of them are protected again."""
        reasons = [str(reason) for reason in list(self._troubles.values())]
        state = RepoState.DEGRADED if reasons else RepoState.PROTECTED if is_whole else RepoState.STARTING
        known, alert = watch(self._known(store, None), state, reasons, clock.now())
        if alert is not None:
            try:
                with store.db.transaction():
                    store.outbox.queue([alert])
            except StoreError as error:  # it is queued at the next look, or when the store can be written again
                log.warning("alert not queued", error=str(error))
                return
            self._alerting.news.set()
        self._protection[None] = known

    def _known(self, store: Store, repo_id: int | None) -> Protection:
        """What people know of the protection of a repo, also from before this daemon's start."""
        if repo_id not in self._protection:
            self._protection[repo_id] = Protection.recalled(repo_id, store.outbox.last(threads_of(repo_id)))
        return self._protection[repo_id]

    def _say(self, store: Store, guard: Guard, *, beat: bool) -> RepoState:
        troubles = list(self._troubles.values())
        live = guard.live(troubles)
        before = self._said.get(guard.repo.id)
        own = [reason for reason in live.reasons if reason not in set(map(str, troubles))]
        own_state = RepoState.PROTECTED if live.state is RepoState.DEGRADED and not own else live.state
        known, alert = watch(self._known(store, guard.repo.id), own_state, own, clock.now())
        if alert is None:
            self._protection[guard.repo.id] = known
        if (
            before
            and not beat
            and alert is None
            and (before.state, before.reasons, before.dirty) == (live.state, live.reasons, live.dirty)
        ):
            return live.state
        if before is None or (before.state, before.reasons) != (live.state, live.reasons):
            log.info("state", repo=guard.repo.path, state=live.state, reasons=list(live.reasons))
        self._said[guard.repo.id] = live
        try:
            store.repos.say(guard.repo.id, live, [alert] if alert is not None else [])
            self._protection[guard.repo.id] = known
        except StoreError as error:  # the capture thread makes it a state; status sees the beat go stale
            log.warning("state not written", error=str(error))
        return live.state

    # -- upkeep thread ------------------------------------------------------------------------------------------

    def _keep_up(self) -> None:
        """Apply retention soon after the start and then each hour, forget old alerts, and keep the ballast in place."""
        wait = _FIRST_UPKEEP_S
        while not self._stop.wait(wait):
            wait = _UPKEEP_S
            try:
                with Store(self._state_dir) as store:
                    freed = collect(store, self._duties.policy, clock.now().wall_ns)
                    store.outbox.forget(clock.now().wall_ns - _KEEP_ALERTS_NS)
                    excess = over_quota_by(store, self._duties.policy)
                self._lay_ballast()
                self._troubles.pop("quota", None)
                if excess:
                    cure = "raise 'quota' in the config, or exclude what need not be kept"
                    self._troubles["quota"] = Reason("over-quota", f"the store is {excess:,} bytes over its quota", cure)
                self._troubles.pop("upkeep", None)
                log.info("upkeep", versions=freed.versions, blobs=freed.blobs, bytes=freed.bytes)
            except Exception as error:  # the outermost loop of this thread: the next hour tries again
                log.error("upkeep failed", error=str(error))
                self._troubles["upkeep"] = Reason("upkeep-failed", str(error), "see the log; it is tried again within the hour")

    def _lay_ballast(self) -> None:
        self._troubles.pop("disk", None)
        if not ballast.lay(self._state_dir):
            cure = f"free {ballast.SIZE // 2**20} MiB or more on the disk of {self._state_dir}"
            self._troubles["disk"] = Reason("disk-almost-full", "there is no room for the store's reserve", cure)
