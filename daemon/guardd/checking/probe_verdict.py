"""What became of one import, from what its process left behind: the findings `import-hang` and `import-error`."""

import os
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from guardd.beneath import Root
from guardd.checking.check import Problem
from guardd.checking.probe_child import FAILED, IMPORTED
from guardd.checking.stacks import Frame, Stack, Standing, enclosing_loop, parse_stacks, standing
from guardd.escaping import brief, printable
from guardd.model import RepoPath

NOWHERE = "."
"""The path of a problem that no file of the repo has part in: there is no such module."""

_MEBI = 2**20
_LONGEST = 300
_CALLERS = 3
_LARGEST_SOURCE = 4 * _MEBI
_BUSY = 0.5
"""Of its time: what ran, or wanted to, for more of it runs in circles; what did for less waits for something."""


class Place(NamedTuple):
    """Where modules are imported from: the repo's root, the folders in it that imports start from, environments in it."""

    root: Root
    roots: tuple[str, ...]
    child: str

    def inside(self, file: str, environments: Sequence[str]) -> RepoPath | None:
        """The path in the repo of a file that code names; None for what lies elsewhere, or in an environment."""
        for resolve in (os.path.normpath, os.path.realpath):
            path = resolve(os.path.join(self.root.path, file))
            if path == self.child or any(path.startswith(one + os.sep) for one in environments):
                return None
            if self._contains(path) and os.path.isfile(path):
                return os.path.relpath(path, self.root.path)
        return None

    def environments(self, prefixes: Sequence[str]) -> tuple[str, ...]:
        """Those of an interpreter's folders that lie in the repo, without being part of it."""
        return tuple(path for one in prefixes if self._contains(path := os.path.realpath(one)))

    def _contains(self, path: str) -> bool:
        return path.startswith(self.root.path + os.sep)

    def file_of(self, module: str) -> RepoPath:
        """The file that a module, or the package nearest to it, lies in."""
        parts = module.split(".")
        for length in range(len(parts), 0, -1):
            for root in self.roots:
                stem = os.path.join(self.root.path, root, *parts[:length])
                for path in (os.path.join(stem, "__init__.py"), stem + ".py"):
                    if os.path.isfile(path):
                        return os.path.relpath(path, self.root.path)
        return NOWHERE

    def source(self, path: RepoPath) -> bytes:
        """The beginning of a file; nothing where it cannot be read."""
        try:
            with open(self.root.open_read(path), "rb") as file:
                return file.read(_LARGEST_SOURCE)
        except (OSError, ValueError):
            return b""


class Limits(NamedTuple):
    """What one import may take."""

    timeout_s: float = 10.0
    memory_bytes: int = 2 * 2**30


class Outcome(NamedTuple):
    """What the keeper tells of an import: see probe_keeper. `interpreter_hint` goes with what third parties' modules lack."""

    module: str
    exit: int
    timed_out: bool
    offline: bool
    seconds: float
    busy_seconds: float | None
    ready: tuple[str, ...]
    failed: tuple[str, ...]
    trace: str
    output: str

    @classmethod
    def from_told(cls, module: str, told: dict[str, Any]) -> "Outcome":
        """From the keeper's answer."""
        records = {one[0]: tuple(one[1:]) for one in _records(told["records"])}
        return cls(
            module, told["exit"], told["timed_out"], told["offline"], told["seconds"], told["busy_seconds"],
            records.get("ready", ()), records.get("failed", ()), told["trace"],
            told["output"].encode("latin-1").decode("utf-8", "replace"),
        )  # fmt: skip

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The folders of the interpreter."""
        return self.ready[2:4]

    @property
    def does(self) -> str:
        """What it did for most of its time, in a word."""
        if self.busy_seconds is None:
            return "is"
        return "runs" if self.busy_seconds > _BUSY * self.seconds else "waits"

    def stacks(self) -> list[Stack]:
        """The stacks of the main thread, as they were seen one after the other."""
        return parse_stacks(self.trace, int(self.ready[1])) if self.ready else []


class Verdict(NamedTuple):
    """A finding, and the calls that led to it, outermost first, as `path:line in function`."""

    problem: Problem
    stack: tuple[str, ...] = ()


class Case(NamedTuple):
    """An import and all that its verdict rests on. `hint` says what to do where a module is missing."""

    outcome: Outcome
    place: Place
    limits: Limits
    hint: str = ""

    def inside(self, frame: Frame) -> RepoPath | None:
        """The path of the file that a call lies in, if that is the repo's."""
        return self.place.inside(frame.file, self.place.environments(self.outcome.prefixes))


def judge(case: Case) -> Verdict | None:
    """The finding on an import; None where it came to its end."""
    outcome = case.outcome
    if outcome.timed_out:
        return _hang(case)
    if outcome.failed:
        return _failure(case)
    if outcome.exit == IMPORTED:
        return None
    if outcome.exit < 0:
        return _crash(case)
    how = "fails" if outcome.exit == FAILED else f"ends the process by itself, with exit code {outcome.exit}"
    return _verdict(case, (), f"{how}{_last_line(outcome.output)}")


