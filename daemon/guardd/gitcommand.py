"""Running git so that nothing of the repo's own config is run (no hook, no monitor, no transport), and never without an end."""

import contextlib
import os
import select
import signal
import stat
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, Self

from guardd.errors import GuardError, UsageError
from guardd.escaping import printable
from guardd.gitdir import common_dir_of, git_dir_of

HARMLESS = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never",
    "--no-optional-locks", "--no-pager", "--literal-pathspecs",
)  # fmt: skip
"""A hostile `.git/config` names programs to run: none of those that plumbing commands would use is left standing."""

_NO_TRANSPORT = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
"""A partial clone fetches what it lacks by a program that its config names, and `protocol.ext.allow = always` there outdoes the
`protocol.allow` above; nothing in a config outdoes these."""

_DUBIOUS = "dubious ownership"

LIMIT_S = 60.0
"""So long a git command may take, or say nothing where it is asked for one object after the other."""

_READ_AT_ONCE = (
    "HEAD",
    "config",
    "config.worktree",
    "index",
    "packed-refs",
    "commondir",
    "shallow",
    "info/grafts",
    "info/exclude",
)
"""What git opens by name, whatever it is: it would wait at a FIFO for ever."""

_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


def environment(cwd: str) -> dict[str, str]:
    """The environment for git commands in other directories than `cwd`, which git's own variables may be relative to.

    GIT_INDEX_FILE, which `git commit` sets for its hooks, is relative to the top of the work tree and stays.
    """
    found = harmless()
    found |= {name: os.path.join(cwd, found[name]) for name in _PLACES if name in found}
    return found


def harmless() -> dict[str, str]:
    """Our environment, for a git that must not fetch anything, and says what is wrong in words that we know."""
    return {**os.environ, **_NO_TRANSPORT, "LC_ALL": "C"}


def start(folder: str, words: Sequence[str], env: dict[str, str] | None = None, **streams: Any) -> "subprocess.Popen[bytes]":
    """Start a git command in a folder, in a process group of its own. Raises UsageError where git is missing, or would hang."""
    _refuse_odd(folder)
    try:
        return subprocess.Popen(["git", *HARMLESS, *words], cwd=folder, env=env or harmless(), process_group=0, **streams)
    except FileNotFoundError as error:
        raise UsageError("git is not installed, or not in PATH; install it, or leave out what needs it") from error


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a git command, and all that it started: what it has not said by now is not waited for.

    Its group is signalled before it is waited for: until then no other process can get its number.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    process.wait()


def run(folder: str, words: Sequence[str], env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a git command in a folder, whatever it answers. Raises UsageError where there is no git, or no answer from it."""
    pipe = subprocess.PIPE
    process = start(folder, words, env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise UsageError(_no_answer(folder)) from error
    finally:
        kill(process)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class Objects:
    """A git process that gives the contents of objects, one after the other. It is started when it is first asked."""

    def __init__(self, folder: str, env: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()

    def read(self, object_id: str) -> bytes:
        """The content of an object. Raises GuardError where git does not have it, UsageError where it does not answer."""
        if self._process is None:
            pipe = subprocess.PIPE
            words = ["cat-file", "--batch"]
            self._process = start(self._folder, words, self._env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("git was started with pipes")
        try:
            stdin.write(object_id.encode() + b"\n")
            while (end := self._buffer.find(b"\n")) < 0:
                self._fill(stdout)
            header = self._buffer[:end].split()
            del self._buffer[: end + 1]
            if len(header) != 3:
                raise GuardError(_cannot_read(object_id))
            size = int(header[2])
            while len(self._buffer) <= size:
                self._fill(stdout)
            with memoryview(self._buffer) as view:
                content = bytes(view[:size])
            del self._buffer[: size + 1]
            return content
        except (BrokenPipeError, EOFError) as error:  # of a partial clone's objects git says nothing: it ends
            self.close()
            raise GuardError(_cannot_read(object_id)) from error

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            kill(self._process)
            self._process = None
            self._buffer.clear()

    def _fill(self, stdout: IO[bytes]) -> None:
        if not select.select([stdout], [], [], LIMIT_S)[0]:
            self.close()
            raise UsageError(_no_answer(self._folder))
        part = os.read(stdout.fileno(), 1 << 20)
        if not part:
            raise EOFError
        self._buffer += part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _cannot_read(object_id: str) -> str:
    return f"git cannot read object {object_id}; run 'git fsck', or fetch it"


def _no_answer(folder: str) -> str:
    return f"git does not answer in {printable(folder)} (stopped after {LIMIT_S:g} s); see what 'git status' waits for there"


def _refuse_odd(folder: str) -> None:
    """Raise UsageError where the git directory around a folder holds what git would wait at for ever."""
    top = os.path.realpath(folder)
    while (git_dir := git_dir_of(top)) is None:
        if top == (top := os.path.dirname(top)):
            return
    for place in {git_dir, common_dir_of(git_dir)}:
        for name in _READ_AT_ONCE:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                if not _ends(os.stat(path)):
                    raise UsageError(f"{printable(path)} is no regular file, and git would wait for it; put it right first")


def _ends(found: os.stat_result) -> bool:
    """Whether reading it comes to an end: of what is no file that holds for /dev/null, which people link to for "nothing"."""
    is_file = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return is_file or (stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev)


def ask(folder: str, words: Sequence[str], error: str, env: dict[str, str] | None = None) -> bytes:
    """What a git command prints. Raises UsageError with `error`, and what git said, where it fails."""
    done = run(folder, words, env)
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().splitlines()
        if said and _DUBIOUS in said[0]:  # git-config(1), "safe.directory"
            trusted = f"if you trust it: {said[-1].strip()}"
            raise UsageError(f"git does nothing in {folder}, which belongs to another user; {trusted}")
        raise UsageError(f"{error}{': ' + said[-1] if said else ''}")
    return done.stdout


def top_of(folder: str, env: dict[str, str] | None = None) -> str | None:
    """The top of the work tree around a folder; None where there is none, or no git."""
    try:
        done = run(folder, ["rev-parse", "--show-toplevel"], env)
    except UsageError:
        return None
    return os.path.realpath(os.fsdecode(done.stdout).removesuffix("\n")) if not done.returncode else None
