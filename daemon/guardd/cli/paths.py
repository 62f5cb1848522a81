"""PATH arguments: files, directories and globs, from the working directory, as a choice of a repo's paths."""

import os
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

from guardd.cli.context import Context
from guardd.errors import NothingMatched, UsageError
from guardd.model import RepoPath


def relative(context: Context, argument: str) -> RepoPath:
    """A PATH argument relative to the repo's root (`""`: the root). Links in its directories are resolved, not the last part."""
    root = context.repo.path
    absolute = os.path.normpath(os.path.join(context.cwd, argument))
    inside = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))
    for candidate in (absolute, inside, os.path.realpath(absolute)):
        if candidate == root:
            return ""
        if candidate.startswith(root.rstrip("/") + "/"):
            return candidate[len(root.rstrip("/")) + 1 :]
    raise UsageError(f"{argument} is outside of the repo {root}")


def chooser(context: Context, arguments: Sequence[str]) -> Callable[[RepoPath], bool]:
    """Whether a path is chosen: by its name, a directory above it, or a glob (`*` matches `/` too, as in git)."""
    wanted = [relative(context, argument) for argument in arguments]

    def chosen(path: RepoPath) -> bool:
        return not wanted or any(_matches(path, one) for one in wanted)

    return chosen


_UNKNOWN = "guard has no version of {}; see 'guardctl log', or check 'exclude' in the config"


def choose(context: Context, arguments: Sequence[str], known: Iterable[RepoPath], complaint: str = _UNKNOWN) -> list[RepoPath]:
    """The chosen ones of the known paths. Raises NothingMatched with the complaint, naming the first argument that chose none."""
    wanted = [relative(context, argument) for argument in arguments]
    paths = list(known)
    for argument, one in zip(arguments, wanted, strict=True):
        if not any(_matches(path, one) for path in paths):
            raise NothingMatched(complaint.format(argument))
    return [path for path in paths if not wanted or any(_matches(path, one) for one in wanted)]


def _matches(path: RepoPath, wanted: RepoPath) -> bool:
    if not wanted or path == wanted or path.startswith(wanted + "/"):
        return True
    return any(mark in wanted for mark in "*?[") and fnmatchcase(path, wanted)
