"""What guard's own code never does, whatever it is given: text becomes no code, no shell line and no object."""

import ast
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile", "subprocess.getoutput",
    "subprocess.getstatusoutput", "importlib.import_module", "runpy.run_path", "runpy.run_module", "code.interact",
    "tempfile.mktemp", "asyncio.create_subprocess_shell", "ctypes.PyDLL",
}  # fmt: skip
_LAST_NAMES = {call.rpartition(".")[2] for call in CALLS}
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "yaml", "pty", "telnetlib", "ftplib", "xmlrpc", "code", "imp"}
MEANT = {
    "analysis/source_facts.py": {"compile"},  # of sources, in a process without the repo's modules; what comes of it is not run
    "checking/probe_child.py": {"__import__"},  # what `critical_modules` and `check --import` name
    "cli/main.py": {"importlib.import_module"},  # of a command out of a fixed list
    "alerting/targets/__init__.py": {"importlib.import_module"},
}
"""Calls that are there for a reason, by file."""

RULES = (
    "S102",
    "S103",
    "S301",
    "S302",
    "S306",
    "S307",
    "S310",
    "S323",
    "S324",
    "S501",
    "S506",
    "S602",
    "S604",
    "S605",
    "S609",
    "S701",
)


@dataclass
class Used:
    """What a file calls that could run text, what it imports, and where it names a shell."""

    calls: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    shells: list[int] = field(default_factory=list)

    def note(self, node: ast.AST) -> None:
        match node:
            case ast.Call(func=ast.Name() | ast.Attribute() as called):
                if (called.id if isinstance(called, ast.Name) else called.attr) in _LAST_NAMES:
                    self.calls |= {ast.unparse(called)} & CALLS
            case ast.Import(names=names):
                self.modules |= {alias.name.partition(".")[0] for alias in names} & MODULES
            case ast.ImportFrom(module=str(module), names=names):
                self.modules |= {module.partition(".")[0]} & MODULES
                self.calls |= {f"{module}.{alias.name}" for alias in names} & CALLS  # to be called by its bare name
            case ast.keyword(arg="shell"):
                self.shells.append(node.value.lineno)


def used_by_file() -> dict[str, Used]:
    base = TOP / "daemon/guardd"
    found = {}
    for path in sorted(base.rglob("*.py")):
        used = found[path.relative_to(base).as_posix()] = Used()
        for node in ast.walk(ast.parse(path.read_text())):
            used.note(node)
    return found


@pytest.mark.promise("nothing of the repo runs", "every call, import and argument in guard's code read")
def test_guards_code_evaluates_unpickles_and_shells_nothing() -> None:
    found = used_by_file()
    assert len(found) > 200
    assert {path: used.calls for path, used in found.items() if used.calls} == MEANT
    assert {path: used.modules for path, used in found.items() if used.modules} == {}
    assert {path: used.shells for path, used in found.items() if used.shells} == {}


def test_the_linter_holds_it_too() -> None:
    lint = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert not [rule for rule in RULES if any(rule.startswith(ignored) for ignored in lint["ignore"])]
    waived = {
        rule
        for path in (TOP / "daemon").rglob("*.py")
        for line in path.read_text().splitlines()
        for rule in re.findall(r"\bS\d{3}\b", line.partition("# noqa:")[2])
    }
    assert waived.isdisjoint(RULES), "no exception is made of these"
