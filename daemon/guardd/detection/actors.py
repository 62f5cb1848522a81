"""Who did it: the process that was writing while files of the repo changed, as /proc tells it. Probable, never proven."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardd.model import Actor, Certainty

_REMEMBERED_S = 30.0
_BETWEEN_S = 0.1
_SLACK_S = 1.0
"""Between a change and the time at which it is captured."""

_LONGEST_COMMAND = 500


@dataclass(slots=True)
class _Seen:
    """A process with its working directory or an argument in the repo, and how many bytes it has written in our sight."""

    command: str
    written: int
    growth: int
    last: float


class Witness:
    """Looks at the processes while a burst goes on, and remembers them for when it has become an incident."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._looked = 0.0

    def look(self) -> None:
        """Take a look, at most ten times a second (some 5 ms for 300 processes)."""
        now = time.monotonic()
        if now - self._looked < _BETWEEN_S:
            return
        self._looked = now
        for key, command, written in at_work(self._root):
            before = self._seen.get(key)
            growth = max(0, written - before.written) + before.growth if before else 0
            self._seen[key] = _Seen(command, written, growth, now)
        self._seen = {key: seen for key, seen in self._seen.items() if now - seen.last < _REMEMBERED_S}

    def actor(self, begun_s: float) -> Actor:
        """The process that wrote the most while we looked; else, of those seen only once, one that was just started.

        `begun_s`: how long ago the burst began. Who was not seen since did not do it.
        """
        since = time.monotonic() - begun_s - _SLACK_S
        there = [item for item in self._seen.items() if item[1].last >= since]
        by_growth = sorted(there, key=lambda item: (item[1].growth, item[1].written), reverse=True)
        young = (time.clock_gettime(time.CLOCK_BOOTTIME) - _REMEMBERED_S) * os.sysconf("SC_CLK_TCK")
        for (pid, started), seen in by_growth:
            if seen.growth or (seen.written and started > young):
                return Actor(Certainty.PROBABLE, pid, seen.command)
        return Actor()


def at_work(root: str) -> Iterator[tuple[tuple[int, int], str, int]]:
    """((pid, start time), command line, bytes written) of the processes at work in the repo, guard's own left out."""
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no /proc here
        return
    for name in names:
        if int(name) == os.getpid():
            continue
        try:
            words = _words(int(name))
            if not words or any(word.endswith(("/guardd", "/guardctl", "/source_worker.py")) for word in words[:4]):
                continue
            cwd = os.readlink(f"/proc/{name}/cwd")
            if not any(f"{place}/".startswith(f"{root}/") for place in (cwd, *words)):
                continue
            with open(f"/proc/{name}/io", "rb") as file:
                written = int(file.read().split(b"wchar: ")[1].split(b"\n")[0])
            with open(f"/proc/{name}/stat", "rb") as file:
                started = int(file.read().rpartition(b")")[2].split()[19])
        except (OSError, IndexError, ValueError):  # it ended, or belongs to someone else
            continue
        yield (int(name), started), _command(words), written


def is_running(actor: Actor) -> bool:
    """Whether the process is still there, and not another one by its number."""
    try:
        return actor.pid is not None and _command(_words(actor.pid)) == actor.command
    except OSError:
        return False


def _words(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return [os.fsdecode(word) for word in file.read(65536).split(b"\0") if word]


def _command(words: Sequence[str]) -> str:
    return " ".join(words)[:_LONGEST_COMMAND]
