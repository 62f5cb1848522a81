"""How costs grow: with files (1,790, 25,000, 100,000) and with versions (10,000, 100,000, 1,000,000).

python -m benchmarks.growth [--write]

Prints a table with the slope of each cost on log-log axes (1 is linear) and exits 1 where one is beyond its goal. `--write` puts
it into benchmarks/README.md and draws benchmarks/growth.png.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.goals import measured, p99, slope
from benchmarks.guard import Guard, rescan
from benchmarks.looking_back import fill, queries
from benchmarks.processes import end_in_order, memory, settle_disk
from benchmarks.readme import machine, write
from benchmarks.resting import saves
from benchmarks.trees import STDLIB, TREES, make, sources

PNG = Path(__file__).with_name("growth.png")
LINEAR, NOT_AT_ALL = 1.1, 0.1
"""The most that a slope may be where a cost may be linear at worst, and where it may not grow; the rest is noise."""
VERSIONS = (10_000, 100_000, 1_000_000)
_RUNS, _SAVES = 3, 100

Costs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Cost:
    """One cost along one axis (`files` or `versions`), and the largest slope that it may have."""

    axis: str
    what: str
    unit: str = "s"
    goal: float = LINEAR


BASELINE = Cost("files", "baseline")
RESCAN = Cost("files", "rescan")
MEMORY = Cost("files", "memory at rest", "MB")
SAVE = Cost("files", "single save, median", goal=NOT_AT_ALL)
SAVE_P99 = Cost("files", "single save, p99")
STATUS = Cost("files", "guardctl status")
TREE_AT = Cost("versions", "the tree at a moment")
SINCE = Cost("versions", "what changed in the last 1 %")
LONG_RESCAN = Cost("versions", "rescan")
LONG_SAVE = Cost("versions", "single save, median", goal=NOT_AT_ALL)
LONG_STATUS = Cost("versions", "guardctl status")
LONG_MEMORY = Cost("versions", "memory at rest", "MB")
COSTS = (
    BASELINE, RESCAN, MEMORY, SAVE, SAVE_P99, STATUS,
    TREE_AT, SINCE, LONG_RESCAN, LONG_SAVE, LONG_STATUS, LONG_MEMORY,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """A cost as it was measured at each size."""

    cost: Cost
    sizes: Sequence[int]
    values: Sequence[float]

    @property
    def slope(self) -> float:
        """Its exponent."""
        return slope(self.sizes, self.values)

    @property
    def is_met(self) -> bool:
        """Whether it grows no faster than it may."""
        return self.slope <= self.cost.goal


def with_files(folder: Path, name: str) -> tuple[int, Costs]:
    """The costs on one of the trees; how many files it has."""
    tree = make(name, folder / name)
    guard = Guard(folder / "guard", tree.root)

    def baseline() -> float:
        settle_disk(folder)
        return guard.baseline()

    found = {BASELINE.what: median(baseline() for _ in range(_RUNS))}
    found |= {cost.what: value for cost, value in zip((MEMORY, SAVE, SAVE_P99, STATUS), _resident(guard), strict=True)}
    found[RESCAN.what] = _rescan(guard)
    shutil.rmtree(tree.root)
    return tree.files, found


def with_versions(folder: Path, versions: int) -> tuple[int, Costs]:
    """The costs on the standard library whose files have so many versions in all."""
    tree = make(STDLIB, folder / "long")
    guard = Guard(folder / "guard", tree.root)
    guard.prepare()
    fill(guard.state, tree.root, [str(path.relative_to(tree.root)) for path in sources(tree.root)], versions)
    queried = queries(guard.state, tree.root)
    found = {TREE_AT.what: median(queried["guardd tree"]), SINCE.what: median(queried["guardd since"])}
    costs = (LONG_MEMORY, LONG_SAVE, None, LONG_STATUS)
    found |= {cost.what: value for cost, value in zip(costs, _resident(guard), strict=True) if cost is not None}
    found[LONG_RESCAN.what] = _rescan(guard)
    shutil.rmtree(tree.root)
    return versions, found


def _resident(guard: Guard) -> tuple[float, float, float, float]:
    """Memory at rest, median and p99 of single saves, and status, beside a daemon."""
    with guard.running() as daemon:
        guard.wait_quiet()
        time.sleep(5)
        resident = memory(daemon.pid)
        taken = saves(guard, _SAVES)
        status = median(guard.ctl("status") for _ in range(2 * _RUNS + 1))
    return resident, median(taken), p99(taken), status


def _rescan(guard: Guard) -> float:
    time.sleep(2.5)  # past the racy window
    guard.ctl("log", "--limit", "1", "--json")
    with guard.capturer() as capturer:
        return median(rescan(capturer) for _ in range(2 * _RUNS + 1))


def measure(folder: Path, kept: Path | None) -> list[Curve]:
    """All curves; `kept` holds the sizes that were measured before."""
    points: dict[str, tuple[int, Costs]] = json.loads(kept.read_text()) if kept and kept.exists() else {}
    jobs: dict[str, Callable[[Path], tuple[int, Costs]]] = {}
    for name in TREES:
        jobs[f"files {name}"] = partial(with_files, name=name)
    for versions in VERSIONS:
        jobs[f"versions {versions}"] = partial(with_versions, versions=versions)
    for label, job in jobs.items():
        if label not in points:
            base = folder / "point"
            base.mkdir()
            points[label] = job(base)
            shutil.rmtree(base)
            print(label, points[label], file=sys.stderr, flush=True)
            if kept:
                kept.write_text(json.dumps(points, indent=1))
    return [_curve(cost, [points[label] for label in jobs if label.startswith(f"{cost.axis} ")]) for cost in COSTS]


def _curve(cost: Cost, points: Sequence[tuple[int, Costs]]) -> Curve:
    return Curve(cost, [size for size, _ in points], [costs[cost.what] for _, costs in points])


def table(curves: Sequence[Curve]) -> str:
    """The numbers and slopes as Markdown, a table for each axis."""
    lines: list[str] = []
    for axis in ("files", "versions"):
        of_axis = [curve for curve in curves if curve.cost.axis == axis]
        sizes = " | ".join(f"{size:,} {axis}" for size in of_axis[0].sizes)
        lines += ["", f"| cost | {sizes} | slope | goal | |", "|---|" + "---:|" * (len(of_axis[0].sizes) + 2) + "---|"]
        lines += [_line(curve) for curve in of_axis]
    return "\n".join(lines)


def _line(curve: Curve) -> str:
    values = " | ".join(measured(value, curve.cost.unit) for value in curve.values)
    verdict = "met" if curve.is_met else "**missed**"
    return f"| {curve.cost.what} | {values} | {curve.slope:.2f} | {curve.cost.goal:g} | {verdict} |"


def draw(curves: Sequence[Curve], path: Path) -> None:
    """One picture, an axis each, both logarithmic; each cost relative to its first value, beside a linear one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    picture, panes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for pane, axis in zip(panes, ("files", "versions"), strict=True):
        of_axis = [curve for curve in curves if curve.cost.axis == axis]
        for curve in of_axis:
            relative = [value / curve.values[0] for value in curve.values]
            pane.loglog(curve.sizes, relative, marker="o", label=f"{curve.cost.what} ({curve.slope:.2f})")
        sizes = of_axis[0].sizes
        pane.loglog(sizes, [size / sizes[0] for size in sizes], color="grey", linestyle="--", label="linear (1)")
        pane.set(xlabel=axis, ylabel="cost, relative to the smallest", title=f"with the number of {axis} (slope)")
        pane.grid(visible=True, which="major", alpha=0.3)
        pane.legend(fontsize=8)
    picture.savefig(path, dpi=100, metadata={"Software": None})


def main() -> int:
    """Measure from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description="how costs grow")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep figures here, and measure only what is not in it yet")
    parser.add_argument("--dir", type=Path, help="where to work, 6 GB; the temporary directory by default")
    parser.add_argument("--write", action="store_true", help="put the table into README.md, and draw growth.png")
    chosen = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="guard-growth-", dir=chosen.dir) as folder:
        curves = measure(Path(folder).resolve(), chosen.resume)
    text = f"{machine()}; one size after the other, medians.\n{table(curves)}"
    print(text)
    if chosen.write:
        write("growth", text)
        draw(curves, PNG)
    return 0 if all(curve.is_met for curve in curves) else 1


if __name__ == "__main__":
    sys.exit(main())
