"""Checks, runs and the rescue as whole commands, beside peers that do less.

python -m benchmarks.checking [--runs 5] [--write]
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks.damage import FOUNDING_FILES
from benchmarks.goals import ratio
from benchmarks.make_tree import copy_stdlib
from benchmarks.peers import GIT
from benchmarks.processes import PROGRAMS, Command, clean_environment, timed
from benchmarks.readme import write

_COPIES = 3
"""Of the standard library: some 5,370 files."""

_SCRIPT = """
import pathlib, sys
for number, path in enumerate(sorted(pathlib.Path("tests").glob("*.py"))):
    text = path.read_text()
    if sys.argv[1] == "import":
        path.write_text(text.replace("app.core", "app.wrong"))
    else:
        if number % 2:
            path.with_name(path.name + ".backup_20250917_084026").write_text(text)
        path.write_text("".join(f"# REMOVED_SYNTAX_ERROR: {line}\\n" for line in text.splitlines()))
"""


class Bench:
    """One tree, with scratch space beside it, and the rows measured so far."""

    def __init__(self, base: Path, tree: Path, runs: int) -> None:
        self.base, self.tree, self.runs = base, tree, runs
        self.env = clean_environment() | {"GUARD_STATE_DIR": str(base / "state"), "XDG_CONFIG_HOME": str(base / "config")}
        self.rows: list[tuple[str, str, str, str]] = []

    def row(self, what: str, ours: list[float], peer: str = "", theirs: list[float] | None = None) -> None:
        """Add a line, in seconds: medians, and the median of the ratios pair by pair."""
        against = f"{ratio(ours, theirs):.2f}" if theirs else ""
        other = f"{peer}: {median(theirs):.3f} s" if theirs else peer
        self.rows.append((what, f"{median(ours):.3f} s", other, against))
        print(f"  {what}: {median(ours):.3f} s {other} {against}", file=sys.stderr)

    def timed(self, command: Command) -> float:
        """Seconds that a command takes; its failure ends the benchmark."""
        return timed(command, self.tree, self.env)

    def forget(self) -> None:
        """Begin with an empty store."""
        shutil.rmtree(self.base / "state", ignore_errors=True)


def pairs(runs: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Both in turn, so that a drift of the machine meets both."""
    measured = [(ours(), theirs()) for _ in range(runs)]
    return [pair[0] for pair in measured], [pair[1] for pair in measured]


def measure_check(base: Path, runs: int) -> list[tuple[str, str, str, str]]:
    """`guardctl check` of a tree that it has seen before, and of one that it has not."""
    tree = base / "check"
    for number in range(_COPIES):
        copy_stdlib(tree / f"copy{number}")
    bench = Bench(base, tree, runs)
    check: list[str | Path] = [PROGRAMS / "guardctl", "check", "--quiet"]
    files = sum(1 for _ in tree.rglob("*.py"))
    status = [*GIT, "status", "--porcelain"]
    subprocess.run([*GIT, "init", "-q"], cwd=tree, check=True)
    subprocess.run([*GIT, "add", "-A"], cwd=tree, check=True)
    bench.row(f"check of {files:,} files, never seen", [found(bench, check)], "pyrefly check", [found(bench, pyrefly(tree))])
    ours, theirs = pairs(runs, lambda: found(bench, check), lambda: bench.timed(status))
    bench.row("the same again", ours, "git status", theirs)
    ours, theirs = pairs(runs, lambda: found(bench, check), lambda: found(bench, pyrefly(tree)))
    bench.row("the same again", ours, "pyrefly check", theirs)
    return bench.rows


def pyrefly(tree: Path) -> list[str | Path]:
    """A type checker that is asked for imports alone."""
    return [PROGRAMS / "pyrefly", "check", "--summary", "none", "--output-format", "omit-errors", tree]


