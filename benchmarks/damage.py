"""Damage to real files in sixteen ways, as bulk scripts, agents and crashes do it; and the 1,381-file founding incident.

python -m benchmarks.damage TREE KIND [--files 60] [--seed 1]
"""

import argparse
import itertools
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARKER = b"REMOVED_SYNTAX_ERROR"
FOUNDING_FILES = 1_381

_IMPORT_FROM = re.compile(rb"^from ([A-Za-z_][\w.]*) import ([A-Za-z_]\w*)", re.MULTILINE)
_IMPORT = re.compile(rb"^import ([A-Za-z_]\w*)[ \t]*$", re.MULTILINE)
_DEFINITION = re.compile(rb"^([ \t]*)(?:def|class) \w+.*:[ \t]*$", re.MULTILINE)

Content = Callable[[bytes, random.Random, frozenset[bytes]], bytes | None]


def hollow(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """Every line of code becomes a comment behind a marker."""
    lines = content.split(b"\n")
    code = [line for line in lines if line.strip() and not line.lstrip().startswith(b"#")]
    if len(code) < 5:
        return None
    return b"\n".join(b"# " + MARKER + b": " + line if line.strip() else line for line in lines)


def mark(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """A marker is left behind, the code stays."""
    lines = content.split(b"\n")
    lines.insert(len(lines) // 2, b"# " + MARKER + b": checked")
    return b"\n".join(lines)


def point_at_missing_module(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """The first import asks for a module that is nowhere."""
    found = _IMPORT.search(content)
    return content[: found.start()] + b"import " + found[1] + b"_ssot_unified\n" + content[found.end() + 1 :] if found else None


def point_at_missing_name(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """A `from` import of a module of the tree asks for a name that it does not have."""
    found = next((one for one in _IMPORT_FROM.finditer(content) if one[1] in own), None)
    return content[: found.start(2)] + b"Unified_" + found[2] + content[found.end(2) :] if found else None


def unbalance(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """A regex eats closing brackets."""
    damaged = re.sub(rb"\)(\s*:?[ \t]*)$", rb"\1", content, count=3, flags=re.MULTILINE)
    return damaged if damaged != content else None


def misindent(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """The body of a definition loses its indentation."""
    found = list(_DEFINITION.finditer(content))
    if not found:
        return None
    at = chance.choice(found).end() + 1
    return content[:at] + content[at:].lstrip(b" \t")


def truncate(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """The second half is gone, in the middle of a line."""
    half = len(content) // 2
    while half > 1 and (content[half - 1 : half] in b"\r\n" or content[half : half + 1] in b"\r\n"):
        half -= 1
    return content[:half] if len(content) > 200 else None


def empty(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """Nothing is left."""
    return b"" if _DEFINITION.search(content) else None


def nul(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """A block of NUL bytes, as after a crash of the machine."""
    at = chance.randrange(len(content)) if content else 0
    return content[:at] + b"\0" * 512 + content[at + 512 :] if len(content) > 200 else None


def utf16(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """Rewritten in UTF-16, as a careless PowerShell redirect does."""
    try:
        return content.decode().encode("utf-16") if content.strip() else None
    except UnicodeDecodeError:
        return None


def crlf(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """Line ends flipped, and code commented out on the way."""
    hollowed = hollow(content, chance)
    return hollowed.replace(MARKER + b": ", b"").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if hollowed else None


def conflict(content: bytes, chance: random.Random, own: frozenset[bytes] = frozenset()) -> bytes | None:
    """A conflict of a merge, left in the file."""
    lines = content.split(b"\n")
    if len(lines) < 10:
        return None
    at = len(lines) // 2
    ours = lines[at : at + 2]
    lines[at : at + 2] = [b"<<<<<<< HEAD", *ours, b"=======", *ours[:1], b">>>>>>> feature/unify"]
    return b"\n".join(lines)


CONTENTS: dict[str, Content] = {
    "hollowed behind a marker": hollow,
    "marker without hollowing": mark,
    "imports of missing modules": point_at_missing_module,
    "imports of missing names": point_at_missing_name,
    "unbalanced brackets": unbalance,
    "broken indentation": misindent,
    "truncated at half": truncate,
    "emptied": empty,
    "NUL bytes": nul,
    "rewritten as UTF-16": utf16,
    "CRLF flip with damage": crlf,
    "conflict markers": conflict,
}


class Damage:
    """One run of damage over a tree: `run` does it, and leaves what was damaged, and when each file was (`times`).

    It ends after so many `files`, or when it `goes_on` no longer.
    """

    def __init__(
        self, root: Path, kind: str, files: int, seed: int = 1, pause_s: float = 0.0, goes_on: Callable[[], bool] = lambda: True
    ) -> None:
        self.root = root
        self.kind = kind
        self.damaged: set[str] = set()
        self.honest: set[str] = set()
        self.born: set[str] = set()
        self.times: list[float] = []
        self._files = files
        self._pause_s = pause_s
        self._goes_on = goes_on
        self._chance = random.Random(seed)
        self._own = frozenset(_modules(root))

    def run(self) -> None:
        """Do the damage."""
        paths = sorted(self.root.rglob("*.py"))
        self._chance.shuffle(paths)
        {"mass deletion": self._delete, "mass rename to nonsense": self._rename}.get(self.kind, self._rewrite)(paths)

    @property
    def first_s(self) -> float:
        """When the first file was damaged (time.time)."""
        return self.times[0]

    @property
    def last_s(self) -> float:
        """When the last file was."""
        return self.times[-1]

    def _hit(self, path: Path) -> None:
        self.damaged.add(str(path.relative_to(self.root)))
        self.times.append(time.time())
        if self._pause_s:
            time.sleep(self._pause_s)

    def _rewrite(self, paths: list[Path]) -> None:
        change = {"slow drip": hollow, "interleaved with honest edits": hollow}.get(self.kind) or CONTENTS[self.kind]
        for path in paths:
            if len(self.damaged) >= self._files or not self._goes_on():
                break
            before = path.read_bytes()
            if self.kind == "interleaved with honest edits" and self._chance.random() < 0.5:
                path.write_bytes(before + b"\nEDITED_BY_HAND = %d\n" % self._chance.randrange(1000))
                self.honest.add(str(path.relative_to(self.root)))
                continue
            after = change(before, self._chance, self._own) if b"\0" not in before and _compiles(before) else None
            if after is not None and (self.kind not in _BREAKS_SYNTAX or not _compiles(after)):
                path.write_bytes(after)
                self._hit(path)

    def _delete(self, paths: list[Path]) -> None:
        for path in itertools.takewhile(lambda _: self._goes_on(), paths[: self._files]):
            path.unlink()
            self._hit(path)

    def _rename(self, paths: list[Path]) -> None:
        for number, path in enumerate(itertools.takewhile(lambda _: self._goes_on(), paths[: self._files])):
            target = path.with_name(f"zq{self._chance.randrange(16**6):06x}_{number}.py")
            path.rename(target)
            self._hit(path)
            self.born.add(str(target.relative_to(self.root)))


KINDS = (*CONTENTS, "mass deletion", "mass rename to nonsense", "slow drip", "interleaved with honest edits")
_BREAKS_SYNTAX = {"unbalanced brackets", "broken indentation"}


def _modules(root: Path) -> Iterator[bytes]:
    """The modules of a tree, but for those whose names may come from a compiled module by a star: nobody can know them."""
    for path in root.rglob("*.py"):
        if b"import *" not in path.read_bytes():
            yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__").encode()


def _compiles(content: bytes) -> bool:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(content, "<source>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
    return True


def main() -> None:
    """Damage a tree from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tree", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    damage = Damage(chosen.tree, chosen.kind, chosen.files, chosen.seed)
    damage.run()
    print(f"{chosen.kind}: {len(damage.damaged)} files damaged in {damage.last_s - damage.first_s:.2f} s")


if __name__ == "__main__":
    main()
