"""Import resolution held against the truth: real trees, real breakages, Python itself and a type checker as judges."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.make_tree import copy_packages, copy_stdlib
from tests.analysis.truth import Breakage, Tree, breakages, copy_package, statement_of, without_overlap

from guardd.analysis.sources import Parsers

SITE = Path(sysconfig.get_path("purelib"))
PYPROJECT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "{name}"\n'
SOME = ("concurrent", "email", "json", "xml")


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers(timeout_s=30.0) as parsers:
        yield parsers


def src_layout(name: str) -> Callable[[Path], tuple[str, ...]]:
    def make(root: Path) -> tuple[str, ...]:
        copy_package(SITE / name, root / "python" / name)
        (root / "pyproject.toml").write_text(
            PYPROJECT.format(name=name) + '[tool.setuptools.packages.find]\nwhere = ["python"]\n'
        )
        return ("python",)

    return make


def flat(*names: str, skipped: tuple[str, ...] = ()) -> Callable[[Path], tuple[str, ...]]:
    def make(root: Path) -> tuple[str, ...]:
        for name in names:
            copy_package(SITE / name, root / name, skipped)
        return ("",)

    return make


def some_of_the_stdlib(root: Path) -> tuple[str, ...]:
    copy_packages(root, SOME)
    return ("",)


def whole_stdlib(root: Path) -> tuple[str, ...]:
    copy_stdlib(root)
    return ("",)


EVERYDAY = {
    "standard library": (some_of_the_stdlib, 12),
    "src layout": (src_layout("structlog"), 8),
}
LONG = {
    "standard library": (whole_stdlib, 200),
    "src layout": (src_layout("rich"), 200),
    "namespace package": (flat("zope/interface"), 200),
    "compiled": (flat("mypy", "apsw", "pydantic_core", skipped=("typeshed",)), 200),
}


def test_no_real_import_is_called_missing_and_nearly_every_broken_one_is(parsers: Parsers, tmp_path: Path) -> None:
    broken, missed = 0, list[Breakage]()
    for name, (make, count) in EVERYDAY.items():
        with tree_of(tmp_path / name, make, parsers) as tree:
            one_broken, one_missed = hold_against_python(tree, count)
        broken += len(one_broken)
        missed += one_missed
    assert len(missed) <= broken * 0.05, report(broken, missed)


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_of_200_breakages_nearly_all_are_found_and_a_type_checker_agrees(parsers: Parsers, tmp_path: Path, name: str) -> None:
    make, count = LONG[name]
    with tree_of(tmp_path / name, make, parsers) as tree:
        broken, missed = hold_against_python(tree, count)
        assert len(missed) <= len(broken) * 0.05, report(len(broken), missed)
        compare_with_pyrefly(tree, broken, missed)


@contextmanager
def tree_of(root: Path, make: Callable[[Path], tuple[str, ...]], parsers: Parsers) -> Iterator[Tree]:
    root.mkdir()
    tree = Tree(root, make(root), parsers, alone=root.name == "standard library")
    try:
        yield tree
    finally:
        tree.close()


def hold_against_python(tree: Tree, count: int) -> tuple[list[Breakage], list[Breakage]]:
    """The breakages of a tree, and those that we do not find; on the whole tree nothing is found that Python does not miss."""
    false = false_findings(tree)
    assert not false, "\n".join(false)
    broken = breakages(tree, count, seed=5)
    assert len(broken) >= count * 0.9, f"only {len(broken)} breakages could be made"
    missed = []
    for one in broken:
        before = tree.write(one.files)
        if (one.path, one.line) not in tree.findings([one.path]):
            missed.append(one)
        tree.write(before)
    report(len(broken), missed)
    return broken, missed


def report(broken: int, missed: Sequence[Breakage]) -> str:
    text = "\n".join([f"{broken} breakages, {1 - len(missed) / broken:.1%} found; not:", *map(str, missed)])
    sys.stderr.write(text + "\n")  # pytest shows it where the test fails
    return text


def false_findings(tree: Tree) -> list[str]:
    """What is called missing although Python finds it."""
    return [
        f"{path}:{line}: {what}"
        for (path, line), (what, one) in tree.findings().items()
        if not tree.really_fails(path, statement_of(one))
    ]


def compare_with_pyrefly(tree: Tree, broken: Sequence[Breakage], missed: Sequence[Breakage]) -> None:
    """Where we differ from the second opinion Python decides: we are never wrong, and our misses are known."""
    ours_before, theirs_before = set(tree.findings()), pyrefly(tree)
    together = without_overlap(broken)
    for one in together:
        tree.write(one.files)
    found = tree.findings()
    ours, theirs = set(found) - ours_before, pyrefly(tree) - theirs_before
    wrong = [key for key in ours - theirs if not tree.really_fails(key[0], statement_of(found[key][1]))]
    assert not wrong, wrong
    known = {(one.path, one.line) for one in missed}
    unexplained = [key for key in theirs - ours - ours_before - known if not _is_guarded(tree, *key) and _fails(tree, *key)]
    sys.stderr.write(f"{len(together)} together: {len(ours)} ours, {len(theirs)} pyrefly's, only theirs {unexplained}\n")
    assert len(unexplained) <= 0.05 * len(theirs), unexplained


def _is_guarded(tree: Tree, path: str, line: int) -> bool:
    return all(one.guarded for one in tree.facts[path].imports if one.line == line)


def _fails(tree: Tree, path: str, line: int) -> bool:
    return any(tree.really_fails(path, statement_of(one)) for one in tree.facts[path].imports if one.line == line)


def pyrefly(tree: Tree) -> set[tuple[str, int]]:
    """The imports that pyrefly finds wrong, by file and line of the statement."""
    (tree.root / "pyrefly.toml").write_text("")
    command = [str(Path(sys.executable).with_name("pyrefly")), "check", "--output-format", "json", "--threads", "2"]
    command += [part for root in tree.roots for part in ("--search-path", str(tree.root / root))]
    done = subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=False)
    errors = json.loads(done.stdout)["errors"]
    return {
        (error["path"], start)
        for error in errors
        if error["name"] in {"missing-import", "missing-module-attribute"}
        and (start := _start(tree, error["path"], error["line"])) is not None
    }


def _start(tree: Tree, path: str, line: int) -> int | None:
    """The line on which the import statement begins that stands on a line."""
    return max((one.line for one in tree.facts[path].imports if one.line <= line), default=None) if path in tree.facts else None
