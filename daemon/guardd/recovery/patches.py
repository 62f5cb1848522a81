"""Unified diffs of two states of a path: as bytes for `patch`, and safe to print on a terminal."""

from difflib import unified_diff
from typing import NamedTuple, Protocol

from guardd.errors import GuardError
from guardd.escaping import printable
from guardd.model import FileState, Version
from guardd.store.soundness import DOUBTFUL, doubtful
from guardd.store.store import Store

_NO_NEWLINE = "\n\\ No newline at end of file"

_TOO_LARGE = 2_000_000
"""Bytes; difflib takes quadratic time in the worst case."""


class Contents(Protocol):
    """Where contents are read from by their hash; raises GuardError."""

    def read(self, hash_: bytes, /) -> bytes:
        """The content with this hash."""
        ...


class Patch(NamedTuple):
    """The lines of one path's diff, without line ends, in surrogateescape text: `os.fsencode` gives the very bytes.

    `problem`: why the contents cannot be told.
    """

    path: str
    lines: list[str]
    problem: str = ""

    @property
    def shown(self) -> list[str]:
        """The lines with nothing in them that could do something to a terminal."""
        return [_shown(line) for line in self.lines]


def patch_of_versions(store: Store, path: str, before: Version | None, after: Version | None) -> Patch:
    """The diff between two versions of the store; None is absent."""
    if doubtful(store, (one for one in (before, after) if one)):
        return _untold(path, [f"--- a/{printable(path)}", f"+++ b/{printable(path)}"], DOUBTFUL)
    return patch(store.blobs, path, before.state if before else None, after.state if after else None)


def _untold(path: str, head: list[str], problem: str) -> Patch:
    return Patch(path, [*head, f"({problem})"], problem)


def patch(blobs: Contents, path: str, before: FileState | None, after: FileState | None) -> Patch:
    """The diff between two states; None is absent."""
    old = before if before and before.present else None
    new = after if after and after.present else None
    if old == new:
        return Patch(path, [])
    name = printable(path)
    head = [f"--- a/{name}" if old else "--- /dev/null", f"+++ b/{name}" if new else "+++ /dev/null"]
    if old and new and old.mode != new.mode:
        head.insert(0, f"old mode {old.mode:04o}, new mode {new.mode:04o}")
    if old and new and old.blob == new.blob:
        return Patch(path, head)
    try:
        texts = [_text(blobs, state) for state in (old, new)]
    except GuardError as error:
        return _untold(path, head, str(error))
    if any(text is None for text in texts):
        return Patch(path, [*head, "(binary, or too large to show)"])
    lines = unified_diff(texts[0] or [], texts[1] or [], lineterm="")
    return Patch(path, [*head, *(part for line in list(lines)[2:] for part in line.split("\n"))])


def _text(blobs: Contents, state: FileState | None) -> list[str] | None:
    if state is None:
        return []
    if not state.stored:
        return None
    content = blobs.read(state.blob)
    if len(content) > _TOO_LARGE or b"\0" in content:
        return None
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    if not lines[-1]:
        return lines[:-1]
    return [*lines[:-1], lines[-1] + _NO_NEWLINE]


def _shown(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else printable(c) for c in line)
