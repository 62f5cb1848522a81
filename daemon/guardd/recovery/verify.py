"""The last step of a restore: read back what was written, and say what is still wrong with it."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from guardd.analysis.markers import marker_pattern
from guardd.analysis.syntax import count_invalid
from guardd.beneath import Root
from guardd.capture.reading import Seen, read
from guardd.model import FileState, Kind, RepoPath

_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Verified:
    """`wrong` are paths whose content is not the wanted one; the counts are of files. None: could not be counted."""

    wrong: tuple[RepoPath, ...]
    markers_left: int
    syntax_errors: int | None
    commands: tuple[tuple[str, int], ...] = ()

    @property
    def hash_ok(self) -> bool:
        """Whether every file is byte for byte what it should be."""
        return not self.wrong

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the result but what the restored versions brought with them."""
        return self.hash_ok and not any(exit_code for _, exit_code in self.commands)


def verify(
    root: Root,
    written: Sequence[tuple[RepoPath, FileState]],
    markers: Sequence[str],
    commands: Sequence[str],
    max_file_size: int,
) -> Verified:
    """Read back what was written, look for markers and broken syntax in it, and run the repo's own commands."""
    pattern = marker_pattern(markers)
    wrong, sources, marked = [], [], 0
    for path, target in written:
        seen = read(root, path, max(max_file_size, target.size))
        if not isinstance(seen, Seen) or seen.state != target:
            wrong.append(path)
        elif seen.state.kind is Kind.FILE and seen.content is not None:
            marked += pattern.search(seen.content) is not None
            if path.endswith((".py", ".pyi")):
                sources.append(seen.content)
    return Verified(
        tuple(wrong),
        marked,
        count_invalid(sources),
        tuple((command, _exit_of(command, root.path)) for command in commands),
    )


def _exit_of(command: str, cwd: str) -> int:
    """The exit code of one of the repo's own commands; 124 after ten minutes, 127 where it cannot be started, as a shell says."""
    try:
        words = shlex.split(command)
        return subprocess.run(
            words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return 124
    except OSError:
        return 127
