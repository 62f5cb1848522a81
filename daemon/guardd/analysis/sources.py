"""Facts of one source, from parsing processes: parsing holds the GIL, may hang or die, and must not take the daemon along."""

import json
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, Literal, NamedTuple, Self

from guardd.descriptors import is_lack

VERSION = 6
"""Of the facts: raise it when the worker finds other ones, so that stored ones are computed anew."""

WORKERS = min(4, os.cpu_count() or 1)
"""Parsing processes of one `Parsers`."""

_LENGTH = struct.Struct("<Q")
_LINE_END = re.compile(rb"\r\n?|\n")
_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "source_worker.py")
_FEW = {"syntax": 100, "facts": 5}
"""Sources that one process is through with in the time that a second one takes to start (0.06 s; facts take 12 ms)."""

_SECOND_OPINION_S = 5.0
_SECOND_OPINION_SIZE = 256 * 1024

_IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own with a random name is made in it
"""shm_overview(7): 1,250 files are written and removed there in 0.04 s, on a disk in 0.2 s."""

_SCRATCH = "guard-ruff-"
_ABANDONED_S = 600
"""A scratch folder is in use for the seconds of one process: what is older belongs to one that was killed."""

_BEYOND_ANY_PARSER = (
    "unknown encoding", "encoding problem", "not a text encoding", "codec failed",
    "MemoryError", "too many", "null bytes", "recursion", "too complex",
)  # fmt: skip


class Import(NamedTuple):
    """One import statement: `names` are those after `from module import`, None for a plain `import module`.

    `guarded`: it may fail (try/except ImportError), or where it runs decides (TYPE_CHECKING, sys.platform).
    """

    line: int
    level: int
    module: str
    names: tuple[str, ...] | None
    guarded: bool


class Facts(NamedTuple):
    """What is known of a content alone.

    `parses` is None where no parser could tell (time limit, memory), and with an `error` where ours is too old to. `shape` is
    equal for equal code whatever its layout and the order of its imports; `skeleton` for the same statements and definitions,
    whatever their expressions and imports. `exports` holds every name that the module can bind, unless `dynamic`; `unbound`
    those that its code uses as globals and nothing in it binds, stars aside; `names` all names that its code uses. `listed` is
    what its `__all__` can hold (None: there is none, or it cannot be told); `reopened`: it decides for itself which modules
    lie below it, `placed`: those that it names; `repathed`: it changes where imports start from; `injects`: its functions may
    bind names in their callers; `gives`: the names that it puts among the built-in ones. `undefined` has (name, line) of uses
    of unbound ones that must fail once they are reached; `early` of those of names that the module uses while it is imported
    and binds only later.
    """

    parses: bool | None
    error: str = ""
    error_line: int = 0
    definitions: tuple[str, ...] = ()
    statements: int = 0
    imports: tuple[Import, ...] = ()
    exports: frozenset[str] = frozenset()
    dynamic: bool = False
    unbound: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    listed: frozenset[str] | None = None
    reopened: bool = False
    placed: frozenset[str] = frozenset()
    repathed: bool = False
    injects: bool = False
    gives: frozenset[str] = frozenset()
    shape: str = ""
    skeleton: str = ""
    undefined: frozenset[tuple[str, int]] = frozenset()
    early: frozenset[tuple[str, int]] = frozenset()

    @property
    def is_valid(self) -> bool:
        """Whether it is Python, if only a newer one than ours."""
        return self.parses is True or (self.parses is None and bool(self.error))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The facts that a worker wrote."""
        return cls.from_raw(json.loads(text))

    @classmethod
    def from_raw(cls, raw: dict[str, Any]) -> Self:
        """The facts out of a worker's document, which is used up."""
        raw["imports"] = imports_from_raw(raw.get("imports", ()))
        for key in ("exports", "names", "unbound", "placed", "gives", "listed"):
            if (found := raw.get(key)) is not None:
                raw[key] = frozenset(found)
        for key in ("undefined", "early"):
            if (uses := raw.get(key)) is not None:
                raw[key] = frozenset([(name, line) for name, line in uses])
        raw["definitions"] = tuple(raw.get("definitions", ()))
        return cls(**raw)


