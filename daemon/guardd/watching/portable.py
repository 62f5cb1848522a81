"""Other platforms: watchdog's own observer, its events mapped to hints; the periodic scan finds what it loses."""

import os
import time

from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from guardd.model import RepoPath
from guardd.selection import Selection
from guardd.watching.events import BeatEvent, RescanEvent

_READING = ("opened", "closed_no_write")


def portable_observer(
    root: str,
    selection: Selection,
    handler: FileSystemEventHandler,
    beat_dir: str,
    observer: BaseObserver | None = None,
) -> BaseObserver:
    """An observer of the platform (or the given one) that hands our hints for `root` to `handler`; not yet started."""
    observer = observer or Observer()
    observer.schedule(_Beats(handler), beat_dir)
    observer.schedule(_Mapped(root, selection, handler), root, recursive=True)
    return observer


class _Beats(FileSystemEventHandler):
    def __init__(self, handler: FileSystemEventHandler) -> None:
        self._handler = handler

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._handler.dispatch(BeatEvent("", dest_path=str(time.monotonic_ns())))


class _Mapped(FileSystemEventHandler):
    def __init__(self, root: str, selection: Selection, handler: FileSystemEventHandler) -> None:
        self._root = root
        self._selection = selection
        self._handler = handler

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _READING:
            return
        for path in (event.src_path, event.dest_path):
            relative = self._relative(os.fsdecode(path))
            if relative is None:
                continue
            if event.is_directory and event.event_type != "modified" and self._selection.wants_dir(relative):
                self._handler.dispatch(RescanEvent(relative, why=""))
            elif not event.is_directory and self._selection.wants(relative):
                self._handler.dispatch(FileClosedEvent(relative))

    def _relative(self, path: str) -> RepoPath | None:
        return path[len(self._root) + 1 :] if path.startswith(self._root + "/") else None
