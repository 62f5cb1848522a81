"""A command in a process group of its own: on our terminal, with our signals handed on, and nothing of it left when it is over.

The terminal stays ours until the command asks for it (it reads, or sets modes, and is stopped with SIGTTIN or SIGTTOU): then it
becomes the foreground group, as under sudo(8). So a Ctrl-C comes to us first wherever the command does not talk to a person,
and a pipeline that guardctl is part of keeps its terminal.
"""

import ctypes
import math
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTSTP)
_TOLD_TO_STOP = (signal.SIGTERM, signal.SIGHUP)
_FOR_THE_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_LONGEST_NAME = 200
_LOOK_S = 0.1
_SUSPENDING_S = 1.0


class Ended(NamedTuple):
    """How a command ended: its exit code, as a shell's (128 and more: by a signal), and what happened on the way.

    `interrupted`: someone pressed Ctrl-C, as far as we can know; `told_to_stop`: the signal that asked guardctl
    itself to end. `ended` are the processes that it left behind and that were ended with it, `left` those that were not.
    """

    exit: int
    pid: int = 0
    interrupted: bool = False
    told_to_stop: str | None = None
    ended: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Patience(NamedTuple):
    """How long what a command leaves behind may take to end by itself, and to end once it was told to (s).

    `stopping_s`: how long the command itself may take to end, once guardctl was told to.
    """

    by_itself_s: float = 2.0
    told_s: float = 2.0
    stopping_s: float = 10.0


PATIENCE = Patience()


class NotStarted(OSError):
    """The command could not be started: nothing of it ever ran."""


def carry_out_command(
    words: Sequence[str],
    *,
    stdout_to_stderr: bool = False,
    leave_running: bool = False,
    say: Callable[[str], None] = lambda text: None,
    patience: Patience = PATIENCE,
) -> Ended:
    """Run a command where we are, until it and all that it started have ended. Main thread only. Raises NotStarted.

    A first SIGINT is handed on, a second kills the command; so does a SIGTERM or SIGHUP to us, after a while. `say` hears of
    what takes its time.
    """
    with _adopting(), _Signals() as signals, _Terminal() as terminal:
        before = frozenset(descendants(os.getpid()))
        pid = _start(words, stdout_to_stderr=stdout_to_stderr)
        return _Watch(pid, before, signals, terminal, say, patience).until_over(leave_running=leave_running)


