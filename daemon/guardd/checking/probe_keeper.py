"""The program that keeps one import within its limits and ends all that it started. Run alone (-I -S), never imported.

The task comes as one JSON line on stdin, which stays open: its end means that whoever asked is gone. What happened goes to
stdout as JSON. It is a process of its own because only the process that is asked to (prctl(2), PR_SET_CHILD_SUBREAPER) inherits
what a module leaves behind, and because a namespace without network can be entered, but not left.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

_IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MEMORY_TO_TELL = 64 * 2**20
"""Over the limit, for what has run into it and must say so."""
_LOOKS = 8
"""How often in its time the stacks are taken."""
_LAST_LOOKS, _LAST_LOOK_S, _QUIET_S = 2, 1.0, 0.02
"""Two looks: of one that stopped itself, the timer goes off as it is woken, and writes between the lines of the first."""
_CALL = b'  File "'
_COMING_UP_S = 20.0
"""For the interpreter itself, before its time begins to count."""
_ENDING_S = 2.0
_MOST_KEPT = {"records": 1 << 18, "trace": 1 << 19, "output": 1 << 13}

_libc = ctypes.CDLL(None, use_errno=True)


class Pipe:
    """What the child writes to one descriptor, read as it comes; the end of it is kept."""

    def __init__(self, most: int) -> None:
        self.content = b""
        self.is_open = True
        self._most = most
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> None:
        """Take some of what is there now."""
        with contextlib.suppress(BlockingIOError):
            part = os.read(self.reader, 1 << 16)
            self.is_open = bool(part)
            self.content = (self.content + part)[-self._most :]


def main() -> None:
    """Carry out the task on stdin."""
    task = json.loads(sys.stdin.buffer.readline())
    offline = _leave_network() if _IS_LINUX else False
    if _IS_LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    pipes = {name: Pipe(most) for name, most in _MOST_KEPT.items()}
    started = time.monotonic()
    try:
        child = _start(task, pipes)
    except OSError as error:
        _answer(refused=error.strerror)
        return
    for pipe in pipes.values():
        os.close(pipe.writer)
    try:
        timed_out = not _watch(child, pipes, wake, task["timeout_s"])
        seconds = time.monotonic() - started
        busy_seconds = _busy_seconds(child)
    finally:
        _end(child)
    for _ in range(4):  # what a pipe holds at most is 64 KiB; one may be kept open and filled for ever by what we may not kill
        for pipe in pipes.values():
            pipe.read()
    told = {name: pipe.content.decode("latin-1") for name, pipe in pipes.items()}
    _answer(exit=child.returncode, timed_out=timed_out, offline=offline, seconds=seconds, busy_seconds=busy_seconds, **told)


def _answer(**told: object) -> None:
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()


def _start(task: dict[str, Any], pipes: dict[str, Pipe]) -> "subprocess.Popen[bytes]":
    records, trace, output = pipes["records"].writer, pipes["trace"].writer, pipes["output"].writer
    numbers = [str(records), str(trace), str(task["timeout_s"] / _LOOKS), str(int(_look_signal()))]
    return subprocess.Popen(
        [*task["command"], task["module"], *numbers, *task["roots"]], cwd=task["root"], stdin=subprocess.DEVNULL, stdout=output,
        stderr=output, pass_fds=(records, trace), start_new_session=True, preexec_fn=_limits(task["memory_bytes"]),  # noqa: PLW1509  a single thread
    )  # fmt: skip


def _look_signal() -> int:
    """What asks the child for its stacks: one that hardly any program uses."""
    return signal.SIGRTMAX - 5 if _IS_LINUX else signal.SIGUSR2


def _limits(memory: int) -> Callable[[], None]:
    """What the child does to itself between fork and exec.

    RLIMIT_DATA, not RLIMIT_AS: it counts neither files that are mapped nor addresses that are merely set aside, of which threads
    and large libraries take gigabytes. No core file: it would be written into the repo.
    """
    import resource

    def limit() -> None:
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            most = memory + _MEMORY_TO_TELL
            most = most if hard == resource.RLIM_INFINITY else min(hard, most)
            resource.setrlimit(resource.RLIMIT_DATA, (min(memory, most), most))
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if _IS_LINUX:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")  # where memory runs out all the same, it goes first

    return limit


def _watch(child: "subprocess.Popen[bytes]", pipes: dict[str, Pipe], wake: int, timeout_s: float) -> bool:
    """Read what the child says until it ends (true) or its time is over (false), and in that case take its stacks once more."""
    has_begun = False
    deadline = time.monotonic() + _COMING_UP_S
    while (now := time.monotonic()) < deadline:
        if child.poll() is not None:
            return True
        _read(pipes, wake, deadline - now)
        if not has_begun and pipes["records"].content:
            has_begun = True
            deadline = time.monotonic() + timeout_s
    for _ in range(_LAST_LOOKS):
        _look(child, pipes, wake, now + _LAST_LOOK_S)
    return False


def _read(pipes: dict[str, Pipe], wake: int, timeout_s: float) -> None:
    waited_for = {pipe.reader: pipe for pipe in pipes.values() if pipe.is_open}
    for descriptor in select.select([*waited_for, wake, 0], [], [], timeout_s)[0]:
        if descriptor == wake:
            os.read(wake, 64)
        elif descriptor:
            waited_for[descriptor].read()
        else:
            sys.exit()  # whoever asked is gone; main ends the child on the way out


def _look(child: "subprocess.Popen[bytes]", pipes: dict[str, Pipe], wake: int, deadline: float) -> None:
    """Ask for the stacks, and read them; the timer in the child may have been taken from us.

    One that stopped itself answers where it stands. They are all there when whole lines of them were followed by nothing.
    """
    for number in (_look_signal(), signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, number)
    trace = pipes["trace"]
    trace.content, earlier = b"", trace.content
    seen, quiet_from = b"", time.monotonic()
    while child.poll() is None and (now := time.monotonic()) < deadline:
        if trace.content != seen:
            seen, quiet_from = trace.content, now
        elif _CALL in seen and seen.endswith(b"\n") and now > quiet_from + _QUIET_S:
            break
        _read(pipes, wake, _QUIET_S)
    trace.content = (earlier + trace.content)[-_MOST_KEPT["trace"] :]


def _busy_seconds(child: "subprocess.Popen[bytes]") -> float | None:
    """How long the child's main thread ran or wanted to (proc_pid_schedstat(5)), however busy the machine is; None: unknown."""
    try:
        with open(f"/proc/{child.pid}/schedstat", "rb") as file:
            on_processor, runnable, *_ = map(int, file.read().split())
    except (OSError, ValueError):
        return None
    return (on_processor + runnable) / 1e9


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill the child, its session, and what left that but is below us still; those below a killed one become ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + _ENDING_S
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            for one in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(one, signal.SIGKILL)
            time.sleep(0.002)  # waitpid(2) has no time limit, and what forks has to be killed again


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{int(name)}/stat", "rb") as file:
                parent = file.read().rpartition(b")")[2].split()[1]  # the name before it may hold anything
            if int(parent) == os.getpid():
                found.append(int(name))
    return found


def _leave_network() -> bool:
    """Enter a network namespace of its own, in which nothing can be reached; whether that could be done.

    Tried in another process first: where a security module takes back half of what it allowed, one is left as nobody.
    """
    trial = os.fork()
    if not trial:
        try:
            _unshare_network()
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(trial, 0)[1]:
        return False
    _unshare_network()
    return True


def _unshare_network() -> None:
    user, group = os.geteuid(), os.getegid()
    is_root = not user  # in a user namespace, root would lose its right to read other users' files
    if _libc.unshare(_CLONE_NEWNET if is_root else _CLONE_NEWNET | _CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    if not is_root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


if __name__ == "__main__":
    main()
