"""guardd measured as whole processes, beside its peers on the same tree in the same run.

    make bench BENCH_ARGS="--tree stdlib --write"

Prints a Markdown table; `--write` puts it between the markers of that tree in benchmarks/README.md.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks.make_tree import copy_stdlib, make_tree

PROGRAMS = Path(sys.executable).parent
README = Path(__file__).with_name("README.md")
GIT = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "gc.auto=0"]
REST_S, IDLE_S, TICKS = 5.0, 20.0, os.sysconf("SC_CLK_TCK")


class Bench:
    """One tree, with scratch space beside it, and the rows measured so far."""

    def __init__(self, base: Path, tree: Path, runs: int) -> None:
        self.base, self.tree, self.runs = base, tree, runs
        self.env = {**os.environ, "GUARD_STATE_DIR": str(base / "state"), "XDG_CONFIG_HOME": str(base / "config")}
        self.env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        self.rows: list[tuple[str, str, str, str]] = []

    def row(self, what: str, ours: list[float], peer: str = "", theirs: list[float] | None = None, unit: str = "s") -> None:
        """Add a line: medians, and the median of the ratios pair by pair."""
        ratio = f"{median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}" if theirs else ""
        other = f"{peer}: {median(theirs):.3f} {unit}" if theirs else peer
        self.rows.append((what, f"{median(ours):.3f} {unit}", other, ratio))
        print(f"  {what}: {median(ours):.3f} {unit} {other} {ratio}", file=sys.stderr)

    def timed(self, command: list[str | Path], cwd: Path | None = None) -> float:
        """Seconds that a command takes; its failure ends the benchmark."""
        begun = time.perf_counter()
        subprocess.run(command, cwd=cwd or self.tree, env=self.env, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    def forget(self) -> None:
        """Begin with an empty store."""
        shutil.rmtree(self.base / "state", ignore_errors=True)

    @contextlib.contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[str]"]:
        """The daemon on the tree, from ready on."""
        command = [PROGRAMS / "guardd", "--repo", self.tree, "--log-format", "json"]
        with subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True) as process:
            try:
                while process.stdout and json.loads(process.stdout.readline())["event"] != "ready":
                    pass
                yield process
            finally:
                process.terminate()

    def baseline(self) -> float:
        """Seconds from the start of guardd with an empty store until it is ready, everything durable."""
        self.forget()
        begun = time.perf_counter()
        with self.daemon():
            return time.perf_counter() - begun

    def git_commit(self) -> float:
        """Seconds of a first `git add` and `git commit`."""
        shutil.rmtree(self.tree / ".git", ignore_errors=True)
        subprocess.run([*GIT, "init", "-q"], cwd=self.tree, env=self.env, check=True)
        return self.timed([*GIT, "add", "-A"]) + self.timed([*GIT, "commit", "-qm", "all"])

    def copy(self) -> float:
        """Seconds of `cp -a` of the files, with the sync that makes it as durable."""
        target = self.base / "copy"
        shutil.rmtree(target, ignore_errors=True)
        return self.timed(["cp", "-a", self.tree, target]) + self.timed(["sync", "-f", target])

    def damage(self, count: int) -> None:
        """Append a line to some files."""
        for path in sorted(self.tree.rglob("*.py"))[:count]:
            with path.open("a") as file:
                file.write("# damaged\n")


def pairs(runs: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Both in turn, so that a drift of the machine meets both."""
    measured = [(ours(), theirs()) for _ in range(runs)]
    return [pair[0] for pair in measured], [pair[1] for pair in measured]


def measure_baseline(bench: Bench) -> None:
    """Baseline against git and cp."""
    ours, theirs = pairs(bench.runs, bench.baseline, bench.git_commit)
    bench.row("baseline, durable and ready", ours, "git add + commit", theirs)
    ours, theirs = pairs(bench.runs, bench.baseline, bench.copy)
    bench.row("the same", ours, "cp -a, synced", theirs)