def found(bench: Bench, command: Command) -> float:
    """Seconds of a command that exits 1 for what it has found."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=bench.tree, env=bench.env, check=False, capture_output=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    return time.perf_counter() - begun


def measure_run(base: Path, runs: int) -> list[tuple[str, str, str, str]]:
    """The founding script under `guardctl run`, rolled back, and without it; then the rescue from what it leaves."""
    tree = base / "founding"
    make_founding_tree(tree)
    before = contents(tree)
    script = base / "script.py"
    script.write_text(_SCRIPT)
    bench = Bench(base / "run", tree, runs)
    bench.timed([PROGRAMS / "guardctl", "init"])
    bench.timed([PROGRAMS / "guardctl", "log", "--json"])
    bare: list[str | Path] = [sys.executable, script, "import"]

    def alone() -> float:
        taken = bench.timed(bare)
        for path, content in before.items():
            (tree / path).write_bytes(content)
        return taken

    def under_run() -> float:
        taken = found(bench, [PROGRAMS / "guardctl", "run", "--", *bare])
        if contents(tree) != before:
            raise RuntimeError("not rolled back byte for byte")
        return taken

    alone()
    bench.timed([PROGRAMS / "guardctl", "log", "--json"])
    ours, theirs = pairs(runs, under_run, alone)
    bench.row(f"{FOUNDING_FILES:,} broken imports under guardctl run, rolled back", ours, "the script alone, not undone", theirs)
    adopted, restored = [], []
    for _ in range(runs):
        bench.forget()
        shutil.rmtree(tree / ".git", ignore_errors=True)
        subprocess.run([*GIT, "init", "-q"], cwd=tree, check=True)
        subprocess.run([*GIT, "add", "-A"], cwd=tree, check=True)
        subprocess.run([*GIT, "commit", "-qm", "one"], cwd=tree, check=True)
        bench.timed([sys.executable, script, "hollow"])
        bench.timed([PROGRAMS / "guardctl", "init"])
        bench.timed([PROGRAMS / "guardctl", "log", "--json"])
        adopted.append(bench.timed([PROGRAMS / "guardctl", "adopt", "--json"]))
        restored.append(bench.timed([PROGRAMS / "guardctl", "restore", "--best", "--yes", "--json"]))
        for path in tree.rglob("*.backup_*"):
            path.unlink()
        if contents(tree) != before:
            raise RuntimeError("not all is back")
    bench.row(f"adopt of {FOUNDING_FILES // 2} backups", adopted)
    bench.row(f"restore --best of {FOUNDING_FILES:,} hollowed files, half of them from git", restored)
    return bench.rows


def make_founding_tree(tree: Path) -> None:
    """A package, and 1,381 test modules that import from it."""
    for number in range(20):
        for package, name in (("core", "work"), ("wrong", "other")):
            folder = tree / "app" / package
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").touch()
            (folder / f"part{number}.py").write_text(f"def {name}{number}(x):\n    return x + {number}\n")
    (tree / "app" / "__init__.py").touch()
    (tree / "tests").mkdir()
    for number in range(FOUNDING_FILES):
        part = number % 20
        lines = [f"from app.core.part{part} import work{part}\n", "\n\n"]
        lines += [f"def test_{number}_{case}():\n    assert work{part}({case}) == {case + part}\n\n\n" for case in range(12)]
        (tree / "tests" / f"test_{number}.py").write_text("".join(lines))


def contents(tree: Path) -> dict[str, bytes]:
    """Path -> content of every Python file."""
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*.py")}


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="checks, runs and the rescue")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guard-checking-") as folder:
        base = Path(os.path.realpath(folder))
        rows = measure_check(base, chosen.runs) + measure_run(base, chosen.runs)
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    head = ["| what | guardd | peer | ratio |", "|---|---|---|---|"]
    lines = [f"{date.today()}, {machine}; whole commands, medians of {chosen.runs} in turn; a first check once.", "", *head]
    text = "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
    print(text)
    if chosen.write:
        write("checking", text)


if __name__ == "__main__":
    main()
