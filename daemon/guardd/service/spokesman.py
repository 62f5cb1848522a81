"""The spokesman: says how each repo is, into store and log, and tells people when protection is lost, and when it is back."""

import threading
import time
from collections.abc import Sequence

from guardd import clock, descriptors
from guardd.alerting.protection import Protection, threads_of, unguarded, watch
from guardd.errors import StoreError
from guardd.logs import log
from guardd.model import Alert, Reason, RepoState
from guardd.service.guard import Guard
from guardd.store.repos import Live
from guardd.store.store import Store


class Spokesman:
    """Belongs to the main thread. `troubles` are those of the whole daemon, `alert_news` is set when there is an alert.

    `said` is the last word on each repo, by its id; `ready` are the repos whose baseline is complete; `wrote_s` is when the store
    last took a word (monotonic seconds).
    """

    def __init__(self, troubles: dict[str, Reason], alert_news: threading.Event) -> None:
        self.said: dict[int, Live] = {}
        self.ready: set[int] = set()
        self.wrote_s = 0.0
        self._troubles = troubles
        self._alert_news = alert_news
        self._known: dict[int | None, Protection] = {}

    def speak(self, store: Store, guards: Sequence[Guard], wanted: int, *, beat: bool) -> None:
        """Say what is new; with `beat` also what is not, so that everyone sees that the daemon lives.

        `wanted`: how many repos are to be guarded.
        """
        for repo_id in self.said.keys() - {guard.repo.id for guard in guards}:
            gone = unguarded(self._recalled(store, repo_id), clock.now().wall_ns)
            self._fall_silent(store, repo_id, [gone] if gone is not None else [])
            del self.said[repo_id], self._known[repo_id]
            self.ready.discard(repo_id)
        states = []
        for guard in guards:
            state = self._say(store, guard, beat=beat)
            states.append(state)
            if guard.begun is not None and state is not RepoState.STARTING and guard.repo.id not in self.ready:
                self.ready.add(guard.repo.id)
                log.info("ready", repo=guard.repo.path, **guard.begun)
        self._watch_over_daemon(store, is_whole=states == [RepoState.PROTECTED] * wanted)

    def fall_silent(self, store: Store) -> None:
        """The daemon stops in order."""
        for repo_id in self.said:
            self._fall_silent(store, repo_id, [])

    def _fall_silent(self, store: Store, repo_id: int, alerts: Sequence[Alert]) -> None:
        try:
            store.repos.fall_silent(repo_id, alerts)
        except StoreError as error:  # its last word goes stale, and a daemon that ends drops its lock too
            log.warning("state not written", error=str(error))

    def _say(self, store: Store, guard: Guard, *, beat: bool) -> RepoState:
        repo_id, troubles = guard.repo.id, list(self._troubles.values())
        live, before = guard.live(troubles), self.said.get(guard.repo.id)
        known, alerts = self._watch_over(store, repo_id, live, troubles)
        is_new = before is None or (before.state, before.reasons) != (live.state, live.reasons)
        if not (is_new or beat or alerts) and before is not None and before.dirty == live.dirty:
            self._known[repo_id] = known
            return live.state
        if is_new:
            log.info("state", repo=guard.repo.path, state=live.state, reasons=list(live.reasons))
        self.said[repo_id] = live
        try:
            store.repos.say(repo_id, live, alerts)
        except StoreError as error:  # status sees the beat go stale; the alert is queued at a later look
            if "live" not in self._troubles:  # it is tried every 3 s, and the log may be on the same full disk
                log.warning("state not written", error=str(error))
            unwritten = Reason("state-not-written", str(error), "it is written again as soon as the store lets it")
            self._troubles["live"] = descriptors.reason_of(error, unwritten)
        else:
            self._known[repo_id] = known
            self.wrote_s = time.monotonic()
            self._troubles.pop("live", None)
            if alerts:
                self._alert_news.set()
        return live.state

    # -- protection ---------------------------------------------------------------------------------------------

    def _watch_over(self, store: Store, repo_id: int, live: Live, troubles: Sequence[Reason]) -> tuple[Protection, list[Alert]]:
        """What people know of a repo, what the whole daemon suffers from aside, and what they must be told."""
        shared = set(map(str, troubles))
        own = [reason for reason in live.reasons if reason not in shared]
        state = RepoState.PROTECTED if live.state is RepoState.DEGRADED and not own else live.state
        known, alert = watch(self._recalled(store, repo_id), state, own, clock.now().wall_ns, time.monotonic_ns())
        return known, [alert] if alert is not None else []

    def _watch_over_daemon(self, store: Store, *, is_whole: bool) -> None:
        """Alert to what goes wrong for all repos alike; a crash is over once all of them are protected again."""
        reasons = [str(reason) for reason in list(self._troubles.values())]
        state = RepoState.DEGRADED if reasons else RepoState.PROTECTED if is_whole else RepoState.STARTING
        known, alert = watch(self._recalled(store, None), state, reasons, clock.now().wall_ns, time.monotonic_ns())
        if alert is not None:
            try:
                with store.db.transaction():
                    store.outbox.queue([alert])
            except StoreError:  # "live" says so; it is queued at a later look, when the store can be written again
                return
            self._alert_news.set()
        self._known[None] = known

    def _recalled(self, store: Store, repo_id: int | None) -> Protection:
        """What people know of the protection of a repo, also from before this daemon's start."""
        if repo_id not in self._known:
            self._known[repo_id] = Protection.recalled(repo_id, store.outbox.last(threads_of(repo_id)))
        return self._known[repo_id]
