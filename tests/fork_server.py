"""Starts guardctl and guardd without their imports: a process that has them forks one that becomes the program.

Each is a process of its own as ever, with its own directory, environment and standard streams; it only does not spend a
quarter of a second on importing. With GUARD_TESTS_SPAWN=1 (as in the long suite) the installed programs are started instead.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PROGRAMS = Path(sys.executable).parent
_NAMES = {"guardctl": "guardd.cli.main", "guardd": "guardd.service.main"}
_PROGRAMS_OF_THEIR_OWN = ("__main__", "source_worker", "probe_child", "probe_keeper")


class Forked:
    """A program that was forked off, used as a `subprocess.Popen` is."""

    def __init__(self, connection: socket.socket, stdout: Any = None, stderr: Any = None) -> None:
        self._connection = connection
        self._answers = connection.makefile("r")
        self.pid = int(self._answers.readline())
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(None)
            if timeout is not None:
                import select

                if not select.select([self._connection], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("a forked program", timeout)
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()  # it holds the connection's descriptor, too
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks, started when first asked; it ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._beginning = threading.Lock()

    def start(self, words: list[str], env: dict[str, str], cwd: str, streams: tuple[int, int, int]) -> socket.socket:
        """Fork a program with these words, environment, directory and standard streams; the line to it."""
        with self._beginning:
            if self._process is None:
                self._begin()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._address)
        request = json.dumps({"words": words, "env": env, "cwd": cwd}).encode("ascii")
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], list(streams))
        connection.sendall(request)
        return connection

    def _begin(self) -> None:
        folder = tempfile.mkdtemp(prefix="guard-fork-")
        self._address = os.path.join(folder, "s")
        command = [sys.executable, __file__, self._address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"
        atexit.register(self._end, folder)

    def _end(self, folder: str) -> None:
        import shutil

        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


_SERVER = ForkServer()


def is_forked(command: list[str]) -> bool:
    """Whether a command is one of the programs alone, to be forked."""
    first = Path(os.fspath(command[0]))
    return first.parent == PROGRAMS and first.name in _NAMES and not os.environ.get("GUARD_TESTS_SPAWN")


class Begun:
    """A program that goes on beside the test. Its output goes into files, so that no one has to read it meanwhile."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path, given: bytes = b"") -> None:
        self.command = [os.fspath(word) for word in command]
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115  # closed when it has ended
        with tempfile.TemporaryFile() as stdin:
            stdin.write(given)
            stdin.seek(0)
            self._process = begin(self.command, env, cwd, (stdin.fileno(), self._out.fileno(), self._err.fileno()))
        self.pid = self._process.pid
        self.poll, self.wait = self._process.poll, self._process.wait
        self.send_signal, self.kill = self._process.send_signal, self._process.kill

    def finish(self, timeout: float = 60) -> "subprocess.CompletedProcess[bytes]":
        """Wait for its end; what it said."""
        try:
            code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        said = []
        for file in (self._out, self._err):
            file.seek(0)
            said.append(file.read())
            file.close()
        return subprocess.CompletedProcess(self.command, code, *said)


def begin(
    command: list[str], env: dict[str, str], cwd: Path, streams: tuple[int, int, int]
) -> "Forked | subprocess.Popen[bytes]":
    """Start one of the programs on these standard streams."""
    if not is_forked(command):
        return subprocess.Popen(command, env=env, cwd=cwd, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    return Forked(_SERVER.start([os.fspath(word) for word in command], env, os.fspath(cwd), streams))


def start(command: list[str], env: dict[str, str]) -> Forked:
    """Start one of the programs; its output and errors come on `stdout`."""
    reader, writer = os.pipe()
    with open(os.devnull, "rb") as nothing:
        try:
            line = _SERVER.start([os.fspath(word) for word in command], env, os.getcwd(), (nothing.fileno(), writer, writer))
        finally:
            os.close(writer)
    return Forked(line, stdout=os.fdopen(reader, encoding="utf-8"))


# -- the process that forks ------------------------------------------------------------------------------------------


def _serve(address: str) -> tuple[dict[str, Any], list[int]]:
    """Fork a program for each request; returns, in the program's process, what was asked for."""
    import select

    import_all()
    ended, wakes = os.pipe()
    for end in (ended, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)
    os.write(1, b"ready\n")
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, ended, 0], [], [])
        if 0 in ready:
            os._exit(0)
        if ended in ready:
            os.read(ended, 4096)
            _tell_ends(running)
        if listener in ready:
            connection, _ = listener.accept()
            request, streams = _receive(connection)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (listener, connection, *running.values()):
                    one.close()
                for end in (ended, wakes):
                    os.close(end)
                return json.loads(request), streams
            running[pid] = connection
            for stream in streams:
                os.close(stream)
            with contextlib.suppress(OSError):  # who asked may be gone
                connection.sendall(f"{pid}\n".encode())


def _tell_ends(running: dict[int, socket.socket]) -> None:
    """Say of each program that has ended with which code."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as connection, contextlib.suppress(OSError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def import_all() -> None:
    """Import all that the programs do, for processes that are forked off from this one."""
    import gc
    import importlib
    import pkgutil

    import guardd

    for module in pkgutil.walk_packages(guardd.__path__, "guardd."):
        if not module.name.endswith(_PROGRAMS_OF_THEIR_OWN):
            importlib.import_module(module.name)
    for name in ("pathspec", "rich.progress"):  # what they import when they need it
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A request, and the standard streams that came with it."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    left = int.from_bytes(head, "big")
    request = b""
    while len(request) < left and (part := connection.recv(left - len(request))):
        request += part
    return request, streams


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Be the program that was asked for, from here on."""
    import importlib

    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    words = request["words"]
    sys.argv = words
    code = 0
    atexit.register(lambda: _leave(code))  # called once all threads have ended and what the program registered was called
    try:
        importlib.import_module(_NAMES[Path(words[0]).name]).main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except BaseException:
        code = 1
        raise


def _leave(code: int) -> None:
    """End without taking the interpreter down: that writes to all memory that is shared with the forking process, for 50 ms."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    del sys.path[0]  # this folder, which the programs do not have
    _become(*_serve(sys.argv[1]))
