"""The guard of one repo inside the daemon: its watch, its dirty set, its capture, and how well it is protected."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from guardd import clock, descriptors
from guardd.capture.capturer import Capturer, Looked
from guardd.capture.dirty import Dirty, Due
from guardd.capture.reading import Trouble
from guardd.capture.scanning import Scan
from guardd.errors import Interrupted, StoreFull, TooManyOpenFiles
from guardd.logs import log
from guardd.model import Origin, Reason, RepoPath, RepoState
from guardd.selection import Selection
from guardd.service.proof import STUCK_S
from guardd.service.tallies import Tallies
from guardd.store import ballast
from guardd.store.repos import Live, Repo
from guardd.store.store import Store
from guardd.watching import RepoWatch

_RETRY_S = 5.0
_UNSTEADY_S = 0.2
Progress = Callable[[str, int, int], None]


class Guard:
    """One repo under guard. `work` belongs to the capture thread, `supervise` and `live` to the main thread.

    `wake` is set when there is something to capture, `news` when the main thread should look at once, `captured` when there
    are new versions. `begun` tells what the first scan found, once it is complete. `tallies` are the daemon's. `go_on(baseline)`
    is called all along a capture, which ends early where it raises Interrupted: what was not captured stays dirty.
    """

    def __init__(
        self, store: Store, repo: Repo, wake: threading.Event, news: threading.Event, captured: threading.Event,
        on_progress: Progress | None = None, go_on: Callable[[bool], None] = lambda _: None, tallies: Tallies | None = None,
    ) -> None:  # fmt: skip
        self.repo = repo
        self.begun: dict[str, float] | None = None
        self.dirty = Dirty(wake)
        self._news = news
        self._captured = captured
        self._store = store
        self._selection = Selection(repo.path, repo.rules)
        self._capturer = Capturer(store, repo, self._selection)
        self._on_progress = on_progress
        self._tallies = tallies or Tallies()
        self._go_on = go_on
        beat_dir = os.path.join(store.state_dir, "beat", str(repo.id))
        self._watch = RepoWatch(repo.path, self._selection, self.dirty, beat_dir, self._tallies.overflowed)
        self._ready = False
        self._doubt = ""
        self._failure: Reason | None = None
        self._moved_s: float | None = None  # when the present capture moved on (monotonic); None: there is none
        self._hidden: dict[RepoPath, Reason] = {}
        self._troubled: dict[RepoPath, Trouble] = {}
        self._odd: set[RepoPath] = set()

    def start(self) -> None:
        """Watch first, then scan: what changes in between is hinted, what changed before is found."""
        self._watch.start(lambda: self._go_on(True))
        self._beat()
        self.dirty.rescan("", "")

    def stop(self) -> None:
        """End the watch; hints that are left are for the scan of the next start."""
        self._watch.stop()
        self._capturer.close()

    def rest(self) -> None:
        """Nothing is to be captured for now: end the reading threads. Belongs to the capture thread."""
        self._capturer.close()

    @property
    def is_behind(self) -> bool:
        """Whether something is being captured, or is due to be. Safe for any thread."""
        due = self.dirty.next_due()
        return self._moved_s is not None or (due is not None and due <= time.monotonic())

    @property
    def last_event_ns(self) -> int:
        """When the newest file event or heartbeat came through (wall clock); 0 before the first. Safe for any thread."""
        return self._watch.last_event_ns

    # -- the capture thread -------------------------------------------------------------------------------------

    def work(self) -> int:
        """Capture what is due; how many files that were. Whatever goes wrong becomes a state, and what was taken stays dirty."""
        due = self.dirty.take()
        if not due.paths and not due.folders:
            return 0
        self._moved_s = time.monotonic()
        try:
            self._capture(due)
            self._failure = None
        except Interrupted:
            self._put_back(due, 0.0)
            log.info("capture ended early", repo=self.repo.path, dirty=len(self.dirty))
        except StoreFull as error:
            dropped = ballast.drop(self._store.state_dir)
            self._fail(due, Reason("store-full", str(error), "free some space; captures wait until then"), error)
            if dropped:
                log.warning("ballast dropped", path=self._store.state_dir)
        except OSError as error:
            cure = "bring the directory back, or take the repo out of the config"
            self._fail(due, Reason("root-unusable", f"{self.repo.path}: {error.strerror}", cure), error)
        except Exception as error:  # the outermost loop of the capture thread: it must go on for the other repos
            self._fail(due, Reason("capture-failed", f"{type(error).__name__}: {error}", "see the log; trying again"), error)
        finally:
            self._moved_s = None
        return len(due.paths)

    def _capture(self, due: Due) -> None:
        self._move_on()
        for folder, why in due.folders.items():
            self._scan(folder, why)
        if not self._ready:  # before the first scan, a file that is hinted would be taken for one that was just born
            for path in due.paths:
                self.dirty.again(path, _UNSTEADY_S, due.since[path])
        elif due.paths:
            self._after_look(self._look(due), due.since)

    def _look(self, due: Due) -> Looked:
        return self._capturer.look(
            due.paths, Origin.WATCH, on_progress=self._report_progress,
            on_written=lambda written: self._tallies.captured(due.since[path] for path in written),
        )  # fmt: skip

    def _scan(self, folder: RepoPath, why: str) -> None:
        self._doubt = why
        started = time.monotonic()
        origin = Origin.SCAN if self._ready else Origin.OFFLINE
        found, looked = self._capturer.scan(origin, folder, self._report_progress, self._move_on)
        self._after_scan(found, looked, folder)
        self._doubt = ""
        log.debug(
            "scanned",
            repo=self.repo.path,
            folder=folder,
            why=why,
            files=found.files,
            seconds=time.monotonic() - started,
        )
        if not self._ready and not folder:
            seconds = round(time.monotonic() - started, 3)
            self.begun = {"files": found.files, "captured": len(looked.written), "seconds": seconds}
            self._ready = True
            self._news.set()

    def _after_scan(self, found: Scan, looked: Looked, folder: RepoPath) -> None:
        below = folder + "/" if folder else ""
        self._hidden = {path: why for path, why in self._hidden.items() if folder and not (path + "/").startswith(below)}
        self._troubled = {path: why for path, why in self._troubled.items() if not path.startswith(below)}
        for path, error in found.unreadable.items():
            cure = "give this user the right to read it, or exclude it in the config"
            self._hidden[path] = Reason("unreadable-directory", f"{path or '.'}: {error}", cure)
        for path in found.unmounted:
            cure = "mount it again; if its files are really gone, put any file there, or remove it"
            self._hidden[path] = Reason("unmounted", f"{path or '.'} is empty and not the directory that held its files", cure)
        self._after_look(looked, {})

    def _scan_where_unmounted(self, hinted: Iterable[RepoPath]) -> None:
        """Files came into a folder that was empty: what it held before is gone, or is there again."""
        for folder in [folder for folder, why in self._hidden.items() if why.code == "unmounted"]:
            if any(not folder or path.startswith(folder + "/") for path in hinted):
                self.dirty.rescan(folder, "files came into a folder that was empty")

    def _after_look(self, looked: Looked, hinted: Mapping[RepoPath, float]) -> None:
        for path in hinted:
            self._troubled.pop(path, None)
        self._scan_where_unmounted(hinted)
        for path in looked.again:
            self.dirty.again(path, _UNSTEADY_S, hinted.get(path))
        for path, trouble in looked.troubled.items():
            self._troubled[path] = trouble
            if trouble is Trouble.UNSTEADY:
                self.dirty.again(path, _UNSTEADY_S, hinted.get(path))
            elif trouble is Trouble.NO_DESCRIPTOR:
                self.dirty.again(path, _RETRY_S, hinted.get(path))
            else:
                self.dirty.again(path, 60.0)
        for path, what in looked.odd.items():
            if path not in self._odd:
                log.warning("passed over", repo=self.repo.path, path=path, what=what)
        self._odd.update(looked.odd)
        for path in looked.unkept:
            log.warning("content not kept", repo=self.repo.path, path=path, limit=self.repo.rules.max_file_size)
        if looked.written:
            self._captured.set()
            log.debug("captured", repo=self.repo.path, versions=len(looked.written))

    def _fail(self, due: Due, otherwise: Reason, error: Exception) -> None:
        reason = descriptors.reason_of(error, otherwise)
        if self._failure is None or self._failure.code != reason.code:
            log.error(
                "capture failed",
                repo=self.repo.path,
                code=reason.code,
                error=str(error),
                exc_info=not isinstance(error, (StoreFull, TooManyOpenFiles, OSError)),
            )
        self._failure = reason
        self._put_back(due, _RETRY_S)

    def _put_back(self, due: Due, in_s: float) -> None:
        for path, since in due.since.items():
            self.dirty.again(path, in_s, since)
        for folder, why in due.folders.items():
            self.dirty.rescan_again(folder, why, in_s)

    def _report_progress(self, done: int, total: int) -> None:
        self._move_on()
        if not self._ready and self._on_progress is not None:
            self._on_progress(self.repo.path, done, total)

    def _move_on(self) -> None:
        self._moved_s = time.monotonic()
        self._go_on(not self._ready)

    # -- the main thread ----------------------------------------------------------------------------------------

    def supervise(self) -> None:
        """Send a heartbeat through the watch; begin the watch anew where nothing has come back for too long."""
        if not self._watch.alive or self._watch.pulse.overdue(time.monotonic_ns()):
            log.error("events stopped", repo=self.repo.path)
            self._watch.pulse.lose()
            self._watch.stop()
            try:
                self._watch.start()
            except OSError as error:  # it is tried again with the next beat
                log.error("watch not begun", repo=self.repo.path, error=str(error))
            self.dirty.rescan("", "events had stopped")
        self._beat()

    def _beat(self) -> None:
        try:
            self._watch.beat()
        except OSError as error:  # events that do not come back will say so soon
            log.warning("heartbeat not sent", repo=self.repo.path, error=str(error))

    def live(self, troubles: Sequence[Reason] = ()) -> Live:
        """How the repo is at this moment; `troubles` are those of the whole daemon."""
        silent = self._watch.pulse.silent(time.monotonic_ns())
        reasons = [*self._reasons(silent=silent), *troubles]
        is_proven = self._watch.pulse.heard_ns is not None or self._watch.problems()
        if silent:
            state = RepoState.DESYNCED
        elif not (self._ready and is_proven) and self._failure is None:
            state = RepoState.STARTING
        else:
            state = RepoState.DEGRADED if reasons else RepoState.PROTECTED
        now = clock.now()
        texts = tuple(dict.fromkeys(map(str, reasons)))  # what the whole daemon lacks may fail in several places
        return Live(state, texts, len(self.dirty), self.dirty.lag_ns(), now.wall_ns, now.awake_ns)

    def _reasons(self, *, silent: bool) -> list[Reason]:
        reasons = [*self._watch.problems(), *list(self._hidden.values())]
        if self._failure:
            reasons.append(self._failure)
        moved_s = self._moved_s
        if self._ready and moved_s is not None and time.monotonic() - moved_s > STUCK_S:
            cure = "look whether its disk (or network file system) answers"
            reasons.append(Reason("capture-stuck", f"the present capture has stood still for more than {STUCK_S:.0f} s", cure))
        if silent:
            reasons.append(Reason("events-stopped", "no file event came through for 35 s", "the watch begins anew by itself"))
        reasons += [Reason("rescan", why, "wait: a scan is under way") for why in {self._doubt, *self.dirty.doubts()} if why]
        troubled = list(self._troubled.items())
        if any(trouble is Trouble.NO_DESCRIPTOR for _, trouble in troubled):
            reasons.append(descriptors.lack())
        if troubled := [one for one in troubled if one[1] is not Trouble.NO_DESCRIPTOR]:
            path, trouble = troubled[0]
            more = f" and {len(troubled) - 1} more" if len(troubled) > 1 else ""
            reasons.append(Reason("unreadable-file", f"{path}{more}: {trouble.value}", "make it readable, or exclude it"))
        return reasons
