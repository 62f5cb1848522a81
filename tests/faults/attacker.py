"""A program that swaps files, folders and the root of a repo for links that lead out of it, until it is killed.

`python attacker.py ROOT OUTSIDE SEED [TRICK ...]`: says `ready` once it has begun. It loads nothing but the standard library.
"""

import ctypes
import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

Move = Callable[[], object]

_EXCHANGE = 2
_AT_FDCWD = -100


class Tricks:
    """Each gives moves that swap something and undo it again. What cannot be done in the mess of another trick is left."""

    def __init__(self, root: str, outside: str) -> None:
        self.root = root
        self.outside = outside
        self.libc = ctypes.CDLL(None)
        for name, leads_to in (("link", outside), ("sublink", f"{outside}/sub"), ("filelink", f"{outside}/a.py")):
            with suppress(FileExistsError):
                os.symlink(leads_to, f"{root}/.{name}")

    def folder_by_link(self) -> list[Move]:
        return self._by_link("pkg", self.outside)

    def folder_by_relative_link(self) -> list[Move]:
        return self._by_link("pkg", f"../{os.path.basename(self.outside)}")

    def folder_below_by_link(self) -> list[Move]:
        return self._by_link("pkg/sub", f"{self.outside}/sub")

    def folder_by_exchange(self) -> list[Move]:
        return [lambda: self._exchange("pkg", ".link")] * 2

    def folder_below_by_exchange(self) -> list[Move]:
        return [lambda: self._exchange("pkg/sub", ".sublink")] * 2

    def file_by_link(self) -> list[Move]:
        return self._by_link("pkg/a.py", f"{self.outside}/a.py")

    def file_by_exchange(self) -> list[Move]:
        return [lambda: self._exchange("pkg/a.py", ".filelink")] * 2

    def file_by_hard_link(self) -> list[Move]:
        name = f"{self.root}/pkg/b.py"
        return [lambda: os.link(f"{self.outside}/linked.py", f"{name}.new"), lambda: os.rename(f"{name}.new", name)]

    def temporary_by_link(self) -> list[Move]:
        return [lambda: self._take_temporaries(f"{self.root}/pkg")]

    def folder_out_and_back(self) -> list[Move]:
        away = f"{self.root}.moved"
        return [lambda: os.rename(f"{self.root}/pkg", away), lambda: os.rename(away, f"{self.root}/pkg")]

    def root_by_link(self) -> list[Move]:
        away = f"{self.root}.aside"
        return [
            lambda: os.rename(self.root, away), lambda: os.symlink(self.outside, self.root),
            lambda: os.unlink(self.root), lambda: os.rename(away, self.root),
        ]  # fmt: skip

    def _by_link(self, name: str, leads_to: str) -> list[Move]:
        path, aside = f"{self.root}/{name}", f"{self.root}/aside-{os.path.basename(name)}"
        return [
            lambda: os.rename(path, aside), lambda: os.symlink(leads_to, path),
            lambda: os.unlink(path), lambda: os.rename(aside, path),
        ]  # fmt: skip

    def _exchange(self, one: str, other: str) -> None:
        names = (os.fsencode(f"{self.root}/{name}") for name in (one, other))
        self.libc.renameat2(_AT_FDCWD, next(names), _AT_FDCWD, next(names), _EXCHANGE)

    def _take_temporaries(self, folder: str) -> None:
        for name in os.listdir(folder):
            if name.startswith(".guardd-"):
                os.unlink(f"{folder}/{name}")
                os.symlink(f"{self.outside}/a.py", f"{folder}/{name}")


TRICKS = tuple(name for name in vars(Tricks) if not name.startswith("_"))


def attack(root: str, outside: str, seed: int, names: Sequence[str]) -> None:
    """Play the tricks in an order of chance, each a few times."""
    tricks, rng = Tricks(root, outside), random.Random(seed)
    os.write(1, b"ready\n")
    while True:
        moves = getattr(tricks, rng.choice(names))()
        for _ in range(rng.randrange(1, 40)):
            _play(moves)


def _play(moves: Iterable[Move]) -> None:
    for move in moves:
        with suppress(OSError):
            move()


if __name__ == "__main__":
    attack(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:] or TRICKS)
