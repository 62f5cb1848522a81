"""The last step of a restore: read back what was written, and say what is still wrong with it."""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from guardd.analysis.markers import marker_pattern
from guardd.beneath import Root
from guardd.capture.reading import Seen, read
from guardd.model import PYTHON, FileState, Kind, RepoPath
from guardd.recovery.syntax import invalid_among
from guardd.store.store import Store

_LONGEST_OUTPUT = 20_000


class CommandRun(NamedTuple):
    """One of the repo's own commands: its exit code (as a shell's: 124 too long, 127 not to be started), and its output."""

    command: str
    exit: int
    output: str


class ImportCounts(NamedTuple):
    """Imports that lead nowhere, before a restore and after it; the `new` ones with their files.

    `before` None: not known in time. Not `whole_tree`: only those of the restored files were counted, for the same reason.
    """

    before: int | None
    after: int
    new: tuple[tuple[RepoPath, str], ...] = ()
    whole_tree: bool = True


class Verified(NamedTuple):
    """`wrong` are paths whose content is not the wanted one; the counts are of files. None: could not be counted (in time)."""

    wrong: tuple[RepoPath, ...]
    markers_left: int
    syntax_errors: int | None
    commands: "tuple[CommandRun, ...]" = ()
    imports: ImportCounts | None = None

    @property
    def hash_ok(self) -> bool:
        """Whether every file is byte for byte what it should be."""
        return not self.wrong

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the result but what the restored versions brought with them."""
        return self.hash_ok and not any(one.exit for one in self.commands)


def verify(
    store: Store,
    root: Root,
    written: Sequence[tuple[RepoPath, FileState]],
    markers: Sequence[str],
    commands: Sequence[str],
    max_file_size: int,
    timeout_s: float = 600.0,
) -> Verified:
    """Read back what was written, look for markers and broken syntax in it, and run the repo's own commands."""
    pattern = marker_pattern(markers)
    wrong: list[RepoPath] = []
    python: list[bytes] = []
    contents: dict[bytes, bytes] = {}
    marked = 0
    for path, target in written:
        seen = read(root, path, max(max_file_size, target.size))
        if not isinstance(seen, Seen) or seen.state != target:
            wrong.append(path)
        elif seen.state.kind is Kind.FILE and seen.content is not None:
            marked += pattern.search(seen.content) is not None
            if path.endswith(PYTHON):
                python.append(seen.state.blob)
                contents[seen.state.blob] = seen.content
    invalid = invalid_among(store, contents)
    return Verified(
        tuple(wrong),
        marked,
        None if invalid is None else sum(1 for blob in python if blob in invalid),
        tuple(run_command(command, root.path, timeout_s) for command in commands),
    )


def run_command(command: str, cwd: str, timeout_s: float) -> CommandRun:
    """Run a command in a process group of its own, so that what it started ends with it; the end of its output is kept."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                shlex.split(command), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            return CommandRun(command, 127, str(error))
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(max(0, output.tell() - _LONGEST_OUTPUT))
        return CommandRun(command, code, output.read().decode("utf-8", "replace"))
