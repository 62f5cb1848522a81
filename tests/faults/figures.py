"""What a run of the fault tests came to: by promise and test, how often, with how many faults, with how many losses.

`python -m tests.faults.figures FILE` puts it into docs/reliability.md.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date
from pathlib import Path

from benchmarks.readme import machine, put

_PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass(slots=True)
class Figure:
    """A test that holds a promise: `fault` is what it does, `losses` are the runs that failed, `measured` what it has to say.

    `code` is the commit, and the day, that it was run at; empty where that is not known.
    """

    promise: str
    fault: str
    test: str
    runs: int = 0
    faults: int = 0
    losses: int = 0
    skipped: int = 0
    measured: list[str] = field(default_factory=list)
    code: str = ""


class Figures:
    """Adds up the runs of each test."""

    def __init__(self, known: Iterable[Figure] = ()) -> None:
        self._by_test = {(one.promise, one.test): one for one in known}

    def add(self, promise: str, fault: str, test: str, *, faults: int, outcome: str, measured: Iterable[str] = ()) -> None:
        """Count one run; `outcome` is pytest's."""
        one = self._by_test.setdefault((promise, test), Figure(promise, fault, test))
        if outcome == "skipped":
            one.skipped += 1
            return
        one.runs += 1
        one.faults += faults
        one.losses += outcome == "failed"
        one.measured += measured

    @property
    def all(self) -> list[Figure]:
        """By promise, then by test."""
        return sorted(self._by_test.values(), key=lambda one: (one.promise, one.test))

    def write(self, path: Path, code: str = "") -> None:
        """Keep them as JSON, over those of the same tests from an earlier run; `code` is what they were run at."""
        for one in self._by_test.values():
            one.code = code
        known = {(one.promise, one.test): one for one in read(path)} if path.exists() else {}
        merged = Figures((known | self._by_test).values())
        path.write_text(json.dumps([astuple(one) for one in merged.all], indent=0))


def read(path: Path) -> list[Figure]:
    """What `write` kept."""
    return [Figure(*fields) for fields in json.loads(path.read_text())]


def table(figures: Iterable[Figure]) -> str:
    """As Markdown: a line for each promise and test, and below it what was measured."""
    figures = list(figures)
    lines = ["| promise | what is done | runs | faults | losses | test |", "|---|---|---:|---:|---:|---|"]
    for one in figures:
        skipped = f" (+ {one.skipped} skipped)" if one.skipped else ""
        lines.append(f"| {one.promise} | {one.fault} | {one.runs:,}{skipped} | {one.faults:,} | {one.losses} | `{one.test}` |")
    measured = [f"- {line}" for one in figures for line in one.measured]
    return "\n".join([*lines, "", *measured] if measured else lines)


def code() -> str:
    """The commit of this tree, and the day; a `+` where it was changed since."""
    git = ["git", "-C", str(_PAGE.parent)]
    done = subprocess.run([*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return f"{done.stdout.strip() or 'no commit'} of {date.today()}"


def summary(figures: Sequence[Figure]) -> str:
    """How many runs and faults there were, with how many losses, and at which commits."""
    runs, faults, losses = (sum(getattr(one, name) for one in figures) for name in ("runs", "faults", "losses"))
    tests = Counter(one.code or "a commit that was not noted" for one in figures)
    at = "; ".join(f"{count} test{'s' * (count > 1)} at {where}" for where, count in tests.most_common())
    return f"{runs:,} runs, {faults:,} faults, {losses} losses: {at}."


def main() -> None:
    """Write the page's table from a file that `Figures.write` made."""
    figures = read(Path(sys.argv[1]))
    _PAGE.write_text(put(_PAGE.read_text(), "faults", f"{machine()}\n\n{summary(figures)}\n\n{table(figures)}"))


if __name__ == "__main__":
    main()
