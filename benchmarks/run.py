"""guardd measured as whole processes, beside its peers on the same files in the same run.

python -m benchmarks.run [--tree stdlib] [--only restore] [--pairs 5] [--write]

Prints a Markdown table with a goal beside every figure that has one; exits 1 when a goal is missed. `--write` puts the table into
benchmarks/README.md.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import Bench, is_here
from benchmarks.goals import Figure, exit_code, figure, summary, table
from benchmarks.peers import PEERS
from benchmarks.processes import end_in_order
from benchmarks.readme import machine, write
from benchmarks.results import Results
from benchmarks.rows import GROUPS, Group, rows_of
from benchmarks.trees import LARGE, MIDDLE, STDLIB, TREES, Tree, make


def measure(group: Group, tree: Tree, base: Path, pairs: int) -> list[Figure]:
    """The figures of one group on one tree."""
    base.mkdir()
    try:
        series = group.measure(Bench(tree, base, pairs))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    found = []
    for row in rows_of(group.name):
        one = figure(row, tree.name, series)
        if one is not None:
            found.append(one)
        elif is_here(row.ours) and (not row.peer or is_here(row.peer)):
            raise RuntimeError(f"{group.name} did not measure {row.what}: {row.ours}, {row.peer}")
    return found


def run(chosen: argparse.Namespace, results: Results, folder: Path) -> None:
    """Measure what is not in the results yet."""
    for name in chosen.tree:
        todo = [group for group in chosen.groups if name in group.trees and (group.name, name) not in results]
        if not todo:
            continue
        tree = make(name, folder / name)
        for group in todo:
            begun = time.monotonic()
            figures = measure(group, tree, folder / "scratch", chosen.pairs)
            results.add(group.name, name, figures, time.monotonic() - begun)
            print(f"{group.name} on {name}, {time.monotonic() - begun:.0f} s\n{table(figures)}\n", file=sys.stderr, flush=True)
        shutil.rmtree(tree.root)


def report(figures: list[Figure], pairs: int, minutes: float) -> str:
    """The table with what was measured on, what is missed, and which peers are missing."""
    missing = [name for name in PEERS if not is_here(name)]
    said = f"Not installed, rows left out: {', '.join(missing)}." if missing else "All peers are installed."
    head = f"{machine()}; {pairs} interleaved pairs, slowdowns more; medians, and the median of the ratios pair by pair; "
    head += f"it took {minutes:.0f} minutes."
    return "\n".join([head, "", f"{summary(figures)} {said}", "", table(figures)])


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="guardd beside its peers")
    names = [group.name for group in GROUPS]
    parser.add_argument("--tree", action="append", choices=TREES, help="may be repeated; stdlib and 25k by default")
    parser.add_argument("--only", action="append", choices=names, metavar="GROUP", help=f"may be repeated: {', '.join(names)}")
    parser.add_argument("--large", action="store_true", help="also the tree of 100,000 files, where that is measured")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep figures here, and measure only what is not in it yet")
    parser.add_argument("--dir", type=Path, help="where to work; 4 GB, with --large 14 GB; the temporary directory by default")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    chosen = parser.parse_args()
    chosen.tree = chosen.tree or [STDLIB, MIDDLE, *([LARGE] if chosen.large else [])]
    chosen.groups = [group for group in GROUPS if not chosen.only or group.name in chosen.only]
    return chosen


def main() -> int:
    """Measure from the command line; the exit code."""
    chosen = arguments()
    results = Results(chosen.resume)
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="guard-bench-", dir=chosen.dir) as folder:
        run(chosen, results, Path(folder).resolve())
    figures = results.figures((group.name, tree) for group in GROUPS for tree in TREES)
    text = report(figures, chosen.pairs, results.seconds / 60)
    print(text)
    if chosen.write:
        write("peers", text)
    return exit_code(figures)


if __name__ == "__main__":
    sys.exit(main())