def _start(words: Sequence[str], *, stdout_to_stderr: bool) -> int:
    to_default = [number for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", None)) if number is not None]
    actions = [(os.POSIX_SPAWN_DUP2, 2, 1)] if stdout_to_stderr else []
    try:
        return os.posix_spawnp(words[0], list(words), os.environ, file_actions=actions, setpgroup=0, setsigdef=to_default)
    except OSError as error:
        raise NotStarted(error.errno, error.strerror, words[0]) from error


class _Watch:
    def __init__(
        self,
        pid: int,
        before: frozenset[int],
        signals: "_Signals",
        terminal: "_Terminal",
        say: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._pid = pid
        self._before = before
        self._signals = signals
        self._terminal = terminal
        self._say = say
        self._patience = patience
        self._status: int | None = None
        self._interrupts = 0
        self._suspended = -_SUSPENDING_S
        self._told_to_stop: str | None = None
        self._killing_at = math.inf

    def until_over(self, *, leave_running: bool) -> Ended:
        while self._status is None:
            self._take(self._signals.wait(max(0.0, min(_LOOK_S * 10, self._killing_at - time.monotonic()))))
            self._reap()
            self._kill_if_late()
        code = os.waitstatus_to_exitcode(self._status)
        code = 128 - code if code < 0 else code
        self._terminal.take_back(self._pid, mended=code > 128)
        ended, left = self._leftovers(leave_running=leave_running)
        interrupted = self._interrupts > 0 or code == 128 + signal.SIGINT
        return Ended(code, self._pid, interrupted, self._told_to_stop, tuple(ended), tuple(left))

    # -- signals ------------------------------------------------------------------------------------------------

    def _take(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if number == signal.SIGINT:
                self._interrupts += 1
                hint = {1: "interrupted: the command is asked to end; another Ctrl-C kills it", 2: "the command is killed"}
                if self._interrupts in hint:
                    self._say(hint[self._interrupts])
                self._send(signal.SIGINT if self._interrupts == 1 else signal.SIGKILL)
            elif number in _HANDED_ON:
                if number in _TOLD_TO_STOP and self._told_to_stop is None:
                    self._told_to_stop = signal.Signals(number).name
                    self._killing_at = time.monotonic() + self._patience.stopping_s
                self._send(number)
                if number == signal.SIGTSTP:
                    self._suspended = time.monotonic()
                if number in _TOLD_TO_STOP:
                    self._send(signal.SIGCONT)  # one that is stopped would never hear of it

    def _kill_if_late(self) -> None:
        """Whoever told us to stop kills us some time later, and then nothing is rolled back: a command that goes on is killed."""
        if self._status is None and time.monotonic() >= self._killing_at:
            self._killing_at = math.inf
            self._say(f"the command did not end within {self._patience.stopping_s:.0f} s of {self._told_to_stop}; it is killed")
            self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, number)

    # -- the command --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Take note of every child that ended or was stopped; with us as their subreaper, they are not only the command."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._stopped(os.WSTOPSIG(status))
            elif pid == self._pid:
                self._status = status

    def _stopped(self, number: int) -> None:
        """It was stopped: for want of the terminal, which it gets if we have it; by Ctrl-Z, as we are then."""
        if number in _FOR_THE_TERMINAL and time.monotonic() < self._suspended + _SUSPENDING_S:
            number = signal.SIGTSTP  # both at once: a SIGCONT now would make it forget the Ctrl-Z
        if number in _FOR_THE_TERMINAL:
            if not self._terminal.give(self._pid):
                self._terminal.stop_ourselves(number)
                self._terminal.give(self._pid)
        elif number == signal.SIGTSTP:
            self._suspended = -_SUSPENDING_S
            had_it = self._terminal.take_back(self._pid)
            self._terminal.stop_ourselves(number)
            if had_it:
                self._terminal.give(self._pid)
        else:  # whoever sent a SIGSTOP sends the SIGCONT
            return
        self._send(signal.SIGCONT)

    # -- what it left behind ------------------------------------------------------------------------------------

    def _leftovers(self, *, leave_running: bool) -> tuple[list[str], list[str]]:
        """Wait for what the command left behind, then end it: while something of it writes, nothing can be decided."""
        if not self._behind() or self._gone_within(self._patience.by_itself_s if not leave_running else 0.0):
            return [], []
        names = list(self._behind().values())
        if leave_running:
            return [], names
        self._say(f"still running in the background: {'; '.join(names)}; told to end")
        self._tell_all(signal.SIGTERM)
        if not self._gone_within(self._patience.told_s):
            for _ in range(50):  # something that forks as fast as it is killed has its end, too
                self._tell_all(signal.SIGKILL)
                if self._gone_within(_LOOK_S):
                    break
        return names, list(self._behind().values())

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._behind():
            if time.monotonic() >= deadline or self._interrupts > 1:
                return False
            self._take(self._signals.wait(min(_LOOK_S, seconds)))
            self._reap()
        return True

    def _tell_all(self, number: int) -> None:
        self._send(number)
        for pid in self._behind():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)

    def _behind(self) -> dict[int, str]:
        """Pid -> command line of everything that the command started and that lives; what we had started before is not its."""
        found = descendants(os.getpid(), self._before)
        if found or sys.platform == "linux":
            return found
        try:  # no /proc: only the group can be asked
            os.killpg(self._pid, 0)
        except (ProcessLookupError, PermissionError):
            return {}
        return {self._pid: f"process group {self._pid}"}


def descendants(of: int, but: Collection[int] = ()) -> dict[int, str]:
    """Pid -> command line of all living processes below one, as /proc tells it; empty where there is none.

    Those in `but`, and all below them, are left out.
    """
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and int(name) not in but:
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    parents[int(name)] = int(parent)
    return {pid: _name(pid) for pid in parents if _is_below(pid, of, parents)}


def _is_below(pid: int, of: int, parents: dict[int, int]) -> bool:
    seen = set()
    while pid in parents and pid not in seen:
        seen.add(pid)
        pid = parents[pid]
        if pid == of:
            return True
    return False


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_LONGEST_NAME).replace(b"\0", b" ").strip()
    except OSError:
        words = b""
    return f"{os.fsdecode(words) or '?'} (pid {pid})"


@contextmanager
def _adopting() -> Iterator[None]:
    """Children of the command that lose their parent become ours, not init's (prctl(2)); Linux only."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        if libc is not None:
            libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class _Signals:
    """Our signals as numbers to be read, instead of interrupts; those that we were told to ignore stay ignored."""

    def __init__(self) -> None:
        self._before: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> "_Signals":
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGCHLD, *_HANDED_ON):
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, _nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> list[int]:
        """The signals that came, within so many seconds."""
        select.select([self._read], [], [], seconds)
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler that lets the wakeup descriptor tell of the signal."""


class _Terminal:
    """Our controlling terminal, if we have one: who is its foreground group (tcsetpgrp(3))."""

    def __enter__(self) -> "_Terminal":
        try:
            self._fd: int | None = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
            self._modes = termios.tcgetattr(self._fd)
        except (OSError, termios.error):
            self._fd = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def give(self, group: int) -> bool:
        """Make a group the foreground one; False where it is not ours to give."""
        return self._hand(os.getpgrp(), group)

    def take_back(self, group: int, *, mended: bool = False) -> bool:
        """Be the foreground group again, if this one is; `mended`: in the modes that it had. Whether it was."""
        had_it = self._hand(group, os.getpgrp())
        if had_it and mended and self._fd is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)
        return had_it

    def _hand(self, holder: int, taker: int) -> bool:
        if self._fd is None:
            return False
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])  # who takes it back is not in the foreground
        try:
            if os.tcgetpgrp(self._fd) != holder:
                return False
            os.tcsetpgrp(self._fd, taker)
        except OSError:
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return True

    def stop_ourselves(self, number: int) -> None:
        """Stop with the rest of our job, as the shell expects it; goes on when the shell lets us. Without a terminal, never."""
        if self._fd is None:
            time.sleep(_LOOK_S)  # no one will ever give the command what it waits for: it is asked again, not in a busy loop
            return
        before = signal.signal(number, signal.SIG_DFL)
        try:
            os.killpg(os.getpgrp(), number)  # the kernel passes over it where no shell could let us go on
        finally:
            signal.signal(number, before)
