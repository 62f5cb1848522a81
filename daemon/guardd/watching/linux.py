"""The Linux emitter: inotify(7) with a narrow mask, and every loss made a rescan or a problem."""

import errno
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator

from inotify_simple import Event, INotify, flags
from watchdog.events import FileClosedEvent, FileModifiedEvent
from watchdog.observers.api import EventEmitter, EventQueue, ObservedWatch

from guardd import descriptors
from guardd.errors import Interrupted
from guardd.model import Reason, RepoPath
from guardd.selection import ENVIRONMENT_MARKS, Selection, marks_environment
from guardd.watching.events import BeatEvent, OverflowEvent, RescanEvent

_CAME = flags.CREATE | flags.MOVED_TO
_WENT = flags.DELETE | flags.MOVED_FROM
_SETTLED = flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ATTRIB
_MASK = (
    _CAME | _WENT | flags.CLOSE_WRITE | flags.MODIFY | flags.ATTRIB | flags.DELETE_SELF | flags.MOVE_SELF
    | flags.ONLYDIR | flags.DONT_FOLLOW | flags.EXCL_UNLINK
)  # fmt: skip
_BEAT_MASK = flags.CLOSE_WRITE | flags.ONLYDIR

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_POLL_S = 10.0
_POLLED_ONE_BY_ONE = 20
_ROOT_CHECK_S = 1.0
_PROC_LIMIT = "/proc/sys/fs/inotify/max_user_watches"


