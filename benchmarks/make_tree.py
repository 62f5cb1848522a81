"""Trees that look like real Python: the standard library, and any number of files recombined from it.

python benchmarks/make_tree.py DIR [--files 25000] [--folders 2600] [--mean-bytes 20000] [--duplicates 0.5] [--seed 1]
"""

import argparse
import ast
import os
import random
import re
import sysconfig
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SKIPPED = {"site-packages", "__pycache__", "lib2to3"}
_BLOCK = re.compile(r"^(?=(?:def|class|async def|@)\b)", re.MULTILINE)
_IMPORT = re.compile(r"^(?:import|from (?![.]|__future__))[^\n(\\;]+$", re.MULTILINE)
_LONGEST_RUN = 6


def _stdlib_files() -> list[Path]:
    top = Path(sysconfig.get_path("stdlib"))
    found = []
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in {"site-packages", "__pycache__"})
        found += [Path(folder, name) for name in sorted(files) if name.endswith(".py")]
    return found


def copy_stdlib(destination: Path) -> int:
    """Copy the running interpreter's standard library with its tests, .py files only; how many files."""
    top = Path(sysconfig.get_path("stdlib"))
    files = _stdlib_files()
    for path in files:
        target = destination / path.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return len(files)


PACKAGES = ("asyncio", "email", "http", "importlib", "json", "unittest")


def copy_packages(destination: Path, packages: Sequence[str] = PACKAGES) -> int:
    """Copy some packages of the standard library without their tests, with their structure; how many files."""
    top = Path(sysconfig.get_path("stdlib"))
    relative = [path.relative_to(top) for path in _stdlib_files()]
    files = [path for path in relative if path.parts[0] in packages and "test" not in path.parts]
    for path in files:
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((top / path).read_bytes())
    return len(files)


def make_tree(
    destination: Path,
    *,
    files: int = 25_000,
    folders: int = 2_600,
    mean_bytes: int = 20_000,
    duplicates: float = 0.5,
    seed: int = 1,
) -> int:
    """Write a tree; the number of bytes. The same arguments and interpreter make the same tree.

    Files are functions and classes of different modules of the standard library put together, a few neighbours of each below the
    imports of all: distinct, valid, with most names bound, and as compressible as code is. `duplicates` of them are copies of
    others, as in trees with backup folders.
    """
    chance = random.Random(seed)
    modules = _modules()
    places = _folders(chance, folders)
    written = 0
    contents: list[bytes] = []
    for folder in places:
        (destination / folder).mkdir(parents=True, exist_ok=True)
    for number in range(files):
        if contents and chance.random() < duplicates:
            content = chance.choice(contents)
        else:
            content = _compose(chance, modules, number, mean_bytes)
            contents.append(content)
        folder = places[number % len(places)]
        (destination / folder / f"module_{number}.py").write_bytes(content)
        written += len(content)
    return written


@dataclass(frozen=True, slots=True)
class _Module:
    """What is taken from one module: its imports, and its functions and classes in their order."""

    imports: list[str]
    blocks: list[str]


def _modules() -> list[_Module]:
    """The modules of the standard library without their largest blocks: one of those would be a file by itself."""
    found = []
    for path in _stdlib_files():
        if _SKIPPED.isdisjoint(path.parts):
            text = path.read_text(encoding="utf-8", errors="ignore")
            blocks = [one for one in _BLOCK.split(text)[1:] if 100 < len(one) < 8_000 and one[0] != "@" and _is_valid(one)]
            if blocks:
                found.append(_Module([line for line in _IMPORT.findall(text) if _is_valid(line)], blocks))
    return found


def _is_valid(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(source, "<block>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError):  # torn from its string or its condition, or meant to be refused
            return False
    return True


def _compose(chance: random.Random, modules: list[_Module], number: int, mean_bytes: int) -> bytes:
    wanted = chance.expovariate(1 / mean_bytes)
    imports, blocks, size = {"import os", "import sys"}, [], 0
    while size < wanted:
        module = chance.choice(modules)
        at = chance.randrange(len(module.blocks))
        run = module.blocks[at : at + chance.randint(1, _LONGEST_RUN)]
        imports.update(module.imports)
        blocks += run
        size += sum(map(len, run))
    return "\n".join([f'"""Module {number}."""\n', *sorted(imports), "\n", *blocks]).encode()


def _folders(chance: random.Random, count: int) -> list[Path]:
    places = [Path()]
    while len(places) < count:
        above = chance.choice(places)
        if len(above.parts) < 7:
            places.append(above / f"package_{len(places)}")
    return places


def main() -> None:
    """Make a tree from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--files", type=int, default=25_000)
    parser.add_argument("--folders", type=int, default=2_600)
    parser.add_argument("--mean-bytes", type=int, default=20_000)
    parser.add_argument("--duplicates", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    size = make_tree(
        chosen.destination, files=chosen.files, folders=chosen.folders, mean_bytes=chosen.mean_bytes,
        duplicates=chosen.duplicates, seed=chosen.seed,
    )  # fmt: skip
    print(f"{chosen.files:,} files, {size / 1e6:.0f} MB in {chosen.destination}")


if __name__ == "__main__":
    main()
