"""Files made to hurt whoever reads or replaces them: devices, sockets, hard links to elsewhere, sources no parser survives."""

import os
import socket
import stat
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.faults.test_attack_races import standing
from tests.world import World, wait_until

WHOLE = b"def f(x):\n    y = x + 1\n    return y\n\n\nclass A:\n    def g(self):\n        return f(2)\n" * 3
ZERO, NO_DISK = os.makedev(1, 5), os.makedev(259, 1_000_000)


def only_one_everyday(names: Iterable[str], everyday: str) -> list[Any]:
    return [one if one == everyday else pytest.param(one, marks=pytest.mark.faults) for one in names]


def device(kind: int, number: int) -> Callable[[str], None]:
    def make(path: str) -> None:
        try:
            os.mknod(path, kind | 0o666, number)
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        except PermissionError:
            pytest.skip("making devices that can be opened needs root, and a file system that is not nodev")
        except OSError:
            assert kind == stat.S_IFBLK, "there is no such disk, which is as well"

    return make


def bound_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


ODD: dict[str, Callable[[str], None]] = {
    "a FIFO": os.mkfifo, "a socket": bound_socket, "a character device without an end": device(stat.S_IFCHR, ZERO),
    "a block device": device(stat.S_IFBLK, NO_DISK),
}  # fmt: skip


@pytest.mark.promise("errors become a state", "FIFOs, sockets and devices in the place of sources")
@pytest.mark.parametrize("kind", only_one_everyday(ODD, "a character device without an end"))
def test_what_is_no_file_is_neither_read_nor_written_nor_removed(world: World, kind: str) -> None:
    for name in ("x.py", "y.py", "sub/z.py"):
        world.write(name, WHOLE)
    daemon = world.start()
    for name in ("x.py", "new.py", "sub/z.py"):
        (world.root / name).unlink(missing_ok=True)
        ODD[kind](str(world.root / name))
    world.write("y.py", b"y = 2\n")
    world.wait_captured("y.py", b"y = 2\n")
    world.wait_gone("x.py")
    before = {name: os.lstat(world.root / name) for name in ("x.py", "new.py", "sub/z.py")}
    for words in (["check"], ["diff", "--since", "1h"], ["adopt", "--dry-run"], ["snapshot"], ["status"]):
        world.ctl(*words, check=None)
    report = world.json("restore", "--since", "1h", "--yes", "--no-verify", check=1)
    assert {(one["path"], "in the way" in one["reason"]) for one in report["failed"]} == {("x.py", True), ("sub/z.py", True)}
    assert (world.root / "y.py").read_bytes() == WHOLE
    for name, was in before.items():
        now = os.lstat(world.root / name)
        assert (now.st_ino, now.st_mode, now.st_rdev, now.st_mtime_ns) == (was.st_ino, was.st_mode, was.st_rdev, was.st_mtime_ns)
    assert daemon.process.poll() is None
    assert sorted({event["path"] for event in daemon.events("passed over")}) == ["new.py", "sub/z.py", "x.py"]


@pytest.mark.promise("only inside the repo is written", "files that are hard links to files outside, restored and removed")
def test_a_hard_link_to_a_file_outside_is_replaced_and_that_file_stays(world: World) -> None:
    outside = world.root.parent / "outside"
    outside.mkdir()
    for name in ("a", "b", "c"):
        world.write(f"{name}.py", b"mine = 1\n")
        (outside / f"linked.{name}").write_bytes(b"theirs = 1\n")
        (outside / f"linked.{name}").chmod(0o640)
    world.ctl("init")
    world.ctl("snapshot")
    for name in ("a", "b", "born"):
        (world.root / f"{name}.py").unlink(missing_ok=True)
        os.link(outside / ("linked.c" if name == "born" else f"linked.{name}"), world.root / f"{name}.py")
    (world.root / "c.py").chmod(0o4755)
    before = {path: stay[:6] + stay[-1:] for path, stay in standing(outside).items()}
    world.ctl("restore", "--at", "snapshot:1", "--yes", "--no-verify")
    assert {path: stay[:6] + stay[-1:] for path, stay in standing(outside).items()} == before
    assert sorted(path.name for path in world.root.iterdir()) == ["a.py", "b.py", "c.py"]
    assert {path.read_bytes() for path in world.root.iterdir()} == {b"mine = 1\n"}
    assert {path.lstat().st_nlink for path in world.root.iterdir()} == {1}
    world.ctl("undo", "--yes")
    assert {path: stay[:6] + stay[-1:] for path, stay in standing(outside).items()} == before


HOSTILE = {
    "100,000 nested brackets": b"x = " + b"(" * 100_000 + b")" * 100_000,
    "one line of 10 MB": b"x = [" + b"1," * 5_000_000 + b"]\n",
    "one marked line of 10 MB": b"# REMOVED_SYNTAX_ERROR: " + b"a" * 10_000_000 + b"\n",
    "100,000 statements on one line": b"x=1;" * 2_500_000,
    "nested f-strings": b"x = " + b"f'{" * 5_000 + b"1" + b"}'" * 5_000,
    "a chain of comparisons": b"x = " + b"1 <" * 500_000 + b" 1\n",
    "nested functions": b"".join(b" " * at + b"def f():\n" for at in range(3_000)),
    "nested lambdas": b"x = " + b"lambda: " * 200_000 + b"1\n",
    "a line of backslashes": b"x = '" + b"\\" * 10_000_000 + b"\n",
    "line ends only": b"\r" * 5_000_000 + b"\n" * 5_000_000,
}


@pytest.mark.promise("errors become a state", "sources made to end, hang or fill a parser")
@pytest.mark.parametrize("name", only_one_everyday(HOSTILE, "100,000 nested brackets"))
def test_sources_no_parser_survives_are_seen_as_damage_and_taken_back(world: World, name: str) -> None:
    paths = [f"m{number}.py" for number in range(8)]
    for path in paths:
        world.write(path, WHOLE)
    world.configure('[response]\nsettle = "0.3s"\n')
    daemon = world.start_configured()
    for number, path in enumerate(paths):
        world.write(path, HOSTILE[name] if number < 2 else b"# REMOVED_SYNTAX_ERROR: x\n" * 20)
    wait_until(lambda: daemon.events("incident settled"), 90, "the damage is seen")
    assert daemon.process.poll() is None
    world.write("honest.py", b"x = 1\n")
    world.wait_captured("honest.py", b"x = 1\n")
    world.ctl("check", check=1)
    world.ctl("diff", "--since", "1h", paths[0], check=None)
    world.ctl("restore", "--since", "1h", "--keep-new", "--yes", "--no-verify")
    assert {(world.root / path).read_bytes() for path in paths} == {WHOLE}
    assert daemon.stop() == 0
