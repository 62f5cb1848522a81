"""Modules really imported, each in a process of its own: whether they come up, and where they hang or fail if not.

probing (this process) -> probe_keeper (our interpreter: limits, no network, ends all) -> probe_child (the repo's interpreter)
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from guardd.analysis.environment import environments
from guardd.analysis.layout import LayoutOf
from guardd.beneath import Root
from guardd.checking.check import Problem
from guardd.checking.probe_verdict import Case, Limits, Outcome, Place, judge
from guardd.config.settings import is_module_name
from guardd.errors import ConfigError, GuardError, UsageError
from guardd.escaping import brief, printable

if TYPE_CHECKING:
    from guardd.config.settings import RepoSettings

_HERE = os.path.dirname(os.path.realpath(__file__))
_KEEPER, _CHILD = os.path.join(_HERE, "probe_keeper.py"), os.path.join(_HERE, "probe_child.py")
_SECOND_NS = 1_000_000_000
_PATIENCE_S = 40.0
"""Beyond an import's own time, for a keeper: it gives an interpreter 20 s to come up, and 2 s to end."""


class Probe(NamedTuple):
    """What came of the import of one module: `problem` is None where it came up.

    `stack` are the calls that led to the problem, outermost first, `output` is the end of what the module printed, `offline`
    tells whether it ran without network.
    """

    module: str
    problem: Problem | None
    stack: tuple[str, ...]
    output: str
    seconds: float
    offline: bool


def probe_repo(about: "RepoSettings", modules: Sequence[str] = ()) -> list[Probe]:
    """Import the critical modules of a repo, and these, by what its settings say."""
    limits = Limits(about.import_timeout / _SECOND_NS, about.import_memory)
    wanted = list(dict.fromkeys([*about.critical_modules, *modules]))
    return probe(about.path, wanted, about.python, about.source_roots, limits)


def probe(
    root: str, modules: Sequence[str], python: str | None, source_roots: Sequence[str], limits: Limits | None = None
) -> list[Probe]:
    """Import each of the modules, as many at once as there are processors; in their order.

    `python` is the interpreter, relative to `root`; None: that of an environment in the root, else ours. Raises UsageError for
    what is no module's name, ConfigError where the interpreter does not come up, GuardError where an import cannot be watched.
    """
    for module in modules:
        if not is_module_name(module):
            raise UsageError(f"{module!r} is no name of a module; give it as import statements do, as pkg.core")
    if not modules:
        return []
    limits = limits or Limits()
    root = os.path.realpath(root)
    interpreter, hint = _interpreter(root, python)
    roots = _roots(root, source_roots, modules)
    task = {
        "command": [interpreter, "-B", "-u", _CHILD],
        "root": root,
        "roots": [os.path.join(root, one) if one else root for one in roots],
        "timeout_s": limits.timeout_s,
        "memory_bytes": limits.memory_bytes,
    }
    outcomes = _outcomes(task, modules, interpreter)
    with Root(root) as opened:
        place = Place(opened, roots, _CHILD)
        return [_probe(Case(one, place, limits, hint)) for one in outcomes]


def _probe(case: Case) -> Probe:
    verdict, about = judge(case), case.outcome
    problem, stack = (verdict.problem, verdict.stack) if verdict else (None, ())
    return Probe(about.module, problem, stack, about.output, about.seconds, about.offline)


def _roots(root: str, source_roots: Sequence[str], modules: Sequence[str]) -> tuple[str, ...]:
    """Where imports start from: the top first, as for a program that is started there.

    Roots that only the build files tell of are added for modules that the others lack: they may hold names of third parties.
    """

    def has(folder: str, module: str) -> bool:
        place = os.path.join(root, folder, module.partition(".")[0])
        return os.path.isdir(place) or os.path.isfile(place + ".py")

    folders = ("src", *(one.strip("/") for one in source_roots))
    found = ["", *(one for one in dict.fromkeys(folders) if os.path.isdir(os.path.join(root, one)))]
    lacking = [module for module in modules if not any(has(folder, module) for folder in found)]
    if lacking:
        found += [folder for folder in LayoutOf(root)().roots if any(has(folder, module) for module in lacking)]
    return tuple(found)