def imports_from_raw(raw: Iterable[Any]) -> tuple[Import, ...]:
    """The imports out of a worker's document."""
    return tuple(
        [
            Import(line, level, module, None if names is None else tuple(names), guarded)
            for line, level, module, names, guarded in raw
        ]
    )


UNKNOWN = '{"parses": null}'
NEWER = '{"parses": null, "error": "valid in a newer Python than this one"}'


class Parsers:
    """Parsing processes, started when first asked and ended by `rest` or `close`; used by one thread at a time.

    A source that a process dies of, or that takes it longer than `timeout_s`, has unknown facts; the next one is not hurt.
    `go_on` is called before each source, in any thread; what it raises ends `ask`.
    """

    def __init__(
        self, what: Literal["facts", "syntax"] = "facts", timeout_s: float = 5.0, go_on: Callable[[], None] = lambda: None
    ) -> None:
        self._what = what
        self._go_on = go_on
        self._timeout_s = timeout_s
        self._workers = [_Worker(what) for _ in range(WORKERS)]
        self._used = 0.0

    def ask(self, sources: Sequence[bytes], deadline: float | None = None) -> list[str]:
        """The facts of each source as JSON, in order; unknown for those not reached by `deadline` (time.monotonic)."""
        share = min(len(self._workers), 1 + len(sources) // _FEW[self._what])
        found = [UNKNOWN] * len(sources)

        def work(number: int) -> None:
            for at in range(number, len(sources), share):
                self._go_on()
                left = self._timeout_s if deadline is None else min(self._timeout_s, deadline - time.monotonic())
                if left > 0:
                    found[at] = self._workers[number].ask(sources[at], left)

        with ThreadPoolExecutor(share, thread_name_prefix="guard-parse") as threads:
            list(threads.map(work, range(share)))
        self._used = time.monotonic()
        return self._reconsidered(sources, found, deadline)

    def _reconsidered(self, sources: Sequence[bytes], found: list[str], deadline: float | None) -> list[str]:
        """Our interpreter refuses syntax that is newer than it: what it refuses is asked of ruff, where there is one."""
        refused = [at for at, text in enumerate(found) if _may_be_newer_syntax(text) and len(sources[at]) <= _SECOND_OPINION_SIZE]
        left = _SECOND_OPINION_S if deadline is None else min(_SECOND_OPINION_S, deadline - time.monotonic())
        if refused and left <= 0:
            for at in refused:
                found[at] = UNKNOWN
            return found
        valid = accepted_by_ruff([sources[at] for at in refused], left) if refused else []
        for at, is_valid in zip(refused, valid, strict=False):
            if is_valid:
                found[at] = NEWER
        return found

    def rest(self, idle_s: float) -> bool:
        """End the processes if they have had nothing to do for this long; whether they were."""
        if not self._used or time.monotonic() - self._used <= idle_s:
            return False
        self.close()
        return True

    def close(self) -> None:
        """End the processes; `ask` starts new ones."""
        for worker in self._workers:
            worker.end()
        self._used = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One parsing process and the pipes to it."""

    def __init__(self, what: str) -> None:
        self._command = [sys.executable, "-I", "-S", _WORKER, what]
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, source: bytes, timeout_s: float) -> str:
        """The answer of the process, or UNKNOWN if it gives none in time."""
        process = self._process or subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", bufsize=0
        )
        self._process = process
        if process.stdin is None or process.stdout is None:
            raise AssertionError("started with pipes")
        try:
            _write_all(process.stdin.fileno(), _LENGTH.pack(len(source)) + source)
            answer = _read_line(process.stdout.fileno(), timeout_s)
        except OSError:  # it died
            answer = b""
        if not answer.endswith(b"\n"):
            self.end()
            return UNKNOWN
        return answer.decode().rstrip()

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_line(descriptor: int, timeout_s: float) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], timeout_s)[0]:
            break
        part = os.read(descriptor, 1 << 20)
        if not part:
            break
        line += part
    return line


def asked_of_ruff(
    sources: Sequence[bytes], rules: str, timeout_s: float, *options: str, folder: str | None = None
) -> list[tuple[int, dict[str, Any]]] | None:
    """What ruff, as of the newest Python it knows, finds in these sources by these rules, each with the number of its source.

    None where there is no ruff, or it fails. One process for all, which reads them from a scratch folder in `folder`. No
    config of the tree is read (`--isolated`), nor may an ignore file above hide them, which would count as nothing found.
    """
    program = ruff_program()
    if program is None:
        return None
    _clear_abandoned(folder or tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
        for number, source in enumerate(sources):
            with open(os.path.join(scratch, f"{number}.py"), "wb", buffering=0) as file:
                file.write(source)
        command = [program, "check", "--isolated", "--no-respect-gitignore", "--no-cache", "--quiet", *options]
        command += ["--select", rules, "--output-format", "json", "--target-version", newest_target(program), scratch]
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False, cwd=scratch)
            problems = json.loads(done.stdout)
            return [(int(os.path.basename(one["filename"]).removesuffix(".py")), one) for one in problems]
        except (subprocess.TimeoutExpired, OSError, ValueError, KeyError, TypeError) as error:
            if is_lack(error):  # it is there, and has not spoken
                raise
            return None


def _clear_abandoned(folder: str) -> None:
    """Remove the scratch folders of processes that were killed: copies of someone's source, most of them in memory."""
    now = time.time()
    with suppress(OSError), os.scandir(folder) as listing:  # another process clears them, too; what is left has another turn
        for entry in listing:
            if entry.name.startswith(_SCRATCH) and entry.is_dir(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                if about.st_uid == os.geteuid() and about.st_mtime < now - _ABANDONED_S:
                    shutil.rmtree(entry.path, ignore_errors=True)


def accepted_by_ruff(sources: Sequence[bytes], timeout_s: float = _SECOND_OPINION_S) -> list[bool]:
    """Which of these sources ruff finds valid; none of them where there is no ruff. What is no UTF-8 is not ruff's to judge."""
    problems = asked_of_ruff(sources, "F407,F701,F702,F704,F706", timeout_s, "--ignore-noqa", folder=_memory_for(sources))
    if problems is None:
        return [False] * len(sources)
    refused = {number for number, _ in problems}
    return [number not in refused and _is_utf8(source) for number, source in enumerate(sources)]


def are_plainly_valid(sources: Sequence[bytes], timeout_s: float) -> list[bool]:
    """Which of these sources are valid Python for ruff alone; of the others `Parsers` must be asked.

    As `Parsers` takes for valid what ruff accepts, even if our interpreter does not, it would say the same; but for code that is
    nested too deep for our interpreter. What names an encoding, or is large, is not for ruff.
    """
    plain = [at for at, source in enumerate(sources) if len(source) <= _SECOND_OPINION_SIZE and _is_plain(source)]
    found = [False] * len(sources)
    for at, is_valid in zip(plain, accepted_by_ruff([sources[at] for at in plain], timeout_s), strict=True):
        found[at] = is_valid
    return found


def _is_plain(source: bytes) -> bool:
    return b"coding" not in b"".join(_LINE_END.split(source, 2)[:2])


def _memory_for(sources: Sequence[bytes]) -> str | None:
    """A folder in memory with room for these sources; None: there is none, the usual one for temporary files will do."""
    try:
        room = os.statvfs(_IN_MEMORY)
    except OSError:
        return None
    is_enough = 2 * sum(map(len, sources)) < room.f_bavail * room.f_frsize and len(sources) < room.f_favail
    return _IN_MEMORY if is_enough and os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None


def _may_be_newer_syntax(answer: str) -> bool:
    return answer.startswith('{"parses": false') and not any(text in answer[:200] for text in _BEYOND_ANY_PARSER)


def ruff_program() -> str | None:
    """Where ruff is; None where there is none."""
    beside = os.path.join(os.path.dirname(sys.executable), "ruff")
    return beside if os.access(beside, os.X_OK) else shutil.which("ruff")


@cache
def newest_target(program: str) -> str:
    """The newest Python that this ruff knows, as its --target-version has it."""
    try:
        text = subprocess.run([program, "check", "--help"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (subprocess.TimeoutExpired, OSError) as error:
        if is_lack(error):
            raise
        text = ""
    return next((f"py3{minor}" for minor in range(30, 11, -1) if f"py3{minor}" in text), "py313")


def _is_utf8(source: bytes) -> bool:
    try:
        source.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return b"\0" not in source