class LinuxEmitter(EventEmitter):
    """Emits hints for one repo: FileClosedEvent (settled), FileModifiedEvent (being written), RescanEvent, BeatEvent.

    A watched directory is known by its watch descriptor; one that is also mounted elsewhere in the repo has several
    names, and each of them is hinted. `go_on` is called for each directory of the first walk.
    """

    def __init__(
        self, event_queue: EventQueue, watch: ObservedWatch, *, selection: Selection, beat_dir: str,
        timeout: float = 1.0, event_filter: None = None, go_on: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._root = os.fsdecode(watch.path)
        self._selection = selection
        self._beat_dir = beat_dir
        self._go_on: Callable[[], None] | None = go_on
        self._inotify: INotify | None = None
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wake_lock = threading.Lock()
        self._poller = select.poll()
        self._poller.register(self._wake_fd, select.POLLIN)
        self._paths: dict[int, RepoPath] = {}
        self._watches: dict[RepoPath, int] = {}
        self._aliases: dict[int, set[RepoPath]] = {}
        self._environments: set[RepoPath] = set()
        self._problems: dict[str, Reason] = {}
        self._unwatched: set[RepoPath] = set()
        self._root_identity: tuple[int, int] | None = None
        self._beat_watch = -1
        self._beats = self._overflows = 0
        self._next_poll = 0.0
        self._next_root_check = 0.0

    # -- watchdog's extension points ----------------------------------------------------------------------------

    def on_thread_start(self) -> None:
        """Set the watches, in the thread of whoever starts the observer: when `start` returns, nothing is missed."""
        try:
            self._begin()
        except Interrupted:
            raise
        except Exception as error:
            self._fail(error)
        finally:
            self._go_on = None  # later walks are this thread's own: no sign of life of whoever started it

    def on_thread_stop(self) -> None:
        """Wake the loop, so that it ends at once."""
        with self._wake_lock:
            if self._wake_fd >= 0:  # a closed descriptor's number may be someone else's file by now
                os.eventfd_write(self._wake_fd, 1)

    def run(self) -> None:
        """Emit until stopped, then give the kernel's queue back."""
        try:
            super().run()
        finally:
            self._drop_inotify()
            with self._wake_lock:
                os.close(self._wake_fd)
                self._wake_fd = -1

    def queue_events(self, timeout: float) -> None:
        """Wait for events and emit their hints; any failure begins the watch anew and is a problem until that works."""
        try:
            self._poller.poll(timeout * 1000)
            if not self.should_keep_running():
                return
            if self._inotify is not None:
                self._emit(self._inotify.read(timeout=0))
            self._look_after_itself()
        except Exception as error:  # the outermost loop of this thread: it must say so and go on
            self._fail(error)

    def problems(self) -> list[Reason]:
        """What is not watched, each with its cure."""
        return list(self._problems.values())

    def _fail(self, error: Exception) -> None:
        cure = "guard tries again by itself; see the log if it stays"
        failed = Reason("watch-failed", f"{self._root}: {type(error).__name__}: {error}", cure)
        self._problems["watch-failed"] = descriptors.reason_of(error, failed)
        self._drop_inotify()
        self._next_poll = time.monotonic() + _ROOT_CHECK_S

    # -- events -------------------------------------------------------------------------------------------------

    def _emit(self, events: list[Event]) -> None:
        settled: dict[RepoPath, bool] = {}  # one hint for each path of a batch
        for event in events:
            if event.mask & flags.Q_OVERFLOW:
                self._overflows += 1
                self.queue_event(OverflowEvent("", dest_path=str(self._overflows)))
                self._establish("the kernel's event queue overflowed")
                continue
            if event.wd == self._beat_watch:
                self._beats += 1
                self.queue_event(BeatEvent("", dest_path=str(self._beats)))
                continue
            for folder in self._folders_of(event.wd):
                if event.mask & (flags.IGNORED | flags.DELETE_SELF | flags.MOVE_SELF):
                    self._on_folder_itself(folder, event)
                elif event.name:
                    self._on_entry(folder, event, settled)
            if event.mask & flags.IGNORED:  # only now: above, its names were needed
                self._drop(event.wd)
        for path, is_settled in settled.items():
            self.queue_event(FileClosedEvent(path) if is_settled else FileModifiedEvent(path))

    def _folders_of(self, watch: int) -> list[RepoPath]:
        folder = self._paths.get(watch)
        if folder is None:
            return []
        return [folder, *self._aliases.get(watch, ())]

    def _on_folder_itself(self, folder: RepoPath, event: Event) -> None:
        """The watched directory went, was moved or unmounted: look at its name from above.

        These events may come long after: the kernel holds them back while anyone has the directory open. By then the name
        may be that of another directory, whose watch must stay.
        """
        if self._watches.get(folder) != event.wd:
            return
        if not folder:
            self._root_identity = None
            self._next_root_check = 0.0
            return
        if event.mask & flags.MOVE_SELF:
            self._unwatch(folder)
        elif event.mask & flags.IGNORED:
            self._drop(event.wd)
        self._rescan(folder, "")
        if not event.mask & flags.DELETE_SELF:  # something may be there under this name all the same
            self._watch_tree(folder)

    def _on_entry(self, folder: RepoPath, event: Event, settled: dict[RepoPath, bool]) -> None:
        path = f"{folder}/{event.name}" if folder else event.name
        if event.name in ENVIRONMENT_MARKS and folder:
            self._on_environment_mark(folder, came=bool(event.mask & _CAME), went=bool(event.mask & _WENT))
        elif folder in self._environments:
            return
        elif event.mask & flags.ISDIR:
            self._on_directory(path, event.mask)
        elif event.name == ".gitignore" and self._selection.rules.respect_gitignore:
            self._selection.forget()
            self._establish(".gitignore changed")
        elif self._selection.wants_name(path):
            settled[path] = settled.get(path, False) or bool(event.mask & _SETTLED)

    def _on_directory(self, path: RepoPath, mask: int) -> None:
        if not self._selection.wants_dir(path):
            return
        if mask & _WENT:
            self._unwatch(path)
        else:  # new, moved in, or its permissions changed: watch first, the rescan lists what is there already
            self._watch_tree(path)
        self._rescan(path, "")

    def _on_environment_mark(self, folder: RepoPath, *, came: bool, went: bool) -> None:
        if came:
            self._unwatch(folder)
            self._watch_tree(folder)
        elif went:
            self._environments.discard(folder)
            self._watch_tree(folder)
            self._rescan(folder, "it is no virtual environment any more")

    def _rescan(self, folder: RepoPath, why: str) -> None:
        self.queue_event(RescanEvent(folder, why=why))

    # -- watches ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open the kernel's queue and watch the whole repo."""
        self._drop_inotify()
        inotify = None
        try:
            inotify = INotify()
            self._beat_watch = inotify.add_watch(self._beat_dir, _BEAT_MASK)
        except OSError as error:
            if inotify is not None:
                inotify.close()
            cure = "run 'sudo sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288'"
            none = Reason("watch-instances", f"no file watch to be had: {error.strerror}", cure)
            # EMFILE is said of either limit (inotify_init(2)).
            self._problems["watch-instances"] = descriptors.lack() if descriptors.are_few() else none
            self._next_poll = time.monotonic() + _POLL_S
            return
        self._problems.pop("watch-instances", None)
        self._inotify = inotify
        self._poller.register(inotify.fileno(), select.POLLIN)
        self._establish(None)
        self._problems.pop("watch-failed", None)

    def _drop_inotify(self) -> None:
        if self._inotify is not None:
            self._poller.unregister(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        self._paths, self._watches, self._aliases = {}, {}, {}

    def _establish(self, why: str | None) -> None:
        """Watch the repo as it is now, whatever was watched before; with a reason, have it scanned too."""
        before = set(self._paths)
        self._paths, self._watches, self._aliases = {}, {}, {}
        self._environments.clear()
        self._unwatched.clear()
        self._clear_problems()
        self._root_identity = _identity(self._root)
        self._watch_tree("")
        for watch in before - set(self._paths):
            self._remove(watch)
        if why is not None:
            self._rescan("", why)

    def _watch_tree(self, top: RepoPath) -> None:
        """Watch a directory and all that are wanted below it: each first watched, then listed, so that nothing slips by."""
        pending = [top]
        while pending:
            folder = pending.pop()
            if self._go_on is not None:
                self._go_on()
            if self._add(folder):
                pending += self._wanted_below(folder)

    def _add(self, folder: RepoPath) -> bool:
        """Watch one directory; whether what is below it is to be watched too."""
        if self._inotify is None:
            return False
        try:
            watch = self._inotify.add_watch(os.path.join(self._root, folder) if folder else self._root, _MASK)
        except OSError as error:
            if error.errno not in _GONE:  # its parent tells
                self._cannot_watch(folder, error)
            return False
        self._unwatched.discard(folder)
        if not self._unwatched:
            self._clear_problems()
        self._retire(folder, watch)
        known = self._paths.get(watch)
        if known is not None and known != folder:
            self._rename_watch(watch, known, folder)
        else:
            self._paths[watch] = folder
        self._watches[folder] = watch
        return True

    def _rename_watch(self, watch: int, known: RepoPath, folder: RepoPath) -> None:
        """The directory is watched under another name: it was moved (the event is still to come), or mounted twice."""
        if _identity(os.path.join(self._root, known)) == _identity(os.path.join(self._root, folder)):
            self._aliases.setdefault(watch, set()).add(folder)
        else:
            if self._watches.get(known) == watch:
                del self._watches[known]
            self._paths[watch] = folder
            self._rescan(known, "")

    def _wanted_below(self, folder: RepoPath) -> Iterator[RepoPath]:
        try:
            with os.scandir(os.path.join(self._root, folder) if folder else self._root) as listing:
                entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
        except OSError as error:
            if error.errno not in _GONE:
                self._cannot_watch(folder, error)
            return
        if folder and marks_environment(name for name, _ in entries):
            self._environments.add(folder)  # it stays watched itself, to see the mark go
            return
        for name, is_dir in entries:
            path = f"{folder}/{name}" if folder else name
            if is_dir and self._selection.wants_dir(path):
                yield path

    def _cannot_watch(self, folder: RepoPath, error: OSError) -> None:
        self._unwatched.add(folder)
        self._next_poll = min(self._next_poll or _FAR, time.monotonic() + _POLL_S)
        where = folder or self._root
        if error.errno == errno.ENOSPC:
            limit = _watch_limit()
            message = f"the kernel's limit of {limit:,} watches is reached at {where}; polling every {_POLL_S:.0f} s instead"
            cure = f"run 'sudo sysctl fs.inotify.max_user_watches={max(524_288, 2 * limit)}'"
            self._problems["watch-limit"] = Reason("watch-limit", message, cure)
        elif error.errno != errno.EACCES:  # what may not be read, the scan reports
            cure = "guard polls it meanwhile; see dmesg"
            self._problems["unwatchable"] = descriptors.reason_of(
                error, Reason("unwatchable", f"{where}: {error.strerror}", cure)
            )

    def _clear_problems(self) -> None:
        for code in ("watch-limit", "unwatchable"):
            self._problems.pop(code, None)

    def _unwatch(self, top: RepoPath) -> None:
        """A directory left this name: its watches, and those below it, must not report under the name any longer."""
        below = top + "/"
        for folder in [one for one in self._watches if one == top or one.startswith(below)]:
            watch = self._watches[folder]
            if self._forget(folder):
                self._remove(watch)
        self._environments = {one for one in self._environments if one != top and not one.startswith(below)}
        self._unwatched = {one for one in self._unwatched if one != top and not one.startswith(below)}

    def _retire(self, folder: RepoPath, successor: int) -> None:
        """The name has a new directory: the one that had it before must not report under it any longer."""
        before = self._watches.get(folder)
        if before is not None and before != successor and self._forget(folder):
            self._remove(before)

    def _forget(self, folder: RepoPath) -> bool:
        """Take a name off its watch; whether it was the watch's last one."""
        watch = self._watches.pop(folder, None)
        if watch is None:
            return False
        names = [name for name in self._folders_of(watch) if self._watches.get(name) == watch]
        if names:
            self._paths[watch] = names[0]
            self._aliases[watch] = set(names[1:])
            return False
        self._paths.pop(watch, None)
        self._aliases.pop(watch, None)
        return True

    def _drop(self, watch: int) -> None:
        """The kernel has removed a watch: forget it, but none that has one of its names by now."""
        for name in self._folders_of(watch):
            if self._watches.get(name) == watch:
                del self._watches[name]
        self._paths.pop(watch, None)
        self._aliases.pop(watch, None)

    def _remove(self, watch: int) -> None:
        if self._inotify is not None:
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel removed it already: the directory is gone
                    raise

    # -- looking after itself -----------------------------------------------------------------------------------

    def _look_after_itself(self) -> None:
        now = time.monotonic()
        if now >= self._next_root_check:
            self._next_root_check = now + _ROOT_CHECK_S
            self._check_root()
        if self._next_poll and now >= self._next_poll:
            self._poll()

    def _check_root(self) -> None:
        """See whether the root is still the directory that was watched: a parent may be renamed, or something mounted over."""
        found = _identity(self._root)
        if found is None:
            cure = "bring it back (move, mount), or take it out of the config"
            self._problems["root-missing"] = Reason("root-missing", f"{self._root} is not there, or no directory any more", cure)
            self._root_identity = None
        elif found != self._root_identity:
            self._establish("the root directory was replaced")
            self._problems.pop("root-missing", None)

    def _poll(self) -> None:
        """What cannot be watched is scanned now and then; each time, watching is tried again."""
        self._next_poll = 0.0
        if self._inotify is None:
            self._begin()
            self._rescan("", "")
            return
        waiting, self._unwatched = self._unwatched, set()
        self._clear_problems()
        for folder in sorted(waiting):
            self._watch_tree(folder)
        for folder in sorted(waiting) if len(waiting) <= _POLLED_ONE_BY_ONE else [""]:
            self._rescan(folder, "")


_FAR = float("inf")


def _identity(path: str) -> tuple[int, int] | None:
    """(st_dev, st_ino) of a directory; None where there is none, or only a link to one."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def _watch_limit() -> int:
    with open(_PROC_LIMIT, encoding="ascii") as file:
        return int(file.read())
