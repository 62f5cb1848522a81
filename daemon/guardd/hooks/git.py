"""git's own hooks: which ones, their text, where they lie, and what is in their place already (githooks(5))."""

import os
import re
import shutil
from enum import StrEnum
from typing import NamedTuple

from guardd.errors import UsageError
from guardd.gitcommand import run
from guardd.regular import read_regular

HOOKS = ("pre-commit", "pre-merge-commit", "pre-rebase")
"""Those that run before a commit or before git rewrites the work tree. Checkout, reset and stash have none."""

_LARGEST = 1 << 20
"""Bytes that are read of a hook: ours is far shorter."""

_NOTE = "# guard: a snapshot before git acts; never stops it. 'guardctl hook git --uninstall' takes this file away."
_CALL = re.compile(r"\b(guardctl|guardd\.cli)\b.* hook git --run\b")


class Found(StrEnum):
    """What is in the place of a hook."""

    ABSENT = "absent"
    CURRENT = "installed"
    OUTDATED = "outdated"
    CALLED = "called by a hook of someone else's"
    FOREIGN = "someone else's"


class Places(NamedTuple):
    """The top of a work tree, and its directory of hooks; `shared` with repos elsewhere (a core.hooksPath outside of it)."""

    top: str
    hooks: str
    shared: bool


def line(name: str, command: str) -> str:
    """The line of a shell script that takes the snapshot; whatever becomes of it, git goes on."""
    return f'{command} hook git --run {name} -- "$@" || :'


def script(name: str, command: str) -> str:
    """The hook of this name, for a guardctl that is called with these shell words."""
    return f"#!/bin/sh\n{_NOTE}\n{line(name, command)}\n"


def judge(text: str | None, name: str, command: str) -> Found:
    """What a hook file with this text is (None: there is no file)."""
    if text is None:
        return Found.ABSENT
    if text == script(name, command):
        return Found.CURRENT
    lines = text.splitlines()
    calls = [one for one in lines if _CALL.search(one) and not one.lstrip().startswith("#")]
    if lines == ["#!/bin/sh", _NOTE, *calls] and len(calls) == 1:
        return Found.OUTDATED
    return Found.CALLED if calls else Found.FOREIGN


def find_places(folder: str) -> Places:
    """Where the hooks of the work tree around a folder lie, as git says: worktrees, submodules and core.hooksPath included.

    Raises UsageError where there is no work tree, or no git.
    """
    if shutil.which("git") is None:
        raise UsageError("there is no git here; install it, or take snapshots with 'guardctl snapshot'")
    top = os.path.realpath(_ask(folder, "--show-toplevel"))
    common = os.path.realpath(os.path.join(top, _ask(top, "--git-common-dir")))
    hooks = os.path.realpath(_hooks_path(top) or os.path.join(common, "hooks"))
    inside = any(hooks.startswith(os.path.join(own, "")) for own in (top, common))
    return Places(top, hooks, shared=not inside)


def read_hook(path: str) -> str | None:
    """The text of a hook file, however it is encoded; None where there is none. What is no regular file is foreign."""
    if not os.path.lexists(path):
        return None
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    try:
        return os.fsdecode(read_regular(path, _LARGEST))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; make it readable") from error


def _hooks_path(top: str) -> str | None:
    """What the config says of where hooks lie; the last value is our own, by which git runs none."""
    said = run(top, ["config", "-z", "--type=path", "--get-all", "core.hooksPath"]).stdout
    own = os.fsdecode(said).split("\0")[:-2]
    return os.path.join(top, own[-1]) if own else None


def _ask(folder: str, *words: str) -> str:
    done = run(folder, ["rev-parse", *words])
    if done.returncode:
        said = os.fsdecode(done.stderr).strip().partition("\n")[0]
        raise UsageError(f"{folder} is in no work tree that git can use ({said}); run this in one, or 'git init'")
    return os.fsdecode(done.stdout).removesuffix("\n")
