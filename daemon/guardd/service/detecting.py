"""Detection and response in the daemon: a thread that tails the log, and one that answers what has settled."""

import threading
import time
from collections.abc import Callable, Container, Sequence
from functools import partial

from guardd import clock, descriptors
from guardd.analysis.sources import Parsers
from guardd.detection.detector import Detector
from guardd.detection.settings import limits_of
from guardd.errors import GuardError, Interrupted, TooManyOpenFiles
from guardd.logs import log
from guardd.model import Incident, Reason
from guardd.recovery.report import Report
from guardd.response.responder import complete, cut_short, respond
from guardd.selection import is_canary
from guardd.service.memory import give_back
from guardd.service.proof import Life
from guardd.service.settings import Duties
from guardd.service.tallies import Tallies
from guardd.store.repos import Repo
from guardd.store.store import Store

_LOOK_S = 2.0
"""At what others committed (0.35 ms a look); capture wakes the thread by itself."""

_LOOK_BUSY_S = 0.1
_SETTLED_LOOK_S = 1.0
_ANSWER_LATER_S = 5.0
"""What settles wakes the thread that answers. What keeps it from an answer (a pause, git, a full disk) is looked at again after
the first of these, then ever later, up to the second."""

_PARSERS_IDLE_S = 10.0
_QUIET_AFTER_S = 60.0
"""So long after the last change everything is decided: only a commit of others is worth a look at the log."""

_YIELD_S = 0.02
_PATIENCE_S = 10.0
"""The longest that detection steps aside for capture, once what goes on is no news."""

_AFTER_FAILURE_S = 5.0