def measure_rescan(bench: Bench) -> None:
    """A scan with nothing changed, as a whole guardctl command."""
    with bench.daemon():
        pass
    time.sleep(2.5)  # past the racy window, as in real life
    log: list[str | Path] = [PROGRAMS / "guardctl", "log", "--limit", "1", "--json"]
    bench.timed(log)
    ours, theirs = pairs(bench.runs, lambda: bench.timed(log), lambda: bench.timed([*GIT, "status", "--porcelain"]))
    bench.row("rescan, nothing changed (guardctl log)", ours, "git status", theirs)


def measure_restore(bench: Bench, count: int = 300) -> None:
    """Restore of changed files: plan, safety versions, durable, verified, as a whole command; git does none of the last three."""

    def ours() -> float:
        time.sleep(1.5)
        bench.damage(count)
        return bench.timed([PROGRAMS / "guardctl", "restore", "--since", "1s", "--yes", "--json"])

    def theirs() -> float:
        bench.damage(count)
        return bench.timed([*GIT, "checkout", "--", "."])

    restored, checked_out = pairs(bench.runs, ours, theirs)
    bench.row(f"restore of {count} files, verified", restored, "git checkout -- .", checked_out)


def measure_commands(bench: Bench) -> None:
    """The commands that must feel instant."""
    for words in (["status"], ["--help"]):
        bench.row(f"guardctl {words[0]}", [bench.timed([PROGRAMS / "guardctl", *words]) for _ in range(9)])


def measure_daemon(bench: Bench) -> None:
    """Memory and idle CPU of the daemon, and how long a save takes to be durable."""
    with bench.daemon() as process:
        time.sleep(REST_S)
        before = cpu_ticks(process.pid)
        time.sleep(IDLE_S)
        bench.row("idle CPU of guardd", [100 * (cpu_ticks(process.pid) - before) / TICKS / IDLE_S], unit="%")
        status = Path(f"/proc/{process.pid}/status").read_text()
        rss = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        bench.row("memory of guardd (RSS)", [rss / 1024], unit="MiB")
        bench.row("a save, from close to durable", saves(bench, 50))


def saves(bench: Bench, count: int) -> list[float]:
    """Seconds from the close of a file until its version is committed."""
    import apsw

    db = apsw.Connection(str(bench.base / "state" / "guard.db"), flags=apsw.SQLITE_OPEN_READONLY)
    path = min(bench.tree.rglob("*.py"))
    taken = []
    for number in range(count):
        before = db.execute("SELECT max(seq) FROM versions").get
        with path.open("a") as file:
            file.write(f"# save {number}\n")
        begun = time.perf_counter()
        while db.execute("SELECT max(seq) FROM versions").get == before:
            if time.perf_counter() - begun > 10:
                raise TimeoutError("a save was not captured within 10 s")
        taken.append(time.perf_counter() - begun)
        time.sleep(0.1)  # a person's pace, however fast
    return taken


def cpu_ticks(pid: int) -> int:
    """Clock ticks that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def table(bench: Bench, tree: str, files: int) -> str:
    """The rows as Markdown, with what they were measured on."""
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    lines = [f"{tree}, {files:,} files, {date.today()}, {machine}; medians of {bench.runs} interleaved pairs.", ""]
    lines += ["| what | guardd | peer | ratio |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in bench.rows]
    return "\n".join(lines)


def write(tree: str, text: str) -> None:
    """Put a table between its markers in the README."""
    begin, end = f"<!-- figures:{tree} -->", f"<!-- end:{tree} -->"
    head, _, rest = README.read_text().partition(begin)
    README.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    """Measure a tree from the command line."""
    parser = argparse.ArgumentParser(description="guardd beside its peers")
    parser.add_argument("--tree", choices=["stdlib", "25k"], default="stdlib")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        if chosen.tree == "stdlib":
            copy_stdlib(tree)
        else:
            make_tree(tree)
        bench = Bench(Path(folder), tree, chosen.runs)
        files = sum(1 for _ in tree.rglob("*.py"))
        for measure in (measure_baseline, measure_rescan, measure_restore, measure_commands, measure_daemon):
            measure(bench)
        text = table(bench, chosen.tree, files)
    print(text)
    if chosen.write:
        write(chosen.tree, text)


if __name__ == "__main__":
    main()
