"""guardd and guardctl on one tree, with a state dir of their own."""

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import PROGRAMS, clean_environment, timed
from guardd.capture.capturer import Capturer
from guardd.model import Origin
from guardd.store.codec import DENSE
from guardd.store.store import Store

_TIMEOUT_S = 900.0


def wait_for(condition: Callable[[], object], what: str, every_s: float = 0.02) -> None:
    """Until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_TIMEOUT_S:.0f} s: {what}")
        time.sleep(every_s)


def wait_past(store: Store, place: int) -> float:
    """Until the log has gone on from this place; seconds. Raises TimeoutError: a save was not captured within 10 s."""
    begun = time.perf_counter()
    while store.log.last_seq() == place:
        if time.perf_counter() - begun > 10:
            raise TimeoutError("a save was not captured within 10 s")
        time.sleep(0.0002)
    return time.perf_counter() - begun


class Daemon:
    """A running guardd and what it has logged."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._events: list[dict[str, Any]] = []
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                self._ready.set()
            self._events.append(event)
        self._ready.set()

    def wait_ready(self) -> None:
        """Until its baseline, or its first scan, is complete. Raises RuntimeError where it ended instead."""
        self._ready.wait(_TIMEOUT_S)
        if not any(event["event"] == "ready" for event in self._events):
            raise RuntimeError(f"guardd did not become ready: {self._events[-3:]}")

    def times(self, name: str) -> list[float]:
        """When events of this name were logged (seconds since the epoch)."""
        return [datetime.fromisoformat(one["timestamp"]).timestamp() for one in list(self._events) if one["event"] == name]


class Guard:
    """Our programs on the tree at `root`; the store lies in `base`."""

    def __init__(self, base: Path, root: Path) -> None:
        self.base, self.root, self.state = base, root, base / "state"
        base.mkdir(parents=True, exist_ok=True)
        self.env = clean_environment() | {"GUARD_STATE_DIR": str(self.state), "XDG_CONFIG_HOME": str(base / "config")}

    def forget(self) -> None:
        """Begin with an empty store."""
        shutil.rmtree(self.state, ignore_errors=True)

    @contextlib.contextmanager
    def running(self, *, ready: bool = True) -> Iterator[Daemon]:
        """The daemon, from ready on; stopped in order at the end, after which the store's WAL is in its database."""
        command: list[str | Path] = [PROGRAMS / "guardd", "--repo", self.root, "--log-format", "json"]
        with subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        ) as process:
            daemon = Daemon(process)
            try:
                if ready:
                    daemon.wait_ready()
                yield daemon
            finally:
                process.terminate()
                process.wait()

    def start(self) -> float:
        """Seconds from the start of guardd until it is ready; it is stopped then."""
        begun = time.perf_counter()
        with self.running():
            return time.perf_counter() - begun

    def baseline(self) -> float:
        """Seconds from the start of guardd with an empty store until it is ready: every file stored and synced, and watched."""
        self.forget()
        return self.start()

    def prepare(self, *, compact: bool = False) -> None:
        """A baseline that has come to rest, and no daemon; `compact`: it had time to compress densely, too."""
        self.forget()
        with self.running():
            self.wait_quiet()
            if compact:
                self.wait_compact()

    def ctl(self, *words: str) -> float:
        """Seconds of a whole guardctl command."""
        return timed([PROGRAMS / "guardctl", *words], self.root, self.env)

    def store(self) -> Store:
        """A connection to the store."""
        return Store(str(self.state))

    def last_seq(self) -> int:
        """The end of the log."""
        with self.store() as store:
            return store.log.last_seq()

    def wait_quiet(self, still_s: float = 0.6, *, judged: bool = True, timeout_s: float = _TIMEOUT_S) -> None:
        """Until nothing was captured for a while and, if `judged`, detection has thought about all of it."""
        with self.store() as store:
            repo = store.repos.find(str(self.root))
            if repo is None:
                raise RuntimeError(f"{self.root} is not guarded")
            seen, since = -1, time.monotonic()
            deadline = since + timeout_s
            while time.monotonic() - since < still_s:
                last = store.log.last_seq()
                if last != seen or (judged and store.incidents.cursor(repo.id) not in (None, last)):
                    seen, since = last, time.monotonic()
                if time.monotonic() > deadline:
                    raise TimeoutError("the daemon does not come to rest")
                time.sleep(0.02)

    def wait_compact(self) -> None:
        """Until the daemon has compressed densely what it stored quickly, which it does when it rests."""
        loose = "SELECT count(*) FROM frames WHERE level < ?"
        with self.store() as store:
            wait_for(lambda: store.db.value(loose, (DENSE,)) == 0, "the store compact", every_s=0.5)

    def store_bytes(self) -> int:
        """Bytes of all that lies in the state dir, but for the ballast, which is free space held in reserve."""
        files = (path for path in self.state.rglob("*") if path.is_file() and path.name != "ballast")
        return sum(path.stat().st_size for path in files)

    @contextlib.contextmanager
    def capturer(self) -> Iterator[Capturer]:
        """What captures in the daemon, in this process."""
        with self.store() as store:
            repo = store.repos.find(str(self.root))
            if repo is None:
                raise RuntimeError(f"{self.root} is not guarded")
            capturer = Capturer(store, repo)
            try:
                yield capturer
            finally:
                capturer.close()


def rescan(capturer: Capturer) -> float:
    """Seconds of one scan of the whole repo. Raises RuntimeError if it found anything: nothing had changed."""
    begun = time.perf_counter()
    _, looked = capturer.scan(Origin.SCAN)
    taken = time.perf_counter() - begun
    if looked.written or looked.again:
        raise RuntimeError(f"a scan with nothing changed wrote {looked.written[:3]} {looked.again[:3]}")
    return taken
