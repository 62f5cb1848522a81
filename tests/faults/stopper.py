"""Stops a program at its N-th commit, change of a name, or sync, so that a test may kill it or cut its power, or has that fail.

Run as a program, it has all imports, and forks a process for each request. The stop is a SIGSTOP of that process, by itself: what
others can read of the store by then is what was acknowledged.
"""

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "PRAGMA WAL_CHECKPOINT", "PRAGMA INCREMENTAL_VACUUM")
_NAMES = ("rename", "replace", "link", "unlink", "symlink", "mkdir", "rmdir", "fsync", "fdatasync", "posix_fallocate")


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a program is to be stopped: before or after its `at`-th point; 0: nowhere. Points count once `armed_by` exists.

    `fails`: it is not stopped there, but the point fails as on a bad sector (EIO), this once, and nothing of it is done.
    """

    at: int = 0
    after: bool = False
    armed_by: Path | None = None
    fails: bool = False


class Stopped:
    """A program on its way to its stop, or to its end."""

    def __init__(self, server: "Stopper", log: Path) -> None:
        self._server = server
        self._log = log
        self.pid = int(server.answer()["pid"])
        self._said: dict[str, int] | None = None
        self._killed = False

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def has_come(self, timeout_s: float) -> bool:
        """Whether it has stopped, or ended, within this time."""
        if self._said is None and self._server.has_answer(timeout_s):
            self._said = self._server.answer()
        return self._said is not None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was killed."""
        return self._killed or (self.has_come(0) and not self.is_stopped)

    @property
    def is_stopped(self) -> bool:
        assert self.has_come(60), self.output
        assert self._said is not None
        return "stopped" in self._said

    @property
    def end(self) -> tuple[int, int]:
        """Its exit code and how many points it came by, once it has ended by itself."""
        assert not self.is_stopped
        assert self._said is not None
        return self._said["exit"], self._said["points"]

    def go_on(self) -> None:
        """Let it run from its stop to its end, by which `end` says how that was."""
        assert self.is_stopped
        self._server.ask({"go_on": self.pid})
        self._said = None

    def kill(self) -> None:
        """Kill it with all that it started, wherever it is by now; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self.has_come(60)
        if self.is_stopped:
            self._server.ask({"reap": self.pid})
            self._server.answer()
        self._killed = True


class Stopper:
    """The process that forks; ends with the `with` block."""

    def __enter__(self) -> "Stopper":
        self._last: Stopped | None = None
        here = Path(__file__)
        environment = {**os.environ, "PYTHONPATH": str(here.parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, here], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0
        )
        assert self.answer() == {"ready": 1}
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._end_last()
        self._process.stdin.close()
        self._process.wait(20)

    def begin(self, words: list[str], env: Mapping[str, str], cwd: Path, log: Path, stop: Stop) -> Stopped:
        """Start a program, `guardctl` or `guardd`, its output into `log`; the one before it has ended, or is killed."""
        self._end_last()
        log.unlink(missing_ok=True)
        log.touch()
        request = {"words": words, "env": dict(env), "cwd": str(cwd), "log": str(log), "at": stop.at, "after": stop.after}
        self.ask(request | {"armed_by": str(stop.armed_by or ""), "fails": stop.fails})
        self._last = Stopped(self, log)
        return self._last

    def _end_last(self) -> None:
        """A test that failed may have left its program behind."""
        if self._last is not None and not self._last.is_over:
            self._last.kill()

    def ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def answer(self) -> dict[str, int]:
        assert self._process.stdout
        said: dict[str, int] = json.loads(self._process.stdout.readline())
        return said

    def has_answer(self, timeout_s: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], timeout_s)[0])


# -- the process that forks ------------------------------------------------------------------------------------------


def _serve() -> None:
    from tests import fork_server

    fork_server.import_all()
    _say(ready=1)
    for line in _requests():
        request = json.loads(line)
        counted, counting = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(counted)
            _become(request, counting)
        os.close(counting)
        _say(pid=pid)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            _say(stopped=1)
            if "go_on" in json.loads(next(_requests())):
                os.kill(pid, signal.SIGCONT)
                _, status = os.waitpid(pid, 0)
            else:  # it is killed by now
                os.waitpid(pid, 0)
                _say(reaped=1)
        if not os.WIFSTOPPED(status):
            points = int(os.read(counted, 20) or b"0")
            _say(exit=os.waitstatus_to_exitcode(status), points=points)
        os.close(counted)


def _requests() -> Iterator[bytes]:
    """The lines of stdin; nothing is read ahead, so that no child has it too."""
    line = b""
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            yield line
            line = b""


def _say(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def _become(request: dict[str, Any], counting: int) -> None:
    """Be the program until its stop, or its end."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, one in enumerate((nothing, log, log)):
        os.dup2(one, number)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = request["words"]
    points = _Points(request["at"], after=request["after"], armed_by=request["armed_by"], fails=request["fails"])
    points.patch_in()
    code = 1
    try:
        code = _carry_out(request["words"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counting, str(points.count).encode())
        os._exit(code)


def _carry_out(words: list[str]) -> int:
    if words[0] == "guardctl":
        from guardd.cli.main import run

        return run(words[1:])
    from guardd.service.main import main

    main()
    return 0


class _Points:
    """Counts the points as they come, and stops the process at one of them, or has it fail."""

    def __init__(self, at: int, *, after: bool, armed_by: str = "", fails: bool = False) -> None:
        self.count = 0
        self._fails = fails
        self._at = at
        self._after = after
        self._armed_by = armed_by
        self._lock = threading.Lock()

    def patch_in(self) -> None:
        from guardd.recovery import apply
        from guardd.store.database import Database

        for name in ("run", "insert", "run_many", "rows", "row"):
            setattr(Database, name, self._stopping(getattr(Database, name), _commits))
        for name in _NAMES:
            setattr(os, name, self._stopping(getattr(os, name)))
        os.open = self._stopping(os.open, lambda path, flags, *_, **__: bool(flags & (os.O_CREAT | os.O_TRUNC)))
        for name in ("exchange", "move_to_free_name", "sync_filesystem"):
            setattr(apply, name, self._stopping(getattr(apply, name)))

    def _stopping(self, function: Callable[..., Any], is_point: Callable[..., bool] = lambda *_, **__: True) -> Any:
        @wraps(function)
        def stopping(*values: Any, **named: Any) -> Any:
            is_here = is_point(*values, **named) and self._is_here()
            if is_here and self._fails:
                raise _as_the_disk_says(values[0])
            if is_here and not self._after:
                os.kill(os.getpid(), signal.SIGSTOP)
            try:
                return function(*values, **named)
            finally:
                if is_here and self._after:
                    os.kill(os.getpid(), signal.SIGSTOP)

        return stopping

    def _is_here(self) -> bool:
        if self._armed_by and not os.path.exists(self._armed_by):
            return False
        with self._lock:
            self.count += 1
            return self.count == self._at


def _as_the_disk_says(first: Any) -> Exception:
    """EIO; where it is SQLite's call that meets it, as guard's connection tells it."""
    import apsw

    from guardd.store.database import Database, _as_store_error

    if isinstance(first, Database):
        return _as_store_error(apsw.IOError("disk I/O error"), first.path)
    return OSError(errno.EIO, os.strerror(errno.EIO), first if isinstance(first, str) else None)


def _commits(database: Any, sql: str, *_: object) -> bool:
    """Whether a statement makes something durable: the end of a transaction that wrote, or a write by itself."""
    import apsw

    words = " ".join(sql.split(None, 2)[:2]).upper()
    if words == "COMMIT":
        return bool(database._db.txn_state("main") == apsw.SQLITE_TXN_WRITE)
    return not database._db.in_transaction and words.startswith(_WRITES)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    _serve()
