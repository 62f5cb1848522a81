"""Every kind of damage on the standard library: how soon it is an incident, whether all of it is named, whether it comes back.

python -m benchmarks.detection [--files 100] [--write]

Then the founding incident, restored by guardd itself, and a git checkout of 25,000 files, which must raise nothing.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime
from pathlib import Path

from tests.world import Daemon, World, snapshot, wait_until

from benchmarks.damage import FOUNDING_FILES, KINDS, Damage, hollow
from benchmarks.make_tree import copy_stdlib, make_tree
from benchmarks.peers import GIT
from benchmarks.readme import write


def measure_kinds(base: Path, files: int) -> list[str]:
    """A row of the table for each kind of damage."""
    world = World(base / "kinds")
    copy_stdlib(world.root)
    daemon = world.start()
    rows = []
    for kind in (kind for kind in KINDS if kind != "slow drip"):
        rows.append(measure(world, daemon, kind, files))
        print(rows[-1], file=sys.stderr)
    world.close()
    return rows


def measure(world: World, daemon: Daemon, kind: str, files: int) -> str:
    """One kind: damage, wait until it has settled, compare what is named with what was damaged, restore, compare every byte."""
    before, seen = snapshot(world.root), len(daemon.events("incident settled"))
    damage = Damage(world.root, kind, files)
    damage.run()
    after = snapshot(world.root)
    wait_until(lambda: len(daemon.events("incident settled")) > seen, 60, kind)
    opened_s = datetime.fromisoformat(daemon.events("incident opened")[-1]["timestamp"]).timestamp()
    incident = world.json("incidents", "show", "last")
    named = {member["path"] for member in incident["members"] if member["damaged"]}
    world.ctl("restore", "--incident", str(incident["id"]), "--only-damaged", "--yes", check=None)
    restored = snapshot(world.root) == before | {path: after[path] for path in damage.honest}
    wait_until(lambda: world.json("status")["incidents_open"] == 0, 20)
    until_open = sum(1 for at in damage.times if at <= opened_s)
    wrong = len(named - damage.damaged - damage.born)
    rules = [rule for rule in incident["rules"] if rule not in ("same-edit", "volume")]
    return (
        f"| {kind} | {len(damage.damaged)} | {until_open} | {max(0.0, opened_s - damage.first_s):.2f} s "
        f"| {100 * len(named & damage.damaged) / len(damage.damaged):.1f} % | {wrong} | {'yes' if restored else 'NO'} "
        f"| {', '.join(rules)} |"
    )


def measure_founding(base: Path) -> str:
    """1,381 files hollowed by a script, and put back by guardd alone."""
    world = World(base / "founding")
    copy_stdlib(world.root)
    before = snapshot(world.root)
    world.configure('[response]\nauto_restore = "all"\n')
    daemon = world.start_configured()
    chance = random.Random(1)
    contents = {
        path: after for path, content in sorted(before.items()) if b"\0" not in content and (after := hollow(content, chance))
    }
    for path in list(contents)[:FOUNDING_FILES]:
        (world.root / path).write_bytes(contents[path])
    last = time.time()
    wait_until(lambda: all((world.root / path).read_bytes() == content for path, content in before.items()), 60)
    back = time.time() - last
    wait_until(lambda: daemon.events("auto-restored"), 60)
    world.close()
    return f"{FOUNDING_FILES:,} files hollowed by a script: guardd had them back byte for byte {back:.1f} s after the last write."


def measure_checkout(base: Path) -> str:
    """A checkout that rewrites 25,000 files and removes some."""
    from guardd.store.store import Store

    world = World(base / "checkout")
    make_tree(world.root, mean_bytes=5_000)

    def git(*words: str) -> None:
        subprocess.run([*GIT, *words], cwd=world.root, check=True, stdout=subprocess.DEVNULL)

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "one")
    git("checkout", "-q", "-b", "other")
    for number, path in enumerate(sorted(world.root.rglob("*.py"))):
        if number % 50 == 0:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes() + b"\nCHANGED = 1\n")
    git("commit", "-qam", "two")
    world.start(ready=False).wait_ready(timeout_s=120)
    begun = time.time()
    git("checkout", "-q", "main")
    ended = time.time()
    with Store(str(world.state)) as store:
        repo = store.repos.all()[0]
        expected = 25_000
        wait_until(
            lambda: len(store.log.keys(repo.id)) == expected and store.incidents.cursor(repo.id) == store.log.last_seq(), 120
        )
        idle = time.time() - ended
        incidents = len(store.incidents.all())
    world.close()
    return (
        f"A git checkout of 25,000 files took {ended - begun:.1f} s; {idle:.1f} s after it all of it was captured and judged, "
        f"with {incidents or 'no'} incident."
    )


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description="how soon damage is recognised")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guard-detection-") as folder:
        rows = measure_kinds(Path(folder), chosen.files)
        sentences = [measure_founding(Path(folder)), measure_checkout(Path(folder))]
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    head = "| damage | files | damaged when it opened | after the first write | named | wrongly named | restored | rules |"
    lines = [f"The standard library, 1,790 files, {date.today()}, {machine}; default thresholds.", "", head]
    text = "\n".join([*lines, "|---|---|---|---|---|---|---|---|", *rows, "", *sentences])
    print(text)
    if chosen.write:
        write("detection", text)


if __name__ == "__main__":
    main()
