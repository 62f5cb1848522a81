"""Mutation testing of the pure core, as `make mutation` runs it: which changes of the code no test notices.

Works on a copy, in `.mutation/`; `.mutation/mutants` is mutmut's own, so `cd .mutation && mutmut show NAME` shows a survivor.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

_HERE = Path(__file__).resolve().parent.parent
_COPY = _HERE / ".mutation"
_CORE = ("timespec.py", "store/retention.py", "recovery/plan.py", "detection/bursts.py", "detection/rules/*.py")
_TESTS = (
    "tests/test_timespec.py", "tests/store/test_retention.py", "tests/recovery/test_plan.py", "tests/detection/test_bursts.py",
    "tests/detection/test_rules.py",
)  # fmt: skip
_LEAST_KILLED = 0.85
_ALIVE = {0: "survived", 33: "untested", 5: "untested"}
"""mutmut's exit codes for a mutant that no test noticed; any other one means that something did, a time limit included."""

_CONFIG = f"""\
[tool.pytest.ini_options]
markers = ["long: ", "faults: ", "soak: ", "promise(promise, fault): "]
pythonpath = ["."]
addopts = "-q -m 'not long and not faults and not soak'"

[tool.mutmut]
source_paths = ["src"]
only_mutate = {json.dumps([f"src/guardd/{name}" for name in _CORE])}
also_copy = ["src", "tests"]
pytest_add_cli_args = ["--hypothesis-seed=1", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {json.dumps(_TESTS)}
"""


def main() -> int:
    """Run every mutant, print what became of them by module and the names of the survivors; 1 if too many are left."""
    shutil.rmtree(_COPY, ignore_errors=True)
    shutil.copytree(_HERE / "daemon" / "guardd", _COPY / "src" / "guardd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(_HERE / "tests", _COPY / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (_COPY / "pyproject.toml").write_text(_CONFIG)
    children = os.environ.get("MUTATION_CHILDREN", "2")
    with (_COPY / "mutmut.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", children], check=False, cwd=_COPY, stdout=log, stderr=log
        )
    found = _outcomes()
    if done.returncode or not found:
        print((_COPY / "mutmut.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        return 2
    total: Counter[str] = Counter()
    survivors: list[str] = []
    print("| module | mutants | killed | survived | untested |\n|---|---:|---:|---:|---:|")
    for module, outcomes in sorted(found.items()):
        counts = Counter(outcomes.values())
        total += counts
        survivors += sorted(f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome != "killed")
        print(_line(f"`{module}`", counts))
    print(_line("all", total))
    killed = total["killed"] / total.total()
    print(f"\n{killed:.1%} killed", *survivors, sep="\n")
    return int(killed < _LEAST_KILLED)


def _line(name: str, counts: "Counter[str]") -> str:
    killed = f"{counts['killed']} ({counts['killed'] / counts.total():.0%})"
    return f"| {name} | {counts.total()} | {killed} | {counts['survived']} | {counts['untested']} |"


def _outcomes() -> dict[str, dict[str, str]]:
    """By module, what became of each mutant."""
    root = _COPY / "mutants" / "src" / "guardd"
    found = {}
    for meta in root.rglob("*.meta"):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[str(meta.relative_to(root)).removesuffix(".meta")] = {
                name: _ALIVE.get(code, "killed") if code is not None else "untested" for name, code in codes.items()
            }
    return found


if __name__ == "__main__":
    sys.exit(main())
