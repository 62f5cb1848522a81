"""A chat server that hangs against one that answers and none at all: what alerts cost capture, detection and restore.

python -m benchmarks.alerts [--pairs 5] [--write]
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date, datetime
from pathlib import Path

from tests.receiver import Receiver, answer, hang
from tests.world import World, wait_until

from benchmarks.damage import FOUNDING_FILES, MARKER
from benchmarks.make_tree import copy_stdlib
from benchmarks.readme import write
from guardd.store.store import Store

CHATS = {"no target": None, "answers": answer(), "hangs": hang}


def captured_all(world: World, files: int) -> bool:
    """Whether so many versions came after the baseline."""
    with Store(str(world.state)) as store:
        repo = store.repos.all()[0]
        return store.repos.counts(repo.id)[1] - store.repos.files(repo.id) >= files


def measure(base: Path, chat: str) -> dict[str, float]:
    """The founding burst once, in seconds.

    From the last write until all is captured, from the first until the incident and until the message, and of the restore.
    """
    world = World(base)
    copy_stdlib(world.root)
    behaviour = CHATS[chat]
    with Receiver(always=behaviour or answer()) as receiver:
        world.configure(f'[[alert]]\nurl = "json://127.0.0.1:{receiver.port}/"\n' if behaviour else "")
        daemon = world.start_configured()
        contents = [(path, path.read_bytes()) for path in sorted(world.root.rglob("*.py"))]
        damaged = [(path, b"# " + MARKER + b": " + content) for path, content in contents if content][:FOUNDING_FILES]
        first = time.time()
        for path, content in damaged:
            path.write_bytes(content)
        last = time.time()
        wait_until(lambda: captured_all(world, len(damaged)), 60)
        captured = time.time() - last
        wait_until(lambda: daemon.events("incident opened"))
        opened = datetime.fromisoformat(daemon.events("incident opened")[0]["timestamp"]).timestamp() - first
        told = 0.0
        if behaviour:
            receiver.wait(1)
            told = time.time() - first
        world.wait_settled(daemon)
        begun = time.time()
        world.ctl("restore", "--incident", "last", "--yes", check=None)
        restored = time.time() - begun
    world.close()
    return {"captured": captured, "incident": opened, "message": told, "restored": restored}


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="what alerts cost")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {chat: [] for chat in CHATS}
    with tempfile.TemporaryDirectory(prefix="guard-alerts-") as folder:
        for number in range(chosen.pairs):
            for chat, figures in found.items():
                figures.append(measure(Path(folder) / f"{chat}-{number}".replace(" ", "-"), chat))
                print(chat, figures[-1], file=sys.stderr)
    rows = []
    for what, text in (
        ("captured", "last write until all is captured"), ("incident", "first write until the incident"),
        ("message", "first write until the message is received"), ("restored", "guardctl restore --incident last"),
    ):  # fmt: skip
        cells = []
        for chat, figures in found.items():
            seconds = statistics.median(one[what] for one in figures)
            ratio = statistics.median(
                one[what] / none[what] if none[what] else 0 for one, none in zip(figures, found["no target"], strict=True)
            )
            cells.append("" if not seconds else f"{seconds:.2f} s" + (f" ({ratio:.2f})" if chat != "no target" and ratio else ""))
        rows.append(f"| {text} | {' | '.join(cells)} |")
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    head = f"{FOUNDING_FILES:,} files of the standard library, {date.today()}, {machine}; "
    head += f"medians of {chosen.pairs} in turn, in brackets "
    text = "\n".join([
        head + "against no target.", "", f"| what | {' | '.join(f'chat: {chat}' for chat in CHATS)} |",
        "|---" * (len(CHATS) + 1) + "|", *rows,
    ])  # fmt: skip
    print(text)
    if chosen.write:
        write("alerts", text)


if __name__ == "__main__":
    main()
