"""What people do to their own code in bulk is no incident; the same with damage in some files is one, with just those files."""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.damage import hollow
from benchmarks.make_tree import copy_packages, copy_stdlib
from tests.world import PROGRAMS, Daemon, World, some_of, wait_until

SETTINGS = '[detection]\napprove_above = 20\n[response]\nsettle = "0.5s"\n'


@pytest.fixture
def watched(world: World) -> tuple[World, Daemon]:
    """The guarded tree, ten times as touchy about bulk changes as by default."""
    assert copy_packages(world.root) > 100
    world.configure(SETTINGS)
    return world, world.start_configured()


def git(cwd: Path, *words: str) -> None:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "protocol.file.allow=always", "-c", "gc.auto=0", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (words, done.stdout, done.stderr)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if ".git" not in path.parts)


def damage(world: World, below: str = "") -> set[str]:
    """The twin's harm: six files hollowed."""
    damaged = set()
    for path in files(world.root / below):
        if len(damaged) < 6 and path.stat().st_size > 2000 and (after := hollow(path.read_bytes(), random.Random(1))):
            path.write_bytes(after)
            damaged.add(path.relative_to(world.root).as_posix())
    assert len(damaged) == 6
    return damaged


def only_the_damage_is_found(world: World, daemon: Daemon, damaged: set[str], *, explained: bool = True) -> None:
    """`explained`: the tool's own changes are not even undamaged members, near as they are to the damage."""
    incidents = world.wait_settled(daemon)
    assert len(incidents) == 1, [one["summary"] for one in incidents]
    assert {member["path"] for member in incidents[0]["members"] if member["damaged"]} == damaged
    if explained:
        assert [member for member in incidents[0]["members"] if member["path"] not in damaged] == []


def run_tool(world: World, *words: str) -> None:
    done = subprocess.run([str(PROGRAMS / words[0]), *words[1:]], cwd=world.root, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr


def ruff_format(world: World) -> None:
    run_tool(world, "ruff", "format", "--isolated", "--no-cache", "--line-length", "100", ".")


def ruff_isort(world: World) -> None:
    run_tool(world, "ruff", "check", "--isolated", "--no-cache", "--select", "I", "--fix", ".")


def black(world: World) -> None:
    run_tool(world, "black", "-q", *(str(path) for path in files(world.root) if path.stat().st_size < 12_000))


def isort(world: World) -> None:
    run_tool(world, "isort", "-q", "--force-single-line-imports", ".")


def future_annotations(world: World) -> None:
    run_tool(world, "isort", "-q", "--add-import", "from __future__ import annotations", ".")


def pyupgrade(world: World) -> None:
    run_tool(world, "pyupgrade", "--py311-plus", "--exit-zero-even-if-changed", *map(str, files(world.root)))


def move_a_package(world: World) -> None:
    (world.root / "email").rename(world.root / "electronic_mail")
    rename_in_imports(world)


def rename_in_imports(world: World) -> None:
    for path in files(world.root):
        text = path.read_text(encoding="utf-8")
        changed = re.sub(r"\bemail\b", "electronic_mail", text)
        if changed != text:
            path.write_text(changed, encoding="utf-8")


def move_into_src(world: World) -> None:
    """The layout with a src folder: no import changes."""
    (world.root / "src").mkdir()
    for name in ("email", "http", "json"):
        (world.root / name).rename(world.root / "src" / name)


def copy_back_from_a_backup(world: World) -> None:
    """With the old times of the files, as `cp -a` and rsync leave them."""
    subprocess.run(["cp", "-a", str(world.root / "email"), str(world.root.parent / "backup")], check=True)
    world.json("pause", "1h")
    for path in files(world.root / "email"):
        path.write_bytes(path.read_bytes() + b"\n\ndef more():\n    return 1\n")
    world.json("resume")
    subprocess.run(["cp", "-a", f"{world.root.parent}/backup/.", str(world.root / "email")], check=True)


def silence_prints(world: World) -> None:
    for number in range(8):
        world.write(
            f"loud/m{number}.py", "def f(x):\n" + "".join(f"    print({n})\n    x += {n}\n" for n in range(5)) + "    return x\n"
        )
    world.json("log", "loud")
    for path in files(world.root / "loud"):
        path.write_text(path.read_text().replace("    print", "    # print"))


def fill_new_files(world: World) -> None:
    """Made empty first, as `touch` does, or seen between the two steps of a plain write."""
    for number in range(8):
        world.write(f"fresh/m{number}.py", b"")
    world.json("log", "fresh")
    for path in files(world.root / "fresh"):
        path.write_text("import json\n\n\ndef load(text):\n    return json.loads(text)\n")


def change_a_library(world: World) -> None:
    for number in range(8):
        world.write(f"web/m{number}.py", "import requests\n\n\ndef get(url):\n    return requests.get(url)\n")
    world.json("log", "web")
    for path in files(world.root / "web"):
        path.write_text(path.read_text().replace("requests", "httpx"))


def vendor(world: World) -> None:
    copy_stdlib(world.root / "_vendor")


def virtual_environment(world: World) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(world.root / "my_env")], check=True)


