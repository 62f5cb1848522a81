"""Running git so that nothing of the repo's own config is run: no hook, no monitor, no transport."""

import os
import subprocess
from collections.abc import Sequence

from guardd.errors import UsageError

HARMLESS = (
    "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never",
    "--no-optional-locks", "--no-pager", "--literal-pathspecs",
)  # fmt: skip
"""A hostile `.git/config` names programs to run: none of those that plumbing commands would use is left standing."""

_NO_TRANSPORT = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
"""A partial clone fetches what it lacks by a program that its config names, and `protocol.ext.allow = always` there outdoes the
`protocol.allow` above; nothing in a config outdoes these."""

_DUBIOUS = "dubious ownership"

_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")


def environment(cwd: str) -> dict[str, str]:
    """The environment for git commands in other directories than `cwd`, which git's own variables may be relative to.

    GIT_INDEX_FILE, which `git commit` sets for its hooks, is relative to the top of the work tree and stays.
    """
    found = harmless()
    found |= {name: os.path.join(cwd, found[name]) for name in _PLACES if name in found}
    return found


def harmless() -> dict[str, str]:
    """Our environment, for a git that must not fetch anything, and says what is wrong in words that we know."""
    return {**os.environ, **_NO_TRANSPORT, "LC_ALL": "C"}


def run(folder: str, words: Sequence[str], env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[bytes]":
    """Run a git command in a folder, whatever it answers. Raises UsageError where there is no git."""
    try:
        return subprocess.run(
            ["git", *HARMLESS, *words],
            cwd=folder,
            env=env or harmless(),
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise UsageError("git is not installed, or not in PATH; install it, or leave out what needs it") from error


def ask(folder: str, words: Sequence[str], error: str, env: dict[str, str] | None = None) -> bytes:
    """What a git command prints. Raises UsageError with `error`, and what git said, where it fails."""
    done = run(folder, words, env)
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().splitlines()
        if said and _DUBIOUS in said[0]:  # git-config(1), "safe.directory"
            trusted = f"if you trust it: {said[-1].strip()}"
            raise UsageError(f"git does nothing in {folder}, which belongs to another user; {trusted}")
        raise UsageError(f"{error}{': ' + said[-1] if said else ''}")
    return done.stdout


def top_of(folder: str, env: dict[str, str] | None = None) -> str | None:
    """The top of the work tree around a folder; None where there is none, or no git."""
    try:
        done = run(folder, ["rev-parse", "--show-toplevel"], env)
    except UsageError:
        return None
    return os.path.realpath(os.fsdecode(done.stdout).removesuffix("\n")) if not done.returncode else None
