"""Moves: files that are gone from one path and there at another, and who still imports them by their old name."""

import re
from collections.abc import Iterable, Iterator

from guardd.analysis.imports import Modules
from guardd.model import RepoPath

_IMPORT = re.compile(rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+\(?([^#\r\n\\]*)|import[ \t]+([^#\r\n;]+))", re.MULTILINE)


def broken_importers(
    modules: Modules, moved: Iterable[RepoPath], to: Iterable[RepoPath], contents: Iterable[tuple[RepoPath, bytes]]
) -> int:
    """How many of the files import a moved module by a name that it had before, and that none has where they went `to`.

    By text, not by parsing: it is asked over a whole tree. Relative imports are not counted, they mostly move along.
    """
    gone = {name for path in moved for name in modules.names_of(path)} - {""}
    gone -= {name for path in to for name in modules.names_of(path)}
    return sum(1 for _, content in contents if not gone.isdisjoint(_imported(content)))


def _imported(content: bytes) -> Iterator[str]:
    for module, names, plain in _IMPORT.findall(content):
        if module:
            yield from _prefixes(module)
            yield from (
                f"{module.decode()}.{name.split()[0].decode('ascii', 'replace')}" for name in names.split(b",") if name.split()
            )
        else:
            for part in plain.split(b","):
                if part.split():
                    yield from _prefixes(part.split()[0])


def _prefixes(dotted: bytes) -> Iterator[str]:
    parts = dotted.decode("ascii", "replace").split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))