def split_modules(world: World) -> None:
    """Most of some files moves into a new one."""
    moved = []
    for path in files(world.root / "unittest")[:10]:
        lines = path.read_text().splitlines(keepends=True)
        tree = ast.parse("".join(lines))
        tail = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.decorator_list]
        for node in reversed(tail):
            moved += lines[node.lineno - 1 : node.end_lineno]
            del lines[node.lineno - 1 : node.end_lineno]
        lines += [f"from unittest.moved import {node.name}\n" for node in tail]
        path.write_text("".join(lines))
    world.write("unittest/moved.py", "".join(moved))


TOOLS: list[Callable[[World], None]] = [
    ruff_format, ruff_isort, black, isort, future_annotations, pyupgrade, move_a_package, move_into_src, vendor,
    virtual_environment, split_modules, copy_back_from_a_backup, silence_prints, change_a_library,
    fill_new_files,
]  # fmt: skip


EXPLAINED = [tool for tool in TOOLS if tool not in (split_modules, silence_prints, change_a_library)]
"""Of the others nothing is wrong, but they are changes of the code all the same."""


EVERYDAY_TOOLS = (ruff_format, move_a_package, split_modules, copy_back_from_a_backup, fill_new_files)


@pytest.mark.promise("no false alarm", "formatters, import sorters and codemods over a tree")
@pytest.mark.parametrize("tool", some_of(TOOLS, *EVERYDAY_TOOLS))
def test_a_tool_is_no_incident_and_its_harmful_twin_is_one(watched: tuple[World, Daemon], tool: Callable[[World], None]) -> None:
    world, daemon = watched
    tool(world)
    only_the_damage_is_found(world, daemon, damage(world), explained=tool in EXPLAINED)


@pytest.mark.parametrize("pause_s", some_of([0.02, 0.4], 0.02))
def test_a_name_renamed_file_by_file_is_at_most_a_warning_that_explains_itself(
    watched: tuple[World, Daemon], pause_s: float
) -> None:
    """Its users first, the definition last: for a while nothing resolves."""
    world, daemon = watched
    world.json("pause", "1h")
    world.write("shared.py", "def old_name():\n    return 1\n\n\nclass Other:\n    pass\n")
    for number in range(12):
        world.write(f"user{number}.py", f"from shared import old_name\n\nvalue = old_name() + {number}\n")
    world.json("resume")
    for path in [*sorted(world.root.glob("user*.py")), world.root / "shared.py"]:
        path.write_text(path.read_text().replace("old_name", "new_name"))
        time.sleep(pause_s)  # the pace of the one who renames
    damaged = damage(world)
    wait_until(lambda: any(one["damaged"] == 6 for one in daemon.events("incident settled")), 40)
    assert {event["severity"] for event in daemon.events("incident opened")} <= {"warning", "high"}
    for incident in world.incidents():
        wrong = {member["path"] for member in incident["members"] if member["damaged"] and not member["returned"]}
        assert wrong == (damaged if incident["severity"] == "high" else set())


