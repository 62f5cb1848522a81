"""Alerting in the daemon: a thread that gives alerts to their targets, and sees to it that a process delivers them."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from guardd import clock, descriptors
from guardd.alerting.planning import Terms, assign, due_in_ns, terms_of, wants_word
from guardd.errors import GuardError
from guardd.logs import log
from guardd.model import Alert, Incident, Reason, Stage
from guardd.programs import of_module
from guardd.selection import is_canary
from guardd.service.settings import Duties
from guardd.store.outbox import incident_thread
from guardd.store.store import Store

_LOOK_S, _LOOK_DUE_S = 2.0, 1.0
_REMIND_S = 5.0
_CLOCK_STEP_NS = 5_000_000_000
_AFTER_FAILURE_S = 5.0
_FINISH_S = 3.0
_DIES_AGAIN_S = 60.0


class Alerting:
    """The thread guard-alert. `news` is set when there may be an alert; what goes wrong is the trouble "alerts"."""

    def __init__(
        self, state_dir: str, duties: Callable[[], Duties], stop: threading.Event, troubles: dict[str, Reason],
        news: threading.Event,
    ) -> None:  # fmt: skip
        self._news = news
        self._state_dir = state_dir
        self._duties = duties
        self._stop = stop
        self._troubles = troubles
        self._served: Duties | None = None
        self._courier: subprocess.Popen[str] | None = None
        self._died_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="guard-alert", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> list[threading.Thread]:
        """The thread, which ends once `stop` is set, after what is being delivered."""
        self._news.set()
        return [self._thread]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with Store(self._state_dir) as store:
                    self._serve(store)
            except Exception as error:  # the outermost loop of this thread: it begins anew, the outbox is in the store
                self._fail(error)
        self._dismiss()

    def _serve(self, store: Store) -> None:
        last_reminder_s, parted_ns = 0.0, clock.now().wall_ns - clock.now().boot_ns
        duties: Duties | None = None
        targets: list[Terms] = []
        commits, due_ns = -1, None
        while not self._stop.is_set():
            now = clock.now()
            step_ns = now.wall_ns - now.boot_ns - parted_ns
            if abs(step_ns) > _CLOCK_STEP_NS:
                parted_ns += step_ns
                store.outbox.shift(step_ns)
            if duties is not self._duties():
                duties = self._duties()
                targets = [terms_of(one) for one in duties.settings.alert]
            reminds = now.boot_ns / 1e9 - last_reminder_s >= _REMIND_S
            if reminds:
                last_reminder_s = now.boot_ns / 1e9
                self._drop_gone(store, {one.target for one in targets})
                self._remind(store, targets, now.wall_ns)
            commits_before, commits = commits, store.db.foreign_commits()
            if reminds or commits != commits_before or due_ns is not None:
                assigned = self._assign(store, targets, now.wall_ns)
                due_ns = store.outbox.due_ns()
                is_proven = self._courier is not None or due_ns is None
                if targets and due_ns is not None and not due_in_ns(due_ns, now.wall_ns):
                    self._deliver(poke=assigned)
                if is_proven:
                    self._troubles.pop("alerts", None)
            self._news.wait(_LOOK_S if due_ns is None else _LOOK_DUE_S)
            self._news.clear()
        self._assign(store, targets, clock.now().wall_ns)

    def _drop_gone(self, store: Store, targets: set[str]) -> None:
        """Give up what waits for targets that are gone; not where there is none at all, as without the config."""
        known = store.outbox.pending().keys() | {one.target for one in store.outbox.failing()}
        for gone in known - targets if targets else ():
            store.outbox.drop_all(gone, "no such target is in the config any more")

    # -- who is told what ---------------------------------------------------------------------------------------

    def _assign(self, store: Store, targets: Sequence[Terms], now_ns: int) -> bool:
        """Give the alerts that are new to their targets; whether there was one."""
        alerts = store.outbox.unassigned()
        for alert in alerts:
            told = [] if _is_canarys(store, alert) else targets
            found = [assign(alert, one, store.outbox.of_thread(alert.thread, one.target), now_ns) for one in told]
            store.outbox.assign(
                alert, [delivery for one in found for delivery in one.deliveries], [drop for one in found for drop in one.dropped]
            )
        return bool(alerts)

    def _remind(self, store: Store, targets: Sequence[Terms], now_ns: int) -> None:
        """Queue what only time brings: updates of what grows, repeats of what is still open, targets that are dead."""
        alerts = []
        for path, _ in self._duties().repos:
            repo = store.repos.find(path)
            for incident in store.incidents.open(repo.id) if repo is not None else ():
                alerts += _reminders(store, targets, incident, now_ns)
        for loss in store.outbox.losses():
            heard = [store.outbox.of_thread(loss.thread, one.target) for one in targets]
            if any(wants_word(loss, 0, one, told, loss.time_ns) for one, told in zip(targets, heard, strict=True)):
                alerts.append(loss._replace(stage=Stage.OPENED))
        if alerts:
            with store.db.transaction():
                store.outbox.queue(alerts)
        patience = {one.label: one.dead_after for one in self._duties().settings.alert}
        for failing in store.outbox.failing():
            if not failing.told and now_ns - failing.since_ns > patience.get(failing.target, now_ns):
                store.outbox.tell_failing(failing, now_ns)

    # -- the process that delivers ------------------------------------------------------------------------------

    def _deliver(self, *, poke: bool) -> None:
        """See to it that a process delivers, with the settings in force."""
        if self._courier is not None and (self._courier.poll() is not None or self._served is not self._duties()):
            self._after_end(self._dismiss())
        if self._courier is None:
            from guardd.config.alerts import pack  # pydantic only for those who have targets

            self._served = duties = self._duties()
            self._courier = subprocess.Popen(
                [*of_module("guardd.alerting.delivery"), self._state_dir], stdin=subprocess.PIPE, text=True
            )
            told = {
                "targets": [pack(one) for one in duties.settings.alert],
                "log_level": duties.settings.daemon.log_level,
                "log_format": duties.settings.daemon.log_format,
            }
            self._say(json.dumps(told))
        elif poke:
            self._say("news")

    def _after_end(self, code: int) -> None:
        """Start it again at once if it was killed; if it keeps dying, that is a state."""
        if not code:
            return
        log.warning("delivering process ended", exit=code)
        before, self._died_s = self._died_s, time.monotonic()
        if before is not None and self._died_s - before < _DIES_AGAIN_S:
            raise GuardError(f"the process that delivers alerts ended with exit code {code}, again; see the log")

    def _say(self, line: str) -> None:
        stdin = self._courier.stdin if self._courier is not None else None
        if stdin is None:
            return
        try:
            stdin.write(line + "\n")
            stdin.flush()
        except BrokenPipeError:  # it ended by itself: the next look starts another
            self._dismiss()

    def _dismiss(self) -> int:
        """End the process: by the end of its stdin, so that it writes down what it is sending, else by force. Its exit code."""
        courier, self._courier = self._courier, None
        if courier is None:
            return 0
        try:
            if courier.stdin is not None:
                courier.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return courier.wait(_FINISH_S)
        except subprocess.TimeoutExpired:  # it hangs in a target: what it was sending is sent again
            courier.kill()
            courier.wait()
            return 0

    def _fail(self, error: Exception) -> None:
        message = str(error) if isinstance(error, GuardError) else f"{type(error).__name__}: {error}"
        if "alerts" not in self._troubles:
            is_known = isinstance(error, GuardError) or descriptors.is_lack(error)
            log.error("alerting failed", error=message, exc_info=not is_known)
        failed = Reason("alerting-failed", message, "alerts wait in the store; it is tried again")
        self._troubles["alerts"] = descriptors.reason_of(error, failed)
        self._stop.wait(_AFTER_FAILURE_S)


def _reminders(store: Store, targets: Sequence[Terms], incident: Incident, now_ns: int) -> list[Alert]:
    """One alert for each stage that some target is due to hear of an open incident; the others pass it over."""
    thread = incident_thread(incident)
    as_it_is = Alert(
        0, thread, Stage.OPENED, incident.severity, now_ns, incident.repo_id, incident.id, incident.settled, incident.note
    )
    told = {one: store.outbox.of_thread(thread, one.target) for one in targets}
    stages = {wants_word(as_it_is, incident.last_ns, one, heard, now_ns) for one, heard in told.items()}
    return [as_it_is._replace(stage=stage) for stage in Stage if stage in stages]


def _is_canarys(store: Store, alert: Alert) -> bool:
    """Whether it is about what `doctor --canary` planted, which only whoever planted it needs to know."""
    members = store.incidents.members(alert.incident_id) if alert.incident_id is not None else []
    return bool(members) and is_canary(members[0].path)  # all members of an incident are the canary's, or none
