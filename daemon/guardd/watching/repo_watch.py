"""The watch of one repo: an observer with one emitter, the handler that turns events into hints, the heartbeat."""

import os
import sys
import time
from collections.abc import Callable
from typing import Protocol

from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver

from guardd.model import Reason, RepoPath
from guardd.selection import Selection
from guardd.watching.events import BeatEvent, OverflowEvent, RescanEvent
from guardd.watching.pulse import Pulse

_THREAD_WAKE_S = 1.0


class HintSink(Protocol):
    """Where hints go; called from the watch's thread, must be quick and must not raise."""

    def changed(self, path: RepoPath, *, settled: bool) -> None:
        """One wanted file may differ; `settled`: closed, moved or deleted, not in the middle of being written."""

    def rescan(self, folder: RepoPath, why: str) -> None:
        """Everything below `folder` (`""`: the repo) may differ."""


class RepoWatch:
    """Watches one repo from `start` to `stop`, and can be started again.

    `beat_dir` lies outside of the repo; it is watched by the same kernel queue, so that a file written there proves that
    events still come through. `on_overflow` is called when the kernel dropped events.
    """

    def __init__(
        self,
        root: str,
        selection: Selection,
        sink: HintSink,
        beat_dir: str,
        on_overflow: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root
        self._selection = selection
        self.pulse = Pulse()
        self.handler = _Handler(sink, self.pulse, on_overflow)
        self._beat_dir = beat_dir
        self._observer: BaseObserver | None = None

    def start(self, go_on: Callable[[], None] = lambda: None) -> None:
        """Set every watch that can be set; what changes after the return is hinted. Scan after this, not before.

        `go_on` is called for each directory of the walk, where there is one; it ends the start by raising Interrupted.
        """
        os.makedirs(self._beat_dir, mode=0o700, exist_ok=True)
        observer = self._new_observer(go_on)
        observer.start()
        self._observer = observer
        self.pulse.begin(time.monotonic_ns())  # only now: a long walk is no silence

    def stop(self) -> None:
        """End the watch and its threads; without a watch, nothing."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5.0)
            self._observer = None

    @property
    def alive(self) -> bool:
        """Whether the threads of the watch run: the observer's, and each emitter's."""
        observer = self._observer
        return observer is not None and observer.is_alive() and all(one.is_alive() for one in observer.emitters)

    @property
    def last_event_ns(self) -> int:
        """When the newest event came through, heartbeats included (wall clock); 0 before the first."""
        return self.handler.last_event_ns

    def problems(self) -> list[Reason]:
        """What is not watched, each with its cure; polling stands in for it meanwhile."""
        observer = self._observer
        emitters = list(observer.emitters) if observer else []
        return [reason for one in emitters if hasattr(one, "problems") for reason in one.problems()]

    def beat(self) -> None:
        """Send a heartbeat; `pulse` hears it when it comes back. OSError where the beat dir cannot be written."""
        with open(os.path.join(self._beat_dir, "beat"), "ab"):
            pass  # closing it is the event, also on a full disk

    def _new_observer(self, go_on: Callable[[], None]) -> BaseObserver:
        if sys.platform == "linux":
            from guardd.watching.linux import LinuxEmitter

            observer = BaseObserver(
                LinuxEmitter, timeout=_THREAD_WAKE_S, selection=self._selection, beat_dir=self._beat_dir, go_on=go_on
            )
            observer.schedule(self.handler, self._root, recursive=True)
            return observer
        from guardd.watching.portable import portable_observer

        return portable_observer(self._root, self._selection, self.handler, self._beat_dir)


class _Handler(FileSystemEventHandler):
    def __init__(self, sink: HintSink, pulse: Pulse, on_overflow: Callable[[], None]) -> None:
        self._sink = sink
        self._pulse = pulse
        self._on_overflow = on_overflow
        self.last_event_ns = 0

    def dispatch(self, event: FileSystemEvent) -> None:
        """Turn an event into a hint."""
        self.last_event_ns = time.time_ns()
        if isinstance(event, OverflowEvent):
            self._on_overflow()
        elif isinstance(event, RescanEvent):
            self._sink.rescan(os.fsdecode(event.src_path), event.why)
        elif isinstance(event, BeatEvent):
            self._pulse.hear(time.monotonic_ns())
        else:
            self._sink.changed(os.fsdecode(event.src_path), settled=isinstance(event, FileClosedEvent))