def test_a_package_that_is_moved_has_time_until_its_imports_follow(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    (world.root / "email").rename(world.root / "electronic_mail")
    world.wait_gone("email/message.py")
    time.sleep(1)  # longer than anything that waits for company
    assert daemon.events("incident opened") == []
    rename_in_imports(world)
    only_the_damage_is_found(world, daemon, damage(world))


def test_what_was_approved_is_no_damage_when_a_checkout_brings_it_back(world: World) -> None:
    copy_packages(world.root, FEWER)
    committed(world)
    world.configure(SETTINGS)
    daemon = world.start_configured()
    git(world.root, "checkout", "-q", "-b", "wanted")
    damage(world, "asyncio")
    world.wait_settled(daemon)
    world.ctl("incidents", "approve", "last")
    git(world.root, "commit", "-qam", "wanted")
    git(world.root, "checkout", "-q", "main")
    git(world.root, "checkout", "-q", "wanted")
    damaged = damage(world, "unittest")
    world.wait_settled(daemon, 2)
    assert {member["path"] for member in world.incidents()[-1]["members"]} == damaged
    assert len(world.incidents()) == 2


# -- git -----------------------------------------------------------------------------------------------------------


def committed(world: World) -> None:
    """Two branches that differ in most files: changed, deleted, new; and one commit on top of each for a merge or rebase."""
    git(world.root, "init", "-q", "-b", "main")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "one")
    git(world.root, "checkout", "-q", "-b", "other")
    for number, path in enumerate(files(world.root)):
        if number % 4 == 0:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes() + b"\n\ndef added_on_the_other_branch():\n    return [REMOVED_SYNTAX_ERROR]\n")
    world.write("new/module.py", b"new = True\n")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "two")
    git(world.root, "checkout", "-q", "main")
    world.write("http/only_on_main.py", b"x = 1\n")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "three")


def checkout(world: World) -> None:
    git(world.root, "checkout", "-q", "other")
    git(world.root, "checkout", "-q", "main")
    git(world.root, "switch", "-q", "other")


def checkout_of_packed_history(world: World) -> None:
    git(world.root, "gc", "-q", "--prune=now")
    git(world.root, "pack-refs", "--all")
    git(world.root, "checkout", "-q", "other")


def reset_hard(world: World) -> None:
    git(world.root, "reset", "-q", "--hard", "other")


def stash_and_pop(world: World) -> None:
    git(world.root, "stash", "-q")
    git(world.root, "stash", "pop", "-q")


def merge(world: World) -> None:
    git(world.root, "merge", "-q", "-m", "merged", "other")


def rebase(world: World) -> None:
    git(world.root, "rebase", "-q", "other")


def pull(world: World) -> None:
    git(world.root, "pull", "-q", "--no-rebase", "--no-edit", str(world.root.parent / "upstream"), "other")


def worktree_add(world: World) -> None:
    git(world.root, "worktree", "add", "-q", "trees/other", "other")
    git(world.root / "trees/other", "checkout", "-q", "-b", "third", "main")


def clone_into_the_tree(world: World) -> None:
    git(world.root, "clone", "-q", str(world.root), "copy")
    git(world.root / "copy", "checkout", "-q", "other")


def submodule_update(world: World) -> None:
    git(world.root / "sub", "fetch", "-q")
    git(world.root, "submodule", "-q", "update", "--checkout", "--remote")


def merge_with_conflicts(world: World) -> None:
    for path in files(world.root)[:12]:
        path.write_bytes(b"conflicting = 1\n" + path.read_bytes())
    git(world.root, "commit", "-qam", "ours")
    git(world.root, "checkout", "-q", "-b", "theirs", "HEAD~1")
    for path in files(world.root)[:12]:
        path.write_bytes(b"conflicting = 2\n" + path.read_bytes())
    git(world.root, "commit", "-qam", "theirs")
    with pytest.raises(AssertionError, match="CONFLICT"):
        git(world.root, "merge", "main")
    assert sum(b"<<<<<<< " in path.read_bytes() for path in files(world.root)) == 12


def cherry_pick_and_revert(world: World) -> None:
    git(world.root, "cherry-pick", "other")
    git(world.root, "revert", "--no-edit", "HEAD")


def sparse_checkout(world: World) -> None:
    git(world.root, "sparse-checkout", "set", "unittest", "http")
    assert not (world.root / "asyncio").exists()
    git(world.root, "sparse-checkout", "disable")


def checkout_with_conversion(world: World) -> None:
    """Git writes other bytes than it has."""
    git(world.root, "checkout", "-q", "other")
    git(world.root, "checkout", "-q", "main")


def switch_back_and_forth(world: World) -> None:
    """So fast that what git says at one moment is not what the disk was at another."""
    for _ in range(4):
        git(world.root, "switch", "-q", "other")
        git(world.root, "switch", "-q", "main")


def checkout_after_refactoring(world: World) -> None:
    """What seemed odd on its way into a commit is no damage when a checkout brings it back."""
    git(world.root, "checkout", "-q", "-b", "refactored")
    for path in files(world.root / "asyncio")[2:5]:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) // 3]) + b"\n\ndef rest():\n    return None\n")
    git(world.root, "commit", "-qam", "refactored")
    git(world.root, "checkout", "-q", "main")
    git(world.root, "checkout", "-q", "refactored")


