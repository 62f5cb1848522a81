"""What guard's own code never does, whatever it is given: text becomes no code, no shell line and no object."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile", "subprocess.getoutput",
    "subprocess.getstatusoutput", "importlib.import_module", "runpy.run_path", "runpy.run_module", "code.interact",
    "tempfile.mktemp", "asyncio.create_subprocess_shell", "ctypes.PyDLL",
}  # fmt: skip
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "yaml", "pty", "telnetlib", "ftplib", "xmlrpc", "code", "imp"}
MEANT = {
    "analysis/source_worker.py": {"compile"},  # of sources, in a process without the repo's modules; what comes of it is not run
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


def trees() -> Iterator[tuple[str, ast.Module]]:
    base = TOP / "daemon/guardd"
    for path in sorted(base.rglob("*.py")):
        yield path.relative_to(base).as_posix(), ast.parse(path.read_text())


def called(tree: ast.Module) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def imported(tree: ast.Module) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.promise("nothing of the repo runs", "every call, import and argument in guard's code read")
def test_guards_code_evaluates_unpickles_and_shells_nothing() -> None:
    found = {path: called(tree) & CALLS for path, tree in trees()}
    assert {path: calls for path, calls in found.items() if calls} == MEANT
    assert {path: names for path, tree in trees() if (names := imported(tree) & MODULES)} == {}
    shells = {
        (path, node.lineno)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    }
    assert shells == set()


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