def _interpreter(root: str, python: str | None) -> tuple[str, str]:
    """The interpreter, and what to say to whom it lacks a module."""
    if python is not None:
        return os.path.join(root, python), ""
    for environment in environments(root):
        if os.path.exists(found := os.path.join(environment, "bin", "python")):
            return found, ""
    return sys.executable, f" (imported by guard's own {sys.executable}: name the repo's as python in its [[repo]])"


@dataclass(slots=True)
class _Running:
    number: int
    module: str
    keeper: "subprocess.Popen[bytes]"
    deadline: float
    answer: bytes = b""


def _outcomes(task: dict[str, Any], modules: Sequence[str], interpreter: str) -> list[Outcome]:
    """Run the keepers; whatever ends this ends them, and with them all that they keep."""
    waiting = list(enumerate(modules))[::-1]
    found: dict[int, Outcome] = {}
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                number, module = waiting.pop()
                running.append(_start(task, number, module))
            for one in _ended(running):
                running.remove(one)
                found[one.number] = _outcome(one, interpreter)
    finally:
        for one in running:
            _let_go(one.keeper)
    return [outcome for _, outcome in sorted(found.items())]


def _start(task: dict[str, Any], number: int, module: str) -> _Running:
    """A keeper in a session of its own: an interrupt key is for us, and reaches it as the end of its input."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GUARD_")}
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", _KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"}, start_new_session=True, bufsize=0,
    )  # fmt: skip
    if keeper.stdin is None:
        raise AssertionError("started with pipes")
    keeper.stdin.write(json.dumps({**task, "module": module}).encode() + b"\n")
    return _Running(number, module, keeper, time.monotonic() + task["timeout_s"] + _PATIENCE_S)


def _ended(running: Sequence[_Running]) -> list[_Running]:
    """Wait for some of the keepers to say something; those that have said all."""
    ended = []
    with selectors.DefaultSelector() as selector:
        for one in running:
            selector.register(one.keeper.stdout or -1, selectors.EVENT_READ, one)
        events = selector.select(max(0.0, min(one.deadline for one in running) - time.monotonic()))
    for key, _ in events:
        one = key.data
        part = os.read(key.fd, 1 << 16)
        one.answer += part
        if not part:
            ended.append(one)
    return ended or [one for one in running if one.deadline <= time.monotonic()]


def _let_go(keeper: "subprocess.Popen[bytes]") -> None:
    """Tell a keeper to end, and wait until it has."""
    if keeper.stdin is not None:
        keeper.stdin.close()
    try:
        keeper.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    if keeper.stdout is not None:
        keeper.stdout.close()


def _outcome(one: _Running, interpreter: str) -> Outcome:
    _let_go(one.keeper)
    try:
        told = json.loads(one.answer)
    except ValueError:
        last = one.answer.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise GuardError(
            f"the import of {one.module} could not be watched ({brief(last, 200) or 'no answer'}); try it again"
        ) from None
    cure = "set python of its [[repo]] to the interpreter that the repo runs with"
    if "refused" in told:
        raise ConfigError([f"{printable(interpreter)} cannot be started ({told['refused']}); {cure}"])
    outcome = Outcome.from_told(one.module, told)
    if not outcome.ready:
        last = outcome.output.strip().rpartition("\n")[2]
        why = (
            "nothing came of it in 20s; a .pth file or sitecustomize may hang"
            if outcome.timed_out
            else brief(last, 200) or f"exit code {outcome.exit}"
        )
        raise ConfigError([f"{printable(interpreter)} does not come up as Python 3.6 or newer ({why}); {cure}"])
    return outcome