def _hang(case: Case) -> Verdict:
    outcome, place = case.outcome, case.place
    stacks = outcome.stacks()
    common = standing(stacks[len(stacks) // 2 :])
    does = outcome.does
    said = f"import of {outcome.module} does not end within {case.limits.timeout_s:g}s: "
    ours = [(path, one) for one in common if (path := case.inside(one.frame))]
    loops = [_loop(place, path, one) for path, one in ours]
    at = len(ours) - 1
    if does == "runs" and ours and not loops[at]:
        at = next((number for number in reversed(range(at)) if loops[number]), at)
    stack = _shown_stack([one.frame for one in common], case)
    if not ours:
        where = f"it {does} in {_shown(common[-1].frame)}" if common else "no stack of it could be seen"
        return Verdict(Problem(place.file_of(outcome.module), 0, "import-hang", brief(said + where, _LONGEST)), stack)
    path, found = ours[at]
    where = _where(found, loops[at], does) + _callers(ours[:at], loops)
    return Verdict(Problem(path, loops[at] or found.frame.line, "import-hang", brief(said + where, _LONGEST)), stack)


def _loop(place: Place, path: RepoPath, one: Standing) -> int | None:
    return enclosing_loop(place.source(path), one.lines)


def _where(found: Standing, loop: int | None, does: str) -> str:
    function = "at the module's top" if found.frame.function == "<module>" else f"in {found.frame.function}"
    if loop is None:
        return f"it {does} here, {function}"
    return f"it {does} in this loop, {function}, last seen at line {found.frame.line}"


def _callers(outer: Sequence[tuple[RepoPath, Standing]], loops: Sequence[int | None]) -> str:
    """The calls above, innermost first; any loop around one of them may be the one without an end."""
    shown = [
        f"{printable(path)}:{one.frame.line}" + (f" (in the loop of line {loop})" if loop else "")
        for (path, one), loop in zip(outer, loops, strict=False)
    ]
    callers = list(dict.fromkeys(reversed(shown)))[:_CALLERS]
    return f", reached from {', '.join(callers)}" if callers else ""


def _failure(case: Case) -> Verdict:
    kind, text, of_network, missing, *rest = case.outcome.failed
    frames = [Frame(file, int(line), name) for file, line, name in zip(rest[::3], rest[1::3], rest[2::3], strict=False)]
    said = f"fails: {kind}: {text}" if text else f"fails: {kind}"
    if kind == "SystemExit":
        said = f"asks to end the program: SystemExit({text})"
    elif kind == "MemoryError":
        said += f" (it may take {case.limits.memory_bytes // _MEBI} MiB: import_memory)"
    elif of_network == "1" and case.outcome.offline:
        said += " (guard imports without network)"
    elif missing and case.place.file_of(missing.partition(".")[0]) == NOWHERE:
        said += case.hint
    return _verdict(case, frames, said)


def _crash(case: Case) -> Verdict:
    outcome = case.outcome
    try:
        name = signal.Signals(-outcome.exit).name
    except ValueError:
        name = f"signal {-outcome.exit}"
    said = f"crashes: {name}"
    if name == "SIGKILL":
        said = "is killed (SIGKILL), as the kernel does where memory runs out"
    stacks = outcome.stacks() or parse_stacks(outcome.output, int(outcome.ready[1]))
    return _verdict(case, stacks[-1] if stacks else (), said)


def _verdict(case: Case, frames: Sequence[Frame], said: str) -> Verdict:
    """A finding at the innermost call that lies in the repo."""
    ours = [(path, one.line) for one in frames if (path := case.inside(one))]
    path, line = ours[-1] if ours else (case.place.file_of(case.outcome.module), 0)
    text = " ".join(f"import of {case.outcome.module} {said}".split())
    return Verdict(Problem(path, line, "import-error", brief(text, _LONGEST)), _shown_stack(frames, case))


def _shown_stack(frames: Sequence[Frame], case: Case) -> tuple[str, ...]:
    """The calls, without those that every import has."""
    return tuple(
        _shown(one, case.inside(one) or "")
        for one in frames
        if one.file != case.place.child and not one.file.startswith("<frozen importlib")
    )


def _shown(frame: Frame, path: str = "") -> str:
    return f"{printable(path or frame.file)}:{frame.line} in {printable(frame.function)}"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"; its last words: {lines[-1]}" if lines else ""


def _records(text: str) -> list[list[str]]:
    content = text.encode("latin-1")
    try:
        whole = content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        whole = content.decode("utf-8", "replace")
    return [one.split("\x1f")[:-1] for one in whole.split("\x1e") if "\x1f" in one]