OPERATIONS: list[Callable[[World], None]] = [
    checkout, checkout_of_packed_history, reset_hard, stash_and_pop, merge, rebase, pull, worktree_add, clone_into_the_tree,
    submodule_update, merge_with_conflicts, cherry_pick_and_revert, sparse_checkout, checkout_with_conversion,
    switch_back_and_forth, checkout_after_refactoring,
]  # fmt: skip


FEWER = ("asyncio", "http", "importlib", "json", "unittest")
"""Enough for git: each file is judged in both of its states."""


EVERYDAY_OPERATIONS = (
    checkout, checkout_of_packed_history, stash_and_pop, rebase, submodule_update, merge_with_conflicts, sparse_checkout,
    checkout_with_conversion, checkout_after_refactoring,
)  # fmt: skip


@pytest.mark.promise("no false alarm", "checkout, rebase, stash, merge and others")
@pytest.mark.parametrize("operation", some_of(OPERATIONS, *EVERYDAY_OPERATIONS))
def test_git_is_no_incident_and_its_harmful_twin_is_one(world: World, operation: Callable[[World], None]) -> None:
    copy_packages(world.root, FEWER)
    committed(world)
    if operation is pull:
        shutil.copytree(world.root, world.root.parent / "upstream")
        git(world.root, "branch", "-qD", "other")
        git(world.root, "gc", "-q", "--prune=now")
    elif operation is submodule_update:
        upstream = world.root.parent / "library"
        shutil.copytree(world.root, upstream)
        git(upstream, "checkout", "-q", "main")
        git(world.root, "submodule", "-q", "add", "-b", "other", str(upstream), "sub")
        git(world.root / "sub", "checkout", "-q", "main")
    elif operation is checkout_with_conversion:
        for branch in ("other", "main"):
            git(world.root, "checkout", "-q", "-f", branch)
            (world.root / ".gitattributes").write_text("*.py ident eol=crlf\n")
            git(world.root, "add", "-A")
            git(world.root, "commit", "-qm", "converted")
        git(world.root, "rm", "-rq", "--cached", ".")
        git(world.root, "reset", "-q", "--hard")
    elif operation is stash_and_pop:
        for path in files(world.root)[:15]:
            path.write_bytes(path.read_bytes() + b"\nwork_in_progress = True\n")
    world.configure(SETTINGS)
    daemon = world.start_configured()
    operation(world)
    only_the_damage_is_found(world, daemon, damage(world, "unittest"))


def test_damage_that_is_committed_at_once_is_found(world: World) -> None:
    copy_packages(world.root, FEWER)
    committed(world)
    world.configure(SETTINGS)
    daemon = world.start_configured()
    damaged = damage(world, "unittest")
    git(world.root, "commit", "-qam", "clean up")
    only_the_damage_is_found(world, daemon, damaged)


# -- ours ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("no false alarm", "restores, and their undo")
def test_our_own_restores_and_undo_are_no_incident(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    world.json("pause", "1h", "--reason", "bulk work")
    before = {path: path.read_bytes() for path in files(world.root)[:40]}
    for path, content in before.items():
        path.write_bytes(content + b"\nbroken = (\n")
    world.json("resume")
    world.json("restore", "--since", "1h", "--yes", "--no-verify")
    world.json("undo", "--yes", "--no-verify")
    world.json("undo", "2", "--yes", "--no-verify")
    assert all(path.read_bytes() == content for path, content in before.items())
    only_the_damage_is_found(world, daemon, damage(world))


def test_what_is_announced_by_a_pause_is_no_incident_and_what_comes_after_it_is(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    world.json("pause", "1h")
    announced = damage(world, "unittest")
    assert world.json("resume")["ended"] == 1
    damaged = damage(world, "asyncio")
    only_the_damage_is_found(world, daemon, damaged)
    assert announced.isdisjoint(damaged)


def test_a_return_to_earlier_versions_is_no_incident(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = {path: path.read_bytes() for path in files(world.root)[:40]}
    world.json("pause", "1h")
    for path, content in before.items():
        path.write_bytes(content + b"\n\ndef extra():\n    return 1\n")
    world.json("resume")
    for path, content in before.items():
        path.write_bytes(content)
        os.utime(path)
    only_the_damage_is_found(world, daemon, damage(world))
