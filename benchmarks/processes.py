"""Programs as processes: timing them, and what the kernel says of their memory and CPU time."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
"""Where guardd and guardctl are."""

Command = Sequence[str | Path]


def timed(command: Command, cwd: Path, env: Mapping[str, str] | None = None) -> float:
    """Seconds that a command takes, wall clock. Raises RuntimeError with what it said when it fails."""
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{command[:6]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return taken


def is_installed(program: str) -> bool:
    """Whether the shell would find it."""
    return shutil.which(program) is not None


def settle_disk(folder: Path) -> None:
    """Write out what was written before, so that it does not weigh on who is measured next."""
    subprocess.run(["sync", "-f", folder], check=True)


def interleaved(runs: int, measures: Mapping[str, Callable[[], float]], folder: Path) -> dict[str, list[float]]:
    """Each measure once a round, forwards and backwards in turn, so that neither a drift nor an order favours one."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(runs):
        names = list(measures)
        for name in names if number % 2 == 0 else reversed(names):
            settle_disk(folder)
            found[name].append(measures[name]())
    return found


def end_in_order() -> None:
    """Let SIGTERM end this process as an exception does: daemons are stopped and scratch space is removed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def memory(pid: int) -> float:
    """Resident memory of one process in MB (VmRSS)."""
    return _status_kib(pid, "VmRSS") * 1024 / 1e6


def peak_memory(pid: int) -> float:
    """The most resident memory that the process ever had, in MB (VmHWM)."""
    return _status_kib(pid, "VmHWM") * 1024 / 1e6


def _status_kib(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def children_memory(pid: int) -> float:
    """Memory of all processes below this one in MB, with what they share counted once (PSS)."""
    total = 0
    for child in descendants(pid):
        with contextlib.suppress(OSError, StopIteration):  # it may have ended
            lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total * 1024 / 1e6


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of all live threads of a process, to the nanosecond (schedstat, where utime has ticks of 10 ms)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def sampled(measure: Callable[[], float], every_s: float = 0.1) -> Iterator[list[float]]:
    """What `measure` says all along; the list grows until the block ends."""
    values, ended = [measure()], threading.Event()

    def sample() -> None:
        while not ended.wait(every_s):
            values.append(measure())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield values
    finally:
        ended.set()
        thread.join()


_FOREIGN = ("GUARD_", "GIT_", "RESTIC_", "BORG_", "PYTEST_", "PYTHON")
"""With PYTHONDONTWRITEBYTECODE set, each start of ours compiles all of ours: some 0.5 s more for guardd."""


def clean_environment() -> dict[str, str]:
    """Ours, without what would change how guardd or a peer behaves."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return kept | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
