"""The events that our emitters add to watchdog's own. Paths in them are relative to the repo."""

from dataclasses import dataclass

from watchdog.events import FileSystemEvent


@dataclass(unsafe_hash=True)
class RescanEvent(FileSystemEvent):
    """Everything below the folder `src_path` (empty: the repo) may differ; `why` is for people."""

    event_type = "rescan"
    is_directory = True
    why: str = ""


@dataclass(unsafe_hash=True)
class BeatEvent(FileSystemEvent):
    """A heartbeat came through the kernel; `dest_path` numbers it, so that no queue takes two for one."""

    event_type = "beat"


@dataclass(unsafe_hash=True)
class OverflowEvent(FileSystemEvent):
    """The kernel dropped events, because its queue was full; a rescan of everything goes with it. `dest_path` numbers it."""

    event_type = "overflow"