class Detecting:
    """The threads guard-detect and guard-respond. Incidents go into `tallies`.

    `captured` is set when a repo has new versions, `is_behind` tells whether capture has work to do, `alert_news` is set when
    there is something to tell people. guard-detect leaves its signs in `life`.
    What goes wrong in them becomes one of the daemon's `troubles`, under "detection", "response" and "obstacle"; they go on.
    """

    def __init__(
        self,
        state_dir: str,
        duties: Callable[[], Duties],
        stop: threading.Event,
        troubles: dict[str, Reason],
        is_behind: Callable[[], bool],
        captured: threading.Event,
        alert_news: threading.Event,
        tallies: Tallies,
        life: Life,
    ) -> None:
        self._captured = captured
        self._life = life
        self._state_dir = state_dir
        self._duties = duties
        self._stop = stop
        self._troubles = troubles
        self._is_behind = is_behind
        self._alert_news = alert_news
        self._tallies = tallies
        self._patience_s = _PATIENCE_S
        self._settled = threading.Event()
        self._nothing_waits: set[int] = set()
        self._threads = [
            threading.Thread(target=self._detect, name="guard-detect", daemon=True),
            threading.Thread(target=self._respond, name="guard-respond", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> list[threading.Thread]:
        """The threads, which end once `stop` is set: detection after the source in hand, response after the restore in hand."""
        self._captured.set()
        self._settled.set()
        return self._threads

    # -- detection ----------------------------------------------------------------------------------------------

    def _detect(self) -> None:
        while not self._stop.is_set():
            try:
                with Store(self._state_dir) as store, Parsers(go_on=self._go_on) as parsers:
                    self._tail(store, parsers)
            except Interrupted:  # what was not judged to the end is judged after the next start, from the stored cursor
                return
            except Exception as error:  # the outermost loop of this thread: it begins anew from the stored cursor
                self._fail(
                    "detection", "detection-failed", "captures go on; damage is not recognised until it works again", error
                )

    def _tail(self, store: Store, parsers: Parsers) -> None:
        duties: Duties | None = None
        detectors: list[Detector] = []
        said: dict[int, Incident] = {}
        commits, quiet_s = -1, 0.0
        while not self._stop.is_set():
            self._life.works()
            if duties is not self._duties():
                duties = self._duties()
                detectors = []
            added: list[Detector] = []
            if len(detectors) < len(duties.repos):  # a repo that was added is known once capture has come to it
                added = _detectors(store, parsers, duties, {one.repo.path for one in detectors})
                detectors += added
            commits_before, commits = commits, store.db.foreign_commits()
            if added or commits != commits_before or time.monotonic() < quiet_s or any(one.busy for one in detectors):
                # All of them in turn: a burst in one repo must not keep the others waiting.
                while sum(self._round(store, one, said) for one in detectors) and not self._stop.is_set():
                    quiet_s = time.monotonic() + _QUIET_AFTER_S
            else:
                for one in detectors:
                    one.look()
            self._troubles.pop("detection", None)
            if parsers.rest(_PARSERS_IDLE_S):
                for detector in detectors:
                    detector.rest()
                store.blobs.let_go()
                store.db.shrink()
                give_back()
            self._life.waits()
            self._captured.wait(_LOOK_BUSY_S if any(one.busy for one in detectors) else _LOOK_S)
            self._captured.clear()

    def _go_on(self) -> None:
        """Between two sources: a sign of life, and the end when the daemon stops."""
        self._life.works()
        if self._stop.is_set():
            raise Interrupted("guardd was told to stop")

    def _round(self, store: Store, detector: Detector, said: dict[int, Incident]) -> bool:
        self._life.works()
        if descriptors.are_few():  # what git knows, or ruff, would count for nothing where it cannot be asked
            raise TooManyOpenFiles("too few file descriptors to judge by")
        is_more = detector.round(partial(self._tell, store, detector, said))
        if is_more and detector.can_wait:
            self._let_capture_go_first()
        return is_more

    def _let_capture_go_first(self) -> None:
        """Both need the interpreter: a burst of 1,381 files took 0.4 s to capture alone, 1.6 s beside their judging."""
        while self._patience_s > 0 and self._is_behind() and not self._stop.wait(_YIELD_S):
            self._patience_s -= _YIELD_S
        if not self._is_behind():
            self._patience_s = _PATIENCE_S

    def _tell(self, store: Store, detector: Detector, said: dict[int, Incident]) -> None:
        """Log what became of the incidents of a repo: opened, settled, closed."""
        repo = detector.repo
        now = {}
        for incident, members in detector.incidents:
            now[incident.id] = incident
            if not is_canary(members[0].path):  # all members of an incident are, or none
                self._tallies.incident(incident)
        for id_, incident in now.items():
            before = said.get(id_)
            if before is None or (incident.settled, incident.state) != (before.settled, before.state):
                what = "incident settled" if incident.settled else "incident opened"
                log.warning(what, repo=repo.path, id=id_, severity=incident.severity, files=incident.files,
                            damaged=incident.damaged, summary=incident.summary)  # fmt: skip
                self._alert_news.set()
                if incident.settled:
                    self._settled.set()
        for id_ in [id_ for id_, one in said.items() if one.repo_id == repo.id and id_ not in now]:
            closed = store.incidents.get(id_)
            if closed is not None:
                log.info("incident closed", repo=repo.path, id=id_, state=closed.state, note=closed.note)
            self._alert_news.set()
            del said[id_]
        said.update(now)

    # -- response -----------------------------------------------------------------------------------------------

    def _respond(self) -> None:
        wait_s = _SETTLED_LOOK_S
        while not self._stop.is_set():
            is_asked = self._duties().settings.response.auto_restore != "off"
            is_news = self._settled.wait(wait_s if is_asked else _ANSWER_LATER_S)
            self._settled.clear()
            try:
                if self._duties().settings.response.auto_restore != "off":
                    with Store(self._state_dir) as store:
                        is_news |= self._answer(store)
                else:
                    self._say_obstacles(())
                self._troubles.pop("response", None)
            except Exception as error:  # the outermost loop of this thread: it tries again
                self._nothing_waits.clear()
                self._fail("response", "auto-restore-failed", "restore by hand: guardctl incidents list", error)
            wait_s = _SETTLED_LOOK_S if is_news else min(2 * wait_s, _ANSWER_LATER_S)

    def _answer(self, store: Store) -> bool:
        """Answer what has settled in each repo, or complete what was cut short; whether anything was restored."""
        duties, has_restored = self._duties(), False
        obstacles: list[str] = []
        for path, _ in duties.repos:
            repo = store.repos.find(path)
            if repo is None:
                continue
            answered = False
            for incident in store.incidents.open(repo.id):
                if self._stop.is_set():
                    return has_restored
                report = respond(store, repo, incident, duties.response_to(path), clock.now().wall_ns, obstacles.append)
                if report is not None:
                    answered = True
                    log.warning("auto-restored", repo=path, incident=incident.id, **_figures(report))
            if not answered and repo.id not in self._nothing_waits:
                answered = self._complete(store, repo, duties, obstacles.append)
            has_restored |= answered
        self._say_obstacles(obstacles)
        return has_restored

    def _say_obstacles(self, obstacles: Sequence[str]) -> None:
        if obstacles:
            more = f" (and {len(obstacles) - 1} more)" if len(obstacles) > 1 else ""
            cure = "guard restores by itself once that is done"
            self._troubles["obstacle"] = Reason("auto-restore-waits", obstacles[0] + more, cure)
        else:
            self._troubles.pop("obstacle", None)

    def _complete(self, store: Store, repo: Repo, duties: Duties, on_obstacle: Callable[[str], None]) -> bool:
        """Only a crash or an error leaves a restore cut short: once none is, there is none until the next error."""
        waiting = cut_short(store, repo)
        if not waiting:
            self._nothing_waits.add(repo.id)
            return False
        report = complete(store, repo, waiting, duties.response_to(repo.path), clock.now().wall_ns, on_obstacle)
        if report is not None:
            log.warning("auto-restore completed", repo=repo.path, **_figures(report))
        return report is not None

    def _fail(self, what: str, code: str, cure: str, error: Exception) -> None:
        message = str(error) if isinstance(error, GuardError) else f"{type(error).__name__}: {error}"
        if what not in self._troubles:
            is_known = isinstance(error, GuardError) or descriptors.is_lack(error)
            log.error(code.replace("-", " "), error=message, exc_info=not is_known)
        self._troubles[what] = descriptors.reason_of(error, Reason(code, message, cure))
        if what == "detection":
            self._life.waits()
        self._stop.wait(_AFTER_FAILURE_S)


def _figures(report: Report) -> dict[str, float]:
    return {
        "restored": len(report.restored), "removed": len(report.removed), "skipped": len(report.skipped),
        "failed": len(report.failed), "seconds": round(report.seconds, 3),
    }  # fmt: skip


def _detectors(store: Store, parsers: Parsers, duties: Duties, there: Container[str]) -> list[Detector]:
    """A detector for each repo that is known to the store and has none."""
    detection = duties.settings.detection
    limits = limits_of(detection, duties.settings.response)
    repos = [repo for path, _ in duties.repos if path not in there and (repo := store.repos.find(path)) is not None]
    return [
        Detector(store, repo, detection, limits, duties.about(repo.path), parsers, wall_ns=lambda: clock.now().wall_ns)
        for repo in repos
    ]
