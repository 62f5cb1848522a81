"""Mutation testing of the pure core, as `make mutation` runs it: which changes no test notices, and why they may live.

Works on a copy, in `.mutation/`; `.mutation/mutants` is mutmut's own, so `cd .mutation && mutmut show NAME` shows a survivor.
`tests/survivors.toml` explains survivors; with `--write` the figures go into docs/reliability.md.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.readme import machine, put

_HERE = Path(__file__).resolve().parent.parent
_COPY = _HERE / ".mutation"
_EXPLAINED = Path(__file__).with_name("survivors.toml")
_PAGE = _HERE / "docs" / "reliability.md"
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
also_copy = ["src", "tests", "benchmarks"]
pytest_add_cli_args = ["--hypothesis-seed=1", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {json.dumps(_TESTS)}
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Survivors that live for the same reason. A change is `MODULE FUNCTION: the lines as they are then`."""

    kind: str
    reason: str
    changes: list[str]


def main() -> int:
    """Run every mutant and print what became of them; 1 if too many are left, or one that nobody has explained."""
    if not _run():
        print((_COPY / "mutmut.log").read_text(errors="replace")[-3000:], file=sys.stderr)
        return 2
    found = _outcomes()
    kinds = [Kind(**kind) for kind in tomllib.loads(_EXPLAINED.read_text())["kind"]]
    alive = {name: _change(name, module) for module, by_name in found.items() for name in by_name if by_name[name] != "killed"}
    explained = {change for kind in kinds for change in kind.changes}
    report = f"{outcome_table(found)}\n\n{kind_table(kinds, list(alive.values()))}"
    print(report)
    unexplained = sorted(f"{name}: {change}" for name, change in alive.items() if change not in explained)
    print("\nnot explained:", *unexplained or ["none"], sep="\n")
    print("\nexplained, and killed by now:", *sorted(explained - set(alive.values())) or ["none"], sep="\n")
    if "--write" in sys.argv:
        _PAGE.write_text(put(_PAGE.read_text(), "mutation", f"{machine()}\n\n{report}"))
    outcomes = [outcome for by_name in found.values() for outcome in by_name.values()]
    return int(bool(unexplained) or outcomes.count("killed") < _LEAST_KILLED * len(outcomes))


def _run() -> bool:
    """Whether mutmut got through, on a fresh copy."""
    shutil.rmtree(_COPY, ignore_errors=True)
    shutil.copytree(_HERE / "daemon" / "guardd", _COPY / "src" / "guardd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "benchmarks"):  # the set-up of the tests counts figures with the benchmarks' code
        shutil.copytree(_HERE / name, _COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    (_COPY / "pyproject.toml").write_text(_CONFIG)
    children = os.environ.get("MUTATION_CHILDREN", "2")
    with (_COPY / "mutmut.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", children], check=False, cwd=_COPY, stdout=log, stderr=log
        )
    return not done.returncode and bool(_outcomes())


def _outcomes() -> dict[str, dict[str, str]]:
    """By module, what became of each mutant."""
    root = _COPY / "mutants" / "src" / "guardd"
    found = {}
    for meta in sorted(root.rglob("*.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[str(meta.relative_to(root)).removesuffix(".meta")] = {
                name: _ALIVE.get(code, "killed") if code is not None else "untested" for name, code in codes.items()
            }
    return found


def _change(name: str, module: str) -> str:
    """What a mutant changes, in words that last: its number does not, when the function is edited."""
    shown = subprocess.run(
        [sys.executable, "-m", "mutmut", "show", name], check=True, cwd=_COPY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    lines = shown.stdout.decode().splitlines()
    added = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    function = name.rpartition(".")[2].partition("__mutmut")[0].removeprefix("x").replace("ǁ", ".").removeprefix("_").lstrip(".")
    return f"{module} {function}: {' '.join(added)}"


def outcome_table(found: dict[str, dict[str, str]]) -> str:
    """As Markdown: a line for each module, and one for all."""
    lines = ["| module | mutants | killed | survived | untested |", "|---|---:|---:|---:|---:|"]
    total: Counter[str] = Counter()
    for module, outcomes in found.items():
        counts = Counter(outcomes.values())
        total += counts
        lines.append(_line(f"`{module}`", counts))
    return "\n".join([*lines, _line("all", total)])


def _line(name: str, counts: "Counter[str]") -> str:
    killed = f"{counts['killed']:,} ({counts['killed'] / counts.total():.1%})"
    return f"| {name} | {counts.total():,} | {killed} | {counts['survived']} | {counts['untested']} |"


def kind_table(kinds: Iterable[Kind], alive: Sequence[str]) -> str:
    """As Markdown: a line for each kind of survivors, the most first."""
    lines = ["| survivors | number | why they may live | for example |", "|---|---:|---|---|"]
    counted = [(sum(change in kind.changes for change in alive), kind) for kind in kinds]
    for count, kind in sorted(counted, key=lambda one: -one[0]):
        if count:
            example = next(change for change in kind.changes if change in alive).replace("|", "\\|")
            lines.append(f"| {kind.kind} | {count} | {kind.reason} | `{example}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
